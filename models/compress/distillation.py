"""Distillation: besides the text, a model learns what its parent says of it.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531). Next to the loss L0 on the
text, in nats per token, stands how far the model's next-token distribution is from its parent's, both softened by a
temperature t:

    loss = L0 + weight * t^2 * KL(softmax(parent / t) || softmax(model / t)),    the mean over tokens

t^2 keeps the size of its gradient the same whatever t. L0 is not scaled down to make room: a compression method's own
penalty is weighed against it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.models.compress.objective import Objective
from harness.models.gpt.network import GPT
from harness.models.recipe import DistillationRecipe, used


def divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """t^2 * KL(softmax(teacher / t) || softmax(logits / t)), nats per token: a scalar from [..., vocabulary] each."""
    wanted = F.log_softmax(teacher.float() / temperature, dim=-1).flatten(0, -2)
    student = F.log_softmax(logits.float() / temperature, dim=-1).flatten(0, -2)
    return temperature**2 * F.kl_div(student, wanted, reduction="batchmean", log_target=True)


class Distillation(Objective):
    """What distillation from `teacher` adds to a training run. The teacher is frozen, and sees no dropout."""

    def __init__(self, teacher: GPT, recipe: DistillationRecipe) -> None:
        self.recipe = recipe
        self.teacher = teacher.eval().requires_grad_(False)

    def description(self) -> dict[str, Any]:
        return {"distillation": used(self.recipe)}

    def output_loss(self, inputs: Tensor, logits: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_logits = self.teacher(inputs)
        return self.recipe.weight * divergence(logits, teacher_logits, self.recipe.temperature)
