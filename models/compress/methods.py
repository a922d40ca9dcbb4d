"""From a recipe to the objective of its training run: a compression method, distillation, both, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from torch import Tensor

from harness.errors import UsageError
from harness.models.compress.codes import Code
from harness.models.compress.distillation import Distillation
from harness.models.compress.fixed_bits import FixedBits, TernaryCode
from harness.models.compress.objective import Objective
from harness.models.compress.selfcompression import SelfCompression
from harness.models.gpt.network import GPT
from harness.models.recipe import Recipe


class Together(Objective):
    """Several objectives in one. Their descriptions, figures and states share one namespace each."""

    def __init__(self, parts: Sequence[Objective]) -> None:
        self.parts = parts

    def description(self) -> dict[str, Any]:
        return reduce(or_, (part.description() for part in self.parts))

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.parameter_groups()]

    def penalty(self) -> Tensor | float:
        return sum(part.penalty() for part in self.parts)

    def output_loss(self, inputs: Tensor, logits: Tensor) -> Tensor | float:
        return sum(part.output_loss(inputs, logits) for part in self.parts)

    def after_update(self, step: int) -> None:
        for part in self.parts:
            part.after_update(step)

    def figures(self) -> dict[str, float]:
        return reduce(or_, (part.figures() for part in self.parts))

    def state(self) -> dict[str, Any]:
        return reduce(or_, (part.state() for part in self.parts))

    def restore(self, state: dict[str, Any]) -> None:
        for part in self.parts:
            part.restore(state)

    def codes(self, model: GPT) -> dict[str, Code]:
        return reduce(or_, (part.codes(model) for part in self.parts))


def objective(recipe: Recipe, model: GPT, teacher: GPT | None) -> Objective:
    """What `recipe` asks of a training run of `model`, whose block layers it replaces where the method quantises them.

    `teacher` is the parent with its own weights, None where the recipe has no parent; distillation freezes it. Raises
    UsageError for distillation without a teacher, and for blocks that do not divide a layer's inputs.
    """
    if recipe.distillation is not None and teacher is None:
        raise UsageError(f"{recipe.name} is to be distilled, but has no parent to learn from.", "Name its parent.")
    parts = [_method(recipe, model)]
    if recipe.distillation is not None and teacher is not None:
        parts.append(Distillation(teacher, recipe.distillation))
    return parts[0] if len(parts) == 1 else Together(parts)


def _method(recipe: Recipe, model: GPT) -> Objective:
    if recipe.compression is not None:
        return SelfCompression(model, recipe.compression)
    if recipe.fixed is not None:
        return FixedBits(model, recipe.fixed)
    return TernaryCode(model) if recipe.method == "ternary" else Objective()
