"""What a recipe says of one model: its architecture, how it is trained, and the options of its compression method.

No tensors here: who only looks a model up need not import torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import UsageError
from harness.models.gpt.architecture import GPTConfig


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


LAYERS = ("qkv", "proj", "fc", "out")
"""The kinds of linear layer inside a block, in the order of its computation."""


@dataclass(frozen=True, kw_only=True)
class CompressionRecipe:
    """`gamma` weighs bits against nats, `initial_bits` is every channel's b at the start, compression ends at
    `target_bits` a weight; `bits_rate` and `exponent_rate` are AdamW's for b and e, whose units are not the weights'.

    `block` gives b and e to so many columns of a channel rather than to all of them. `prices`, by the kinds in
    `LAYERS`, are nanoseconds that removing one output channel saves on a measured target (see `selfcompression`).
    """

    gamma: float
    target_bits: float
    initial_bits: float = 4.0
    bits_rate: float = 0.05
    exponent_rate: float = 0.04
    block: int | None = None
    prices: dict[str, float] | None = None

    def __post_init__(self) -> None:
        if self.block is not None and self.block < 1:
            raise ValueError(f"block is {self.block}, not a positive number of columns")
        if self.prices is not None:
            _check_prices(self.prices)


@dataclass(frozen=True, kw_only=True)
class FixedRecipe:
    """The same `bits` for every weight; `exponent_rate` is AdamW's for the exponents of the channels."""

    bits: int
    exponent_rate: float = 0.01

    def __post_init__(self) -> None:
        if self.bits not in range(2, 9):
            raise ValueError(f"bits is {self.bits}, not a whole number from 2 to 8")


@dataclass(frozen=True, kw_only=True)
class DistillationRecipe:
    """`weight` of the parent's logits beside the text, and the `temperature` that softens both models' (no units)."""

    weight: float
    temperature: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}, not a positive number")


PRECISIONS = ("fp32", "int8", "int4-channel", "int4-group32")
"""What a `.pte` may hold its weights in (see `export`)."""
INTEGERS_PER_CHANNEL = ("int8", "int4-channel")
"""Those of integers with a step for each output channel."""
INT4 = "int4"
"""Not one of them: it stands for the kind of int4 that a model has already, and for `PLAIN_INT4` where it has none."""
PLAIN_INT4 = "int4-channel"
METHODS = {"baseline": None, "self-compression": "compression", "ternary": None, "fixed-bits": "fixed"}
"""Every method, and the table of options that belongs to it alone and that it needs."""


def used(section: CompressionRecipe | FixedRecipe | DistillationRecipe) -> dict[str, Any]:
    """The options of a section that are used, JSON values only: what was trained without a newer option has no key for
    it, so that records and checkpoints from before it still hold.
    """
    return {key: value for key, value in asdict(section).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model is made. `precision` is what it is exported in unless the user says otherwise; `tokenizer` names
    one that comes with harness (`train.tokenizer`), None for a token a character.
    """

    name: str
    method: str
    precision: str
    data_sha256: str
    architecture: GPTConfig
    training: TrainingRecipe
    parent: str | None = None
    tokenizer: str | None = None
    compression: CompressionRecipe | None = None
    fixed: FixedRecipe | None = None
    distillation: DistillationRecipe | None = None

    def stored(self, asked: str | None = None) -> str:
        """Which of `PRECISIONS` a file is made in where the user asks for `asked`, or for nothing.

        Raises UsageError for another precision, and for the kind of int4 that the model's weights are not: a step for
        other weights would round these a second time.
        """
        own = None
        if self.precision == INT4:
            by_block = self.compression is not None and self.compression.block is not None
            own = "int4-group32" if by_block else "int4-channel"
        precision = asked or self.precision
        if precision == INT4:
            return own or PLAIN_INT4
        if precision not in PRECISIONS:
            known = ", ".join((*PRECISIONS, INT4))
            raise UsageError(f"There is no precision {precision!r}.", f"Choose one of: {known}.")
        if own is not None and precision.startswith(INT4) and precision != own:
            raise UsageError(
                f"The weights of {self.name} were trained as {own}; {precision} would round them again.",
                "Leave out the precision, or ask for int4.",
            )
        return precision

    def as_json(self) -> dict[str, Any]:
        """Every number of the recipe, as the manifest records it."""
        sections = {"compression": self.compression, "fixed": self.fixed, "distillation": self.distillation}
        fields = {key: value for key, value in asdict(self).items() if key not in sections}
        if self.tokenizer is None:  # records older than it have no such key
            del fields["tokenizer"]
        # `compression` is null in records older than the other two.
        fields["compression"] = None
        return fields | {key: used(section) for key, section in sections.items() if section is not None}


@dataclass(frozen=True, kw_only=True)
class CompressedRecipe:
    """A model made of the weights of `parent` by a method of `harness.models.compress.method`, whose options are
    checked when it is made. Without `training` it has no weights of its own; with it, the method is one that is
    learned, and the weights come with harness.
    """

    name: str
    parent: str
    method: str
    options: dict[str, Any]
    training: TrainingRecipe | None = None

    def as_json(self) -> dict[str, Any]:
        """Every number of the recipe, as the manifest records it."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def _check_prices(prices: dict[str, float]) -> None:
    for kind in [*prices, *LAYERS]:
        if kind not in LAYERS:
            raise ValueError(f"prices has the unknown layer {kind!r}, not one of {', '.join(LAYERS)}")
        if kind not in prices:
            raise ValueError(f"prices lacks the layer {kind!r}")
        if not 0 <= prices[kind] < math.inf:
            raise ValueError(f"the price of {kind!r} is {prices[kind]}, not a number of nanoseconds from 0 on")
    if not any(prices.values()):
        raise ValueError("every price is 0, so none says what time costs")
