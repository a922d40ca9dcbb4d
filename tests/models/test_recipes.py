from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.models.data import TEXT_SHA256
from harness.models.recipes import packaged, parse

TOML = """
[aliases]
a = "tiny"
[models.tiny]
method = "self-compression"
precision = "int8"
data_sha256 = "0"
[models.tiny.architecture]
vocabulary_size = 14
context = 16
layers = 1
heads = 2
width = 16
[models.tiny.training]
steps = 5
batch = 2
seed = 1
rate = 1e-3
[models.tiny.compression]
gamma = 1.0
target_bits = 2.0
"""


def test_a_recipe_is_found_by_name_and_alias() -> None:
    zoo = parse(TOML)
    assert zoo.find("a") is zoo.find("tiny")
    assert zoo.find("a").training.rate == 1e-3
    assert zoo.find("a").compression is not None


def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(UsageError, match=r"'tinny'.*tiny, a\."):
        parse(TOML).find("tinny")


@pytest.mark.parametrize(
    ("line", "instead", "named"),
    [
        ("seed = 1", "seed = 1\nsteeps = 9", "models.tiny.training.*'steeps'"),
        ("gamma = 1.0", "gamma = 1.0\nnu = 1", "models.tiny.compression.*'nu'"),
        ("heads = 2", "heads = 2\nshapes = []", "models.tiny.architecture.*'shapes'"),
        ('method = "', 'parents = "x"\nmethod = "', "models.tiny.*'parents'"),
        ("[aliases]", "[alias]", "'alias'"),
        ("rate = 1e-3", "", "lacks the key 'rate'"),
        ("heads = 2", "heads = 3", "width 16 is not a multiple of heads 3"),
        ("self-compression", "baseline", "'baseline', which does not fit"),
        ("self-compression", "magic", "'magic', which does not fit"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(line: str, instead: str, named: str) -> None:
    assert line in TOML
    with pytest.raises(UsageError, match=named):
        parse(TOML.replace(line, instead, 1))


def test_the_zoo_of_this_package() -> None:
    zoo = packaged()
    assert zoo.find("baseline").precision == "fp32"
    assert zoo.find("selfcomp").precision == "int8"
    assert zoo.find("selfcomp").parent == "baseline-small"
    assert {recipe.data_sha256 for recipe in zoo.recipes.values()} == {TEXT_SHA256}
