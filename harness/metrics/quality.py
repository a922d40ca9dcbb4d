"""How good the model is: its loss on a named text, and its outputs beside those of a reference."""

from __future__ import annotations

from harness.metrics.derivations import perplexity, run, scalar
from harness.metrics.metric import Metric

QUALITY = (
    Metric("loss_nats", "loss, a token", "nats", "lower", "difference", "quality", "Quality", scalar("loss_nats")),
    Metric("perplexity", "perplexity", "1", "lower", "difference", "quality", "Quality", perplexity),
    Metric(
        "recorded_loss_nats",
        "loss recorded when made",
        "nats",
        "lower",
        None,
        "latency",
        "Quality",
        run("recorded_loss_nats"),
        main=False,
    ),
    Metric(
        "max_abs_difference",
        "max difference of outputs",
        "1",
        "lower",
        None,
        "quality",
        "Quality",
        scalar("max_abs_difference"),
    ),
    Metric("sqnr_db", "signal to noise of outputs", "dB", "higher", None, "quality", "Quality", scalar("sqnr_db")),
    Metric(
        "argmax_agreement",
        "argmax agreement of outputs",
        "1",
        "higher",
        None,
        "quality",
        "Quality",
        scalar("argmax_agreement"),
    ),
    Metric(
        "max_abs_difference_x86",
        "max difference from x86",
        "1",
        "lower",
        None,
        "quality",
        "Quality",
        scalar("max_abs_difference_x86"),
    ),
    Metric(
        "argmax_agreement_x86",
        "argmax agreement with x86",
        "1",
        "higher",
        None,
        "quality",
        "Quality",
        scalar("argmax_agreement_x86"),
    ),
)
