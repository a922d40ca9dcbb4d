"""What a compression method, or distillation, adds to a training run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.models.compress.codes import Code
from harness.models.gpt.network import GPT


class Objective:
    """Plain next-token training. A compression method overrides what it adds to it."""

    text_weight: float = 1.0
    """Of the loss on the text's next tokens in the loss of a step."""

    def description(self) -> dict[str, Any]:
        """What was asked of the method, JSON values only: a checkpoint belongs to it."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """More AdamW groups, each with `params` and `lr`."""
        return []

    def part(self, text: NDArray[np.int64], step: int) -> NDArray[np.int64]:
        """What of the training text, int64 [tokens], the windows of `step` are drawn from."""
        return text

    def penalty(self) -> Tensor | float:
        """Added to the loss of a step."""
        return 0.0

    def output_loss(self, inputs: Tensor, logits: Tensor) -> Tensor | float:
        """Added to the loss of a step for what the model says, `logits` [B, T, vocabulary], of `inputs` int64 [B, T].

        Called under the step's autocast.
        """
        return 0.0

    def after_update(self, step: int) -> None:
        """Called when the weights of `step` have been updated."""

    def figures(self) -> dict[str, float]:
        """Columns for the log, and for the progress bar."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a resumed run must know, JSON values only."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, called when weights and optimizers have been restored."""

    def codes(self, model: GPT) -> dict[str, Code]:
        """The layers of `model` that the method has quantised, by name, first to last."""
        return {}
