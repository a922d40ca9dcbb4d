from __future__ import annotations

import json
import tomllib
from importlib.resources import files

import pytest

from harness.errors import UsageError
from harness.models.recipe import CompressionRecipe, DistillationRecipe, FixedRecipe, Recipe
from harness.models.train.data import TEXT_SHA256
from harness.models.zoo import recipes
from harness.models.zoo.recipes import Zoo, packaged


def parse(text: str) -> Zoo:
    return recipes.parse(tomllib.loads(text))


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


PLAIN = TOML.replace("self-compression", "baseline").partition("[models.tiny.compression]")[0]
PRICES = {"qkv": 1.5, "proj": 2, "fc": 3, "out": 4}


def recipe(method: str, tables: str = "", parent: bool = False) -> Recipe:
    return parse(of_method(method, tables, parent)).find("tiny")


def of_method(method: str, tables: str = "", parent: bool = False) -> str:
    named = f'method = "{method}"' + ('\nparent = "tiny"' if parent else "")
    return PLAIN.replace('method = "baseline"', named) + tables


def test_every_method_and_its_options() -> None:
    for plain in (recipe("baseline"), recipe("ternary")):
        assert (plain.compression, plain.fixed, plain.distillation) == (None, None, None)
    assert recipe("fixed-bits", "[models.tiny.fixed]\nbits = 4").fixed == FixedRecipe(bits=4)
    tables = "[models.tiny.distillation]\nweight = 0.5\ntemperature = 2.0"
    assert recipe("ternary", tables, parent=True).distillation == DistillationRecipe(weight=0.5, temperature=2.0)
    found = parse(TOML + "block = 8\nprices = {qkv = 1.5, proj = 2, fc = 3, out = 4}").find("tiny").compression
    assert found == CompressionRecipe(gamma=1.0, target_bits=2.0, block=8, prices=PRICES)


def test_a_record_has_the_options_that_are_used_and_no_others() -> None:
    """Options that came later are absent where they are not used: records from before them still match."""
    assert recipe("baseline").as_json().keys() == {
        *("name", "method", "precision", "data_sha256", "architecture", "training", "parent", "compression")
    }
    assert recipe("baseline").as_json()["compression"] is None
    old = parse(TOML).find("tiny").as_json()
    assert old["compression"].keys() == {"gamma", "target_bits", "initial_bits", "bits_rate", "exponent_rate"}
    assert old.keys() == recipe("baseline").as_json().keys()
    new = parse(TOML + "block = 8\nprices = {qkv = 1.5, proj = 2, fc = 3, out = 4}").find("tiny").as_json()
    assert new["compression"] == {**old["compression"], "block": 8, "prices": PRICES}
    fixed = recipe("fixed-bits", "[models.tiny.fixed]\nbits = 4").as_json()
    assert fixed["fixed"] == {"bits": 4, "exponent_rate": 0.01}


@pytest.mark.parametrize("name", ["baseline-small", "selfcomp-small"])
def test_the_recipes_of_older_records_still_match(name: str) -> None:
    record = json.loads((files("harness.models") / "weights" / f"{name}.json").read_text(encoding="utf-8"))
    assert record["recipe"] == json.loads(json.dumps(packaged().find(name).as_json()))


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
        ("self-compression", "baseline", "table 'compression', which does not fit its method 'baseline'"),
        (
            "self-compression",
            "fixed-bits",
            "'compression', which .* 'fixed-bits'.*choose the method 'self-compression'",
        ),
        ("self-compression", "magic", "unknown method 'magic'.*baseline, self-compression, ternary, fixed-bits"),
        ("[models.tiny.compression]", "[models.tiny.fixed]\nbits = 4\n[models.tiny.compression]", "a table 'fixed'"),
        ("gamma = 1.0", "gamma = 1.0\nblock = 0", "models.tiny.compression.*block is 0, not a positive number"),
        ("gamma = 1.0", "gamma = 1.0\nprices = {up = 1.0}", "prices has the unknown layer 'up', not one of qkv"),
        ("gamma = 1.0", "gamma = 1.0\nprices = {qkv = 1, fc = 1, out = 1}", "prices lacks the layer 'proj'"),
        (
            "gamma = 1.0",
            "gamma = 1.0\nprices = {qkv = 1, proj = 1, fc = -2, out = 1}",
            "the price of 'fc' is -2, not a number of nanoseconds from 0 on",
        ),
        ("gamma = 1.0", "gamma = 1.0\nprices = {qkv = 0, proj = 0, fc = 0, out = 0}", "every price is 0"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(line: str, instead: str, named: str) -> None:
    assert line in TOML
    with pytest.raises(UsageError, match=named):
        parse(TOML.replace(line, instead, 1))


DISTILLATION = "[models.tiny.distillation]\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (of_method("self-compression"), "lacks the table 'compression' of its method 'self-compression'"),
        (of_method("fixed-bits"), "lacks the table 'fixed' of its method 'fixed-bits'"),
        (of_method("ternary", "[models.tiny.fixed]\nbits = 2"), "'fixed', which does not fit its method 'ternary'"),
        (of_method("fixed-bits", "[models.tiny.fixed]\nbits = 9"), "bits is 9, not a whole number from 2 to 8"),
        (of_method("fixed-bits", "[models.tiny.fixed]\nbits = 2.5"), "bits is 2.5, not a whole number"),
        (of_method("fixed-bits", "[models.tiny.fixed]\nbit = 4"), "models.tiny.fixed.*unknown key 'bit'"),
        (of_method("ternary", DISTILLATION + "weight = 1\ntemperature = 1"), "'distillation' but no 'parent'"),
        (of_method("baseline", DISTILLATION + "weight = 1", parent=True), "lacks the key 'temperature'"),
        (
            of_method("baseline", DISTILLATION + "weight = 0\ntemperature = 1", parent=True),
            "weight is 0, not a positive",
        ),
    ],
)
def test_tables_and_methods_that_do_not_go_together(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse(text)


def test_the_zoo_of_this_package() -> None:
    zoo = packaged()
    assert zoo.find("baseline").precision == "fp32"
    assert zoo.find("selfcomp").precision == "int4"
    assert zoo.find("selfcomp").parent == "baseline-small"
    assert {recipe.data_sha256 for recipe in zoo.recipes.values()} == {TEXT_SHA256}
