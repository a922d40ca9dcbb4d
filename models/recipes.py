"""The recipes of zoo.toml: read, checked key by key, and found by name or alias."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.resources import files
from typing import Any, TypeVar

from harness.models.gpt import GPTConfig
from harness.models.selfcompression import CompressionRecipe
from harness.models.training import TrainingRecipe

from harness.errors import UsageError

METHODS = ("baseline", "self-compression")
Section = TypeVar("Section", GPTConfig, TrainingRecipe, CompressionRecipe)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model is made. `precision` is what it is exported in unless the user says otherwise."""

    name: str
    method: str
    precision: str
    data_sha256: str
    architecture: GPTConfig
    training: TrainingRecipe
    parent: str | None = None
    compression: CompressionRecipe | None = None

    def as_json(self) -> dict[str, Any]:
        """Every number of the recipe, as the manifest records it."""
        return asdict(self)


@dataclass(frozen=True)
class Zoo:
    """All recipes by name, and the short names that stand for some of them."""

    recipes: dict[str, Recipe]
    aliases: dict[str, str]

    def find(self, name: str) -> Recipe:
        """The recipe of a name or an alias. Raises UsageError, listing the names, for any other."""
        recipe = self.recipes.get(self.aliases.get(name, name))
        if recipe is None:
            raise UsageError(
                f"There is no model {name!r}.", f"Choose one of: {', '.join([*self.recipes, *self.aliases])}."
            )
        return recipe


def packaged() -> Zoo:
    """The zoo that is installed with harness."""
    return parse((files("harness.models") / "zoo.toml").read_text(encoding="utf-8"))


def parse(text: str) -> Zoo:
    """A zoo from TOML. Raises UsageError naming the first key that is unknown, missing, or has an impossible value."""
    document = tomllib.loads(text)
    _check_keys(document, ("aliases", "models"), (), "zoo.toml")
    return Zoo({name: _recipe(name, table) for name, table in document["models"].items()}, document.get("aliases", {}))


def _recipe(name: str, table: dict[str, Any]) -> Recipe:
    where = f"models.{name}"
    known = [field.name for field in fields(Recipe) if field.name != "name"]
    needed = [field.name for field in fields(Recipe) if field.name in known and field.default is MISSING]
    _check_keys(table, known, needed, where)
    if table["method"] not in METHODS or (table["method"] == "self-compression") != ("compression" in table):
        raise UsageError(
            f"The method of [{where}] is {table['method']!r}, which does not fit it.",
            f"Methods are {' and '.join(METHODS)}; self-compression alone has a table `compression`.",
        )
    sections: dict[str, Any] = {
        "architecture": _section(GPTConfig, table["architecture"], f"{where}.architecture", hidden="shapes"),
        "training": _section(TrainingRecipe, table["training"], f"{where}.training"),
    }
    if "compression" in table:
        sections["compression"] = _section(CompressionRecipe, table["compression"], f"{where}.compression")
    return Recipe(**{"name": name, **table, **sections})


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
