"""The check of a file that keeps its cache from call to call: it computes what its model computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from harness.errors import ModelError
from harness.models.gpt.network import GPT

TOLERANCE = {"fp32": 1e-4, "int8": 0.2, "int4-channel": 0.5, "int4-group32": 0.5}
"""Root mean square of the difference between a logit of the file and the model's, as a share of the logits' standard
deviation."""
AGREEMENT = {"fp32": 0.99, "int8": 0.9, "int4-channel": 0.75, "int4-group32": 0.75}
"""Least share of places where the file's most likely token is the model's."""
CHECKED_TOKENS = 512
_TOGETHER = 8  # tokens that the check gives at once in the middle of a window


def check_cached(
    gpt: GPT, name: str, precision: str, tokens: Tensor, logits: Callable[[Tensor, int], Tensor], todo: str
) -> dict[str, float]:
    """Run `logits`, which is the file `name`, beside `gpt` on windows of `tokens`: a prompt, some tokens at once, and
    the rest token by token. It takes tokens int64 [1, n] and the place of the first, 0 for a new sequence, and gives
    the logits of all of them [n, vocabulary]. The difference of the logits in spreads, the share of places where the
    most likely token is the same, and what of both is allowed.

    Raises ModelError, with `todo`, where the difference is more than `TOLERANCE`, or the share less than `AGREEMENT`.
    """
    context = gpt.config.context
    text = tokens[: max(CHECKED_TOKENS, context) // context * context].view(-1, context)
    computed, expected = [], gpt(text).flatten(0, 1)
    for window in text:
        begin = 0
        for count in _pieces(context):
            computed.append(logits(window[None, begin : begin + count], begin))
            begin += count
    both = torch.cat(computed)
    difference = ((both - expected).square().mean().sqrt() / expected.std()).item()
    agreement = (both.argmax(1) == expected.argmax(1)).double().mean().item()
    if not (difference <= TOLERANCE[precision] and agreement >= AGREEMENT[precision]):
        raise ModelError(
            f"{name} computes something else than its model: logits differ by {difference:.2g} spreads, and "
            f"{agreement:.1%} of its most likely tokens are the model's.",
            todo,
        )
    return {
        "logits_difference_spreads": difference,
        "logits_difference_allowed": TOLERANCE[precision],
        "same_tokens": agreement,
        "same_tokens_least": AGREEMENT[precision],
        "checked_tokens": len(both),
    }


def _pieces(context: int) -> Iterator[int]:
    """How many tokens each call gets: half a window, then several, then one at a time."""
    first = context // 2
    together = min(_TOGETHER, context - first)
    yield from (first, together, *[1] * (context - first - together))
