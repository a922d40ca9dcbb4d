"""LoraHub: three LoRAs, each learned from another text, are combined for a few examples without a gradient.

Huang, Liu, Lin, Pang, Du and Lin, "LoraHub: Efficient Cross-Task Generalization via Dynamic LoRA Composition" (COLM
2024, arXiv 2307.13269, DOI 10.48550/arXiv.2307.13269): with coefficients w, A = sum of w_k A_k and B = sum of w_k B_k.
Searched are the w that make the loss of the examples + `l1` * sum of |w_k| least. The result is a LoRA, see `lora`.

Differs from the paper:

* there are 3 LoRAs, where the paper takes 20 out of about 200;
* their texts are thirds of the training text, in which plays are not marked: they differ less than the paper's tasks;
* the examples are the last windows of the training text. No LoRA is trained with them, but the parent was;
* the search is the simplex of Nelder and Mead, where the authors' code uses Nevergrad's NGOpt and divides the sum of
  |w_k| by the number of LoRAs. Both start from 0, and have the same bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import UsageError
from harness.models.compress.adapters.adapter import (
    AdapterOptions,
    LowRank,
    attach,
    finished_adapters,
    frozen_layers,
    stored_number,
)
from harness.models.compress.layers import matrix, shape_of
from harness.models.compress.method import ADAPTERS, TrainedMethod, Weights, check_range
from harness.models.compress.stored import LowRankUpdate, Stored
from harness.models.compress.training import Training
from harness.models.gpt.network import GPT

COUNT = 3
"""The number of LoRAs. Each is trained in its own phase."""
BOUND = 1.5
"""The greatest |w_k|, as in the authors' code."""
FIRST_STEP = 0.5
"""The distance from 0 to the other corners of the first simplex."""
DEFAULT_CONTEXT = 256


@dataclass(frozen=True, kw_only=True)
class LorahubOptions(AdapterOptions):
    """Those of `lora`; `steps` of training for each of the three LoRAs, one after another; `l1`: what the sum of |w_k|
    is multiplied by, in nats; `tries`: at most so many w are tried; `examples`: how many windows of text they are tried
    with. Raises ValueError for a number out of range.
    """

    steps: int
    l1: float = 0.05
    tries: int = 40
    examples: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "tries", "examples"):
            check_range(name, getattr(self, name), 1, 1_000_000)
        if not 0 <= self.l1 < 1:
            raise ValueError(f"l1 is {self.l1}, not a number from 0 to below 1")


class Several(nn.Module):
    """Three updates of one layer. One of them is used; where there are `coefficients` [3], their composition."""

    def __init__(self, layer: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.parts = nn.ModuleList(LowRank(layer, rank, scale) for _ in range(COUNT))
        self.scale, self.at_work = scale, 0
        self.coefficients: Tensor | None = None

    def composed(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """A [rank, in] and B [out, rank] of the composition by `coefficients` [3], as they are stored."""
        parts = [cast(LowRank, part) for part in self.parts]
        pairs = list(zip(coefficients, parts, strict=True))
        reading = torch.stack([w * part.reading for w, part in pairs]).sum(0)
        writing = torch.stack([w * part.writing for w, part in pairs]).sum(0)
        return stored_number(reading), stored_number(writing)

    def forward(self, x: Tensor) -> Tensor:
        if self.coefficients is None:
            update: Tensor = self.parts[self.at_work](x)
            return update
        reading, writing = self.composed(self.coefficients)
        return F.linear(F.linear(x, reading), writing) * self.scale


class Lorahub(Training):
    """Trains three LoRAs of the linear layers of `model`, a language model, one after another.

    In a user's training loop each phase is trained with the inputs that the user gives; the examples are the last
    inputs of each phase. Inputs must be tokens int64 [B, T], outputs logits [B, T, vocabulary], because the loss is
    that of the next token. `output_loss` raises UsageError for others, `weights` where it had no inputs.
    """

    def __init__(self, model: nn.Module, options: LorahubOptions) -> None:
        self.model, self.options, self.phase = model, options, 0
        self.layers = frozen_layers(model, options)
        self.adapters: dict[str, Several] = {}
        for name, layer in self.layers.treated.items():
            self.adapters[name] = Several(cast(nn.Linear, layer), options.rank, options.scale)
            attach(layer, self.adapters[name])
        self.held: Tensor | None = None
        self.seen: dict[int, Tensor] = {}

    def tokens(self, text: NDArray[np.int64]) -> NDArray[np.int64]:
        context = self.model.config.context if isinstance(self.model, GPT) else DEFAULT_CONTEXT
        size = self.options.examples * context
        if len(text) < size + COUNT * (context + 1):
            raise UsageError(
                f"A text of {len(text)} tokens has no {self.options.examples} examples and {COUNT} parts.",
                "Ask for fewer examples.",
            )
        self.held = torch.from_numpy(text[len(text) - size :]).view(-1, context)
        return text[: len(text) - size]

    def part(self, text: NDArray[np.int64], step: int) -> NDArray[np.int64]:
        ends = [len(text) * number // COUNT for number in range(COUNT + 1)]
        phase = self._phase(step)
        return text[ends[phase] : ends[phase + 1]]

    def output_loss(self, inputs: Tensor, logits: Tensor) -> Tensor | float:
        if inputs.dtype != torch.int64 or inputs.dim() != 2 or logits.dim() != 3 or inputs.shape != logits.shape[:2]:
            raise UsageError(
                "lorahub searches its coefficients by the loss of the next token, which this model does not have.",
                "Give it a model from tokens [B, T] to logits [B, T, vocabulary], or use lora.",
            )
        if self.held is None:
            self.seen[self.phase] = inputs.detach()
        return 0.0

    def after_update(self, step: int) -> None:
        self._enter(self._phase(step + 1))

    def figures(self) -> dict[str, float]:
        return {"phase": float(self.phase)}

    def state(self) -> dict[str, Any]:
        return {"phase": self.phase}

    def restore(self, state: dict[str, Any]) -> None:
        self._enter(state["phase"])

    def weights(self) -> Weights:
        coefficients, facts = self._searched()
        stored: dict[str, Stored] = {}
        for name, layer in self.layers.treated.items():
            adapter = self.adapters[name]
            stored[name] = LowRankUpdate(matrix(layer), *adapter.composed(coefficients), adapter.scale, shape_of(layer))
        weights = finished_adapters(self.model, self.layers, stored, self.options)
        weights.facts = facts | weights.facts
        return weights

    def loss(self, coefficients: Tensor, examples: list[Tensor]) -> float:
        """The loss of `examples`, int64 [B, T] each, in nats per token, with the composition by `coefficients` [3]."""
        with self._composition(coefficients), torch.no_grad():
            total, count = 0.0, 0
            for tokens in examples:
                logits = self.model(tokens)[:, :-1].flatten(0, 1).float()
                total += F.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="sum").item()
                count += tokens[:, 1:].numel()
        return total / count

    def _searched(self) -> tuple[Tensor, dict[str, Any]]:
        from scipy.optimize import minimize

        examples = [self.held] if self.held is not None else list(self.seen.values())
        if not examples:
            raise UsageError(
                "lorahub has seen no examples to search its coefficients on.",
                "Call training.output_loss(inputs, logits) in each step of the loop.",
            )

        def cost(w: NDArray[np.float64]) -> float:
            return self.loss(torch.from_numpy(w).float(), examples) + self.options.l1 * float(np.abs(w).sum())

        simplex = np.vstack([np.zeros(COUNT), FIRST_STEP * np.eye(COUNT)])
        options = {"maxfev": self.options.tries, "initial_simplex": simplex}
        found = minimize(cost, simplex[0], method="Nelder-Mead", bounds=[(-BOUND, BOUND)] * COUNT, options=options)
        coefficients = torch.from_numpy(found.x).float()
        alone = [self.loss(torch.eye(COUNT)[number], examples) for number in range(COUNT)]
        return coefficients, {
            "coefficients": coefficients.tolist(),
            "loss_of_examples": self.loss(coefficients, examples),
            "loss_without": self.loss(torch.zeros(COUNT), examples),
            "loss_of_each": alone,
            "tries": int(found.nfev),
            "phases_trained": self.phase + 1,
        }

    @contextmanager
    def _composition(self, coefficients: Tensor) -> Iterator[None]:
        for adapter in self.adapters.values():
            adapter.coefficients = coefficients
        try:
            yield
        finally:
            for adapter in self.adapters.values():
                adapter.coefficients = None

    def _phase(self, step: int) -> int:
        return min(step // self.options.steps, COUNT - 1)

    def _enter(self, phase: int) -> None:
        self.phase = phase
        for adapter in self.adapters.values():
            adapter.at_work = phase


METHOD = TrainedMethod(
    name="lorahub",
    family=ADAPTERS,
    options=LorahubOptions,
    start=Lorahub,
    source="Huang et al. 2024, arXiv 2307.13269",
)
