"""A language model with its evaluation tokens: speed, memory and quality in one table."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from cli.driving import QUICK, Home
from models_on_disk import VOCABULARY, WIDTH, Models

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


def test_a_model_that_computes_nonsense_from_some_token_on_is_a_failed_row(home: Home, models: Models) -> None:
    """The place of the seventh token is not a number in its table of positions; the other model is measured."""
    row = np.load(models.folder / "lm.npz")["positions.weight"][6].tobytes()
    content = models.lm.read_bytes()
    assert content.count(row) == 1
    broken = home.folder / "broken.pte"
    broken.write_bytes(content.replace(row, np.full(WIDTH, np.nan, np.float32).tobytes()))
    passes = ("--no-memory", "--no-quality")
    ended = home.harness(
        "run", "-t", "x86", "-m", models.lm, "-m", broken, "--prompt-tokens", 4, "-n", 1, *passes, *QUICK
    )
    assert ended.code == 1
    assert "The logits of broken after 7 tokens are not finite numbers" in " ".join((ended.out + ended.err).split())
    assert {(run["model"], run["status"], run["error_kind"]) for run in home.rows()} == {
        ("lm", "ok", None),
        ("broken", "failed", "model"),
    }
