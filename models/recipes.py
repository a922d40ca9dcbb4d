"""The recipes of zoo.toml: read, checked key by key, and found by name or alias."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.resources import files
from typing import Any, TypeVar

from harness.errors import UsageError
from harness.models.architecture import GPTConfig


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How long and how fast to train. Rates are per step; `muon_rate` 0 trains everything with AdamW.

    The rate climbs over `warmup_steps`, stays until the fraction `hold` of `steps`, then falls to zero, in a straight
    line (`decay` "linear") or half a cosine. `batch` is sequences a step, each as long as the model's context;
    `clip` the greatest norm of the gradient; `bfloat16` computes products in it (weights and losses stay float32).
    """

    steps: int
    batch: int
    seed: int
    rate: float
    muon_rate: float = 0.0
    weight_decay: float = 0.0
    beta2: float = 0.99
    warmup_steps: int = 0
    hold: float = 0.0
    decay: str = "linear"
    clip: float = 1.0
    bfloat16: bool = False
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        if self.decay not in ("linear", "cosine"):
            raise ValueError(f"decay is {self.decay!r}, not 'linear' or 'cosine'")

    def factor(self, step: int) -> float:
        """What the rates are multiplied by at `step`, counted from 0: 0 to 1."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        held = max(self.hold * self.steps, self.warmup_steps)
        left = 1 - max(0.0, step - held) / max(1.0, self.steps - held)
        return left if self.decay == "linear" else (1 - math.cos(math.pi * left)) / 2


@dataclass(frozen=True, kw_only=True)
class CompressionRecipe:
    """`gamma` weighs bits against nats, `initial_bits` is every channel's b at the start, compression ends at
    `target_bits` a weight; `bits_rate` and `exponent_rate` are AdamW's for b and e, whose units are not the weights'.
    """

    gamma: float
    target_bits: float
    initial_bits: float = 4.0
    bits_rate: float = 0.05
    exponent_rate: float = 0.04


PRECISIONS = ("fp32", "int8")
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
