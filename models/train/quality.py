"""How good a language model is: mean nats per token over a whole text, by one rule for every way of running it.

The text is cut into windows of the model's context T that do not overlap. Window x = d[i : i+T] predicts
y = d[i+1 : i+T+1], T predictions each, the first of them from one token. What is left at the end, fewer than T tokens,
is not predicted. A short context reads worse by this rule than by a sliding one: compare at equal T only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.language.tokenizer import Tokens

LogitsOf = Callable[[Tensor], Tensor]
"""Tokens int64 [B, T] to logits float32 [B, T, vocabulary]."""


def windows(tokens: Tokens, context: int) -> tuple[Tensor, Tensor]:
    """Every whole window of a text: inputs and targets, int64 [windows, context] each."""
    count = (len(tokens) - 1) // context
    text = torch.from_numpy(tokens)
    return text[: count * context].view(count, context), text[1 : count * context + 1].view(count, context)


def mean_loss(logits_of: LogitsOf, tokens: Tokens, context: int) -> float:
    """Mean cross-entropy in nats per token over the whole of `tokens`."""
    inputs, targets = windows(tokens, context)
    return total_loss(logits_of, inputs, targets) / targets.numel()


@torch.no_grad()
def total_loss(logits_of: LogitsOf, inputs: Tensor, targets: Tensor, batch: int = 64) -> float:
    """Summed cross-entropy in nats of `targets` given `inputs`, int64 [windows, context] each, `batch` a call."""
    total = 0.0
    for x, y in zip(torch.split(inputs, batch), torch.split(targets, batch), strict=True):
        total += F.cross_entropy(logits_of(x).float().flatten(0, 1), y.flatten(), reduction="sum").item()
    return total
