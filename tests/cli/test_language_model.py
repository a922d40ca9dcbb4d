"""A language model with its evaluation tokens: speed, memory and quality in one table."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from cli.driving import QUICK, Home
from models_on_disk import VOCABULARY, Models

from harness.manifest import sha256_file


def test_a_language_model_gets_loss_perplexity_tokens_a_second_and_memory(home: Home, models: Models) -> None:
    tokens = home.folder / "tokens.npy"
    np.save(tokens, np.random.default_rng(0).integers(0, VOCABULARY, 33))
    ended = home.harness(
        "run",
        "-t",
        "x86",
        "-m",
        models.lm,
        "--tokens",
        tokens,
        "--max-eval-tokens",
        16,
        "--prompt-tokens",
        4,
        "-n",
        1,
        "--json",
        *QUICK,
    )
    assert ended.code == 0, ended.err
    (comparison,) = json.loads(ended.out)["data"]["comparisons"]
    assert (comparison["condition"]["scenario"], comparison["condition"]["data"]) == ("generate", "tokens.npy")
    assert comparison["condition"]["data_sha256"] == sha256_file(tokens)
    assert (comparison["condition"]["prompt_tokens"], comparison["condition"]["new_tokens"]) == (4, 5)
    figures = {row["metric"]: row["models"][0] for row in comparison["metrics"]}
    loss = figures["loss_nats"]["value"]
    assert 0 < loss < 10
    assert figures["perplexity"]["value"] == pytest.approx(math.exp(loss))
    for metric in (
        "prefill_latency_ns_p50",
        "decode_latency_ns_p50",
        "decode_tokens_per_s",
        "ttft_ns_p50",
        "load_ns",
        "first_inference_ns",
        "peak_rss_bytes",
        "peak_over_idle_bytes",
        "planned_bytes",
        "model_bytes",
    ):
        assert figures[metric]["value"] > 0, metric
    scalars = {row["name"]: row["value"] for row in home.rows("scalars")}
    assert scalars["predicted_tokens"] == 16
    assert {run["measure"] for run in home.rows()} == {"latency", "memory", "quality"}
    assert f"{loss:.3f}"[:4] in home.harness("compare").out
