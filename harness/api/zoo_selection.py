"""Which models of the zoo are measured together: those of one parent, by family and by pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.errors import UsageError
from harness.models.recipe import CompressedRecipe, Recipe
from harness.models.zoo.recipes import Zoo
from harness.models.zoo.records import PACKAGED, read_record

UNCOMPRESSED = "uncompressed"
DEFAULT_PARENT = "baseline-6x384"


@dataclass(frozen=True)
class Choice:
    """A model of the selection: its method and family, and why it cannot be built, None where it can."""

    name: str
    method: str
    family: str
    lacks: str | None


@dataclass(frozen=True)
class Selection:
    """The `parent`, which every session has as its baseline, and the other models in the order of zoo.toml."""

    parent: str
    models: tuple[Choice, ...]

    @property
    def buildable(self) -> list[str]:
        """The names of those that can be built."""
        return [choice.name for choice in self.models if choice.lacks is None]


def select(zoo: Zoo, parent: str | None, families: Sequence[str] = (), patterns: Sequence[str] = ()) -> Selection:
    """The models made from `parent`, directly or not, that have one of `families` and fit one of `patterns` (as a shell
    takes them), where there are some.

    Raises UsageError for a parent that there is not or that has no weights, a family or pattern that fits no model, and
    where nothing is left.
    """
    recipe = zoo.find(DEFAULT_PARENT if parent is None else parent)
    known = [_choice(zoo, name) for name in (*zoo.recipes, *zoo.compressed) if recipe.name in _ancestors(zoo, name)]
    if not known:
        raise UsageError(f"No model of the zoo is made from {recipe.name}.", "`harness models list` shows the models.")
    there = list(dict.fromkeys(choice.family for choice in known))
    for family in families:
        if family not in there:
            raise UsageError(
                f"No model of {recipe.name} is of the family {family!r}.", f"Choose from: {', '.join(there)}."
            )
    chosen = [choice for choice in known if not families or choice.family in families]
    for pattern in patterns:
        if not any(fnmatchcase(choice.name, pattern) for choice in chosen):
            names = ", ".join(choice.name for choice in chosen)
            raise UsageError(f"No model of this selection fits {pattern!r}.", f"They are: {names}.")
    chosen = [c for c in chosen if not patterns or any(fnmatchcase(c.name, pattern) for pattern in patterns)]
    if (lacks := _lacks(recipe.name)) is not None:
        raise UsageError(
            f"{recipe.name}, the parent, cannot be built: {lacks}.", f"`harness models train {recipe.name}`."
        )
    return Selection(recipe.name, tuple(chosen))


def _ancestors(zoo: Zoo, name: str) -> list[str]:
    """The models that it was made from, the nearest first."""
    found: list[str] = []
    recipe: Recipe | CompressedRecipe | None = zoo.recipes.get(name) or zoo.compressed.get(name)
    while recipe is not None and recipe.parent is not None and recipe.parent not in found:
        found.append(recipe.parent)
        recipe = zoo.recipes.get(recipe.parent)
    return found


def _choice(zoo: Zoo, name: str) -> Choice:
    from harness.models.compress.method import IN_TRAINING, find_method  # torch takes seconds to import

    if (recipe := zoo.recipes.get(name)) is not None:
        family = UNCOMPRESSED if recipe.method == "baseline" else IN_TRAINING
        return Choice(name, recipe.method, family, _lacks(name))
    compressed = zoo.compressed[name]
    lacks = _lacks(compressed.parent) or (_lacks(name) if compressed.training is not None else None)
    return Choice(name, compressed.method, find_method(compressed.method).family, lacks)


def _lacks(name: str) -> str | None:
    """Why there are no weights to build a model from, None where there are."""
    if read_record(PACKAGED, name) is None or not (PACKAGED / f"{name}.safetensors").is_file():
        return f"it has no weights yet (`harness models train {name}` makes them)"
    return None
