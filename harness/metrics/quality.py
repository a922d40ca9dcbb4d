"""How good the model is: its loss on a named text, and its outputs against those of a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from harness.metrics.derivations import bits_per_byte, perplexity, run, scalar, word_perplexity
from harness.metrics.metric import Metric, PerProcess, Phrase, Recorded, Unit


def quality(
    name: str, label: str, unit: Unit, better: Literal["lower", "higher"], per_process: PerProcess, **facts: Any
) -> Metric:
    """A fact of the model and the data, which depends on no clock; `facts` are further fields of the metric."""
    usual: dict[str, Any] = {"compare": None, "measure": "quality", "exactness": "repeats"}
    return Metric(name, label, unit, better, section="Quality", per_process=per_process, **usual | facts)


def _recorded_loss(row: Mapping[str, Any]) -> float | None:
    loss: float | None = row["recorded_loss_nats"]
    return loss


def _recorded_perplexity(row: Mapping[str, Any]) -> float | None:
    loss = _recorded_loss(row)
    return None if loss is None else math.exp(loss)


QUALITY = (
    quality(
        "loss_nats",
        "loss per token",
        "nats",
        "lower",
        scalar("loss_nats"),
        compare="difference",
        recorded=Recorded(_recorded_loss, alone=True),
        short=True,
        watched=True,
        paper="value",
        aside=Phrase("loss {}"),
    ),
    quality(
        "perplexity",
        "perplexity",
        "1",
        "lower",
        perplexity,
        compare="difference",
        sources=("loss_nats",),
        recorded=Recorded(_recorded_perplexity),
    ),
    quality(
        "bits_per_byte",
        "bits per byte of text",
        "bits",
        "lower",
        bits_per_byte,
        compare="difference",
        main=False,
        sources=("loss_nats", "predicted_bytes"),
    ),
    quality(
        "word_perplexity",
        "perplexity per word",
        "1",
        "lower",
        word_perplexity,
        compare="difference",
        main=False,
        sources=("loss_nats", "predicted_words"),
    ),
    quality(
        "recorded_loss_nats",
        "loss recorded when made",
        "nats",
        "lower",
        run("recorded_loss_nats"),
        measure="latency",
        exactness="file",
        main=False,
    ),
    quality("max_abs_difference", "max difference of outputs", "1", "lower", scalar("max_abs_difference")),
    quality(
        "sqnr_db",
        "signal to noise of outputs",
        "dB",
        "higher",
        scalar("sqnr_db"),
        short=True,
        lowest=10.0,
        aside=Phrase("signal to noise {}"),
    ),
    quality(
        "argmax_agreement",
        "argmax agreement of outputs",
        "1",
        "higher",
        scalar("argmax_agreement"),
        short=True,
        aside=Phrase("same class in {} of the rows"),
    ),
    quality("max_abs_difference_x86", "max difference from x86", "1", "lower", scalar("max_abs_difference_x86")),
    quality("argmax_agreement_x86", "argmax agreement with x86", "1", "higher", scalar("argmax_agreement_x86")),
    quality(
        "accuracy_top1",
        "accuracy, top 1",
        "1",
        "higher",
        scalar("accuracy_top1"),
        compare="difference",
        where_known=True,
        short=True,
        aside=Phrase("accuracy {}"),
    ),
    quality(
        "accuracy_top5",
        "accuracy, top 5",
        "1",
        "higher",
        scalar("accuracy_top5"),
        compare="difference",
        where_known=True,
    ),
    quality(
        "mean_squared_error",
        "mean squared error",
        "1",
        "lower",
        scalar("mean_squared_error"),
        compare="ratio",
        where_known=True,
        short=True,
        aside=Phrase("mean squared error {} smaller", "mean squared error {} larger"),
    ),
    Metric(
        "labelled_samples",
        "labelled samples",
        "1",
        None,
        None,
        "quality",
        "Quality",
        scalar("labelled_samples"),
        where_known=True,
        exactness="repeats",
    ),
)
