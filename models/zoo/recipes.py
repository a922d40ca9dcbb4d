"""The recipes of zoo.toml: read, checked key by key, and found by name or alias."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import UsageError
from harness.models.gpt.architecture import GPTConfig
from harness.models.recipe import (
    METHODS,
    CompressedRecipe,
    CompressionRecipe,
    DistillationRecipe,
    FixedRecipe,
    Recipe,
    TrainingRecipe,
)
from harness.outside_files import read_toml

Section = TypeVar("Section", GPTConfig, TrainingRecipe, CompressionRecipe, FixedRecipe, DistillationRecipe)


@dataclass(frozen=True)
class Zoo:
    """All recipes by name, and the short names that stand for some of them; `compressed` are those of models that a
    method makes of another's weights, by training on where it is one that learns.
    """

    recipes: dict[str, Recipe]
    aliases: dict[str, str]
    compressed: dict[str, CompressedRecipe] = field(default_factory=dict)

    def find(self, name: str) -> Recipe:
        """The recipe of a name or an alias. Raises UsageError, listing the names, for any other."""
        recipe = self.recipes.get(self.aliases.get(name, name))
        if name in self.compressed:
            raise UsageError(
                f"{name} is made of the weights of {self.compressed[name].parent}, as a .pte alone.",
                f"Name its parent, {self.compressed[name].parent}.",
            )
        if recipe is None:
            raise UsageError(
                f"There is no model {name!r}.", f"Choose one of: {', '.join([*self.recipes, *self.aliases])}."
            )
        return recipe

    def trained(self, name: str) -> Recipe | CompressedRecipe:
        """The recipe of a model that is trained. Raises UsageError as `find`."""
        compressed = self.compressed.get(name)
        return self.find(name) if compressed is None or compressed.training is None else compressed


def packaged() -> Zoo:
    """The zoo that is installed with harness."""
    path = Path(str(files("harness.models.zoo") / "zoo.toml"))
    return read_toml(path, lambda document, _: parse(document), "list of recipes", "Install harness again.")


def parse(document: dict[str, Any]) -> Zoo:
    """A zoo from the keys of its TOML file. Raises UsageError naming the first key that is unknown, missing, or has an
    impossible value.
    """
    _check_keys(document, ("aliases", "models", "compressed"), (), "zoo.toml")
    recipes = {name: _recipe(name, table) for name, table in document["models"].items()}
    compressed = {name: _compressed(name, table, recipes) for name, table in document.get("compressed", {}).items()}
    return Zoo(recipes, document.get("aliases", {}), compressed)


def _compressed(name: str, table: dict[str, Any], recipes: dict[str, Recipe]) -> CompressedRecipe:
    where = f"compressed.{name}"
    _check_keys(table, ("parent", "method", "options", "training"), ("parent", "method"), where)
    if name in recipes:
        raise UsageError(f"[{where}] has the name of a model that is trained.", "Rename it in zoo.toml.")
    if table["parent"] not in recipes:
        raise UsageError(f"[{where}] has the unknown parent {table['parent']!r}.", "Name one of the models.")
    training = None
    if "training" in table:
        training = _section(TrainingRecipe, table["training"], f"{where}.training")
    return CompressedRecipe(
        name=name,
        parent=table["parent"],
        method=table["method"],
        options=table.get("options", {}),
        training=training,
    )


def _recipe(name: str, table: dict[str, Any]) -> Recipe:
    where = f"models.{name}"
    known = [field.name for field in fields(Recipe) if field.name != "name"]
    needed = [field.name for field in fields(Recipe) if field.name in known and field.default is MISSING]
    _check_keys(table, known, needed, where)
    _check_method(table, where)
    sections: dict[str, Any] = {
        "architecture": _section(GPTConfig, table["architecture"], f"{where}.architecture", hidden="shapes"),
        "training": _section(TrainingRecipe, table["training"], f"{where}.training"),
    }
    if "compression" in table:
        sections["compression"] = _section(CompressionRecipe, table["compression"], f"{where}.compression")
    if "fixed" in table:
        sections["fixed"] = _section(FixedRecipe, table["fixed"], f"{where}.fixed")
    if "distillation" in table:
        sections["distillation"] = _section(DistillationRecipe, table["distillation"], f"{where}.distillation")
    return Recipe(**{"name": name, **table, **sections})


def _check_method(table: dict[str, Any], where: str) -> None:
    """Whether a model's tables are those of its method."""
    method = table["method"]
    if method not in METHODS:
        raise UsageError(f"[{where}] has the unknown method {method!r}.", f"Methods: {', '.join(METHODS)}.")
    for owner, section in METHODS.items():
        if section in table and owner != method:
            raise UsageError(
                f"[{where}] has a table {section!r}, which does not fit its method {method!r}.",
                f"Leave the table out, or choose the method {owner!r}.",
            )
    needed = METHODS[method]
    if needed is not None and needed not in table:
        raise UsageError(f"[{where}] lacks the table {needed!r} of its method {method!r}.", "Add it to zoo.toml.")
    if "distillation" in table and "parent" not in table:
        raise UsageError(f"[{where}] has a table 'distillation' but no 'parent' to learn from.", "Name its parent.")


def _section(kind: type[Section], table: dict[str, Any], where: str, hidden: str = "") -> Section:
    known = [field for field in fields(kind) if field.name != hidden]
    needed = [field.name for field in known if field.default is MISSING]
    _check_keys(table, [field.name for field in known], needed, where)
    try:
        return kind(**table)
    except ValueError as error:
        raise UsageError(f"[{where}] cannot be used: {error}.", "Correct the value in zoo.toml.") from error


def _check_keys(table: dict[str, Any], known: Iterable[str], needed: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"[{where}] has the unknown key {key!r}.", f"Known keys: {', '.join(known)}.")
    for key in needed:
        if key not in table:
            raise UsageError(f"[{where}] lacks the key {key!r}.", "Add it to zoo.toml.")
