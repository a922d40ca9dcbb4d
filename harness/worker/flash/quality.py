"""What predictors cost in quality: the loss of a model of which only the neurons count that they name, and the whole's.

The same rows from the same file, so the difference is theirs alone. A choice that misses nothing adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.errors import UsageError
from harness.flash.io.encoding import Floats
from harness.flash.language_model.engine import Step
from harness.language.token_file import read_tokens
from harness.protocol import Event, Progress, Scalar

TokenStep = Callable[[int, int], Step]


def loss(
    dense: TokenStep,
    chosen: TokenStep,
    tokens_file: Path,
    context: int,
    vocabulary: int,
    max_tokens: int | None,
    emit: Callable[[Event], None],
) -> None:
    """Emit the mean negative log-likelihood in nats a token of both, over windows of `context` that do not overlap, as
    `quality.loss` has them; and the share of tokens of which both would choose the same.
    """
    tokens = read_tokens(tokens_file)
    windows = (len(tokens) - 1) // context
    if max_tokens is not None:
        windows = min(windows, max(1, max_tokens // context))
    if windows < 1 or tokens.max() >= vocabulary:
        raise UsageError(
            f"The evaluation text has {len(tokens)} tokens up to {tokens.max(initial=0)}, the model takes {context} at "
            f"once, below {vocabulary}.",
            "Give a longer text in the model's own tokens (--tokens).",
        )
    sums, equal = np.zeros(2), 0
    for window in range(windows):
        for position in range(context):
            token, target = (int(tokens[window * context + position + step]) for step in (0, 1))
            logits = [token_step(token, position).logits for token_step in (dense, chosen)]
            sums += [_nats(row, target) for row in logits]
            equal += int(logits[0].argmax() == logits[1].argmax())
        emit(Progress(done=window, total=windows))
    predicted = windows * context
    if not math.isfinite(sums.sum()):
        emit(Scalar(name="loss_nats", value=None, reason="the model's loss is not a number"))
        return
    emit(Scalar(name="loss_nats", value=float(sums[1]) / predicted))
    emit(Scalar(name="whole_loss_nats", value=float(sums[0]) / predicted))
    emit(Scalar(name="argmax_agreement", value=equal / predicted))
    emit(Scalar(name="predicted_tokens", value=predicted))


def _nats(logits: Floats, target: int) -> float:
    wide = logits.astype(np.float64)
    return float(np.logaddexp.reduce(wide) - wide[target])
