"""A language model with its evaluation tokens: speed, memory and quality in one table."""

from __future__ import annotations

import json
import math
from pathlib import Path

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


def words(path: Path) -> Path:
    """A tokenizer of words for the vocabulary of the models."""
    import tokenizers

    names = ["<s>", "</s>", "to", "be", "or", "not", "that", "is", "the", "question"]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<s>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(path))
    return path


def test_given_prompts_are_asked_and_their_answers_kept_as_text(home: Home, models: Models) -> None:
    prompts = home.folder / "prompts.jsonl"
    prompts.write_text('{"prompt": "to be or not"}\n{"prompt": "that is the"}\n')
    ended = home.harness(
        "run", "-t", "x86", "-m", models.lm, "-m", f"again={models.lm}", "--prompt-file", prompts, "--tokenizer",
        words(home.folder / "words.json"), "--new-tokens", 4, "-n", 2, "--no-memory", "--no-quality", *QUICK,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    said = " ".join((ended.out + ended.err).split())
    assert "prompts have 3 to 4 tokens and are cut to the first 3" in said
    assert "Prompts: 2 prompts of prompts.jsonl, answers up to the end token." in said
    rows = home.rows("answers")
    assert len(rows) == 4, "the answers of the first process of each model"
    assert {tuple(row["prompt_tokens"]) for row in rows} == {(2, 3, 4), (6, 7, 8)}
    assert {row["prompt_text"] for row in rows} == {"to be or", "that is the"}
    by_prompt = {row["prompt"]: tuple(row["tokens"]) for row in rows}
    assert all(tuple(row["tokens"]) == by_prompt[row["prompt"]] for row in rows), "the same file answers alike"
    assert all(1 <= len(row["tokens"]) <= 4 and (len(row["tokens"]) == 4 or row["tokens"][-1] == 1) for row in rows)
    printed = home.harness("report", "--text").out
    assert "to be or" in printed
    assert "again" in printed
    (one, *_) = json.loads(home.harness("report", "--text", "--json").out)["data"]["answers"]
    assert tuple(one["tokens"]) == by_prompt[one["prompt"]]


def test_a_text_is_evaluated_and_asked_in_the_tokens_of_a_tokenizer_beside_the_model(
    home: Home, models: Models
) -> None:
    model = home.folder / "mine.pte"
    model.write_bytes(models.lm.read_bytes())
    words(home.folder / "tokenizer.json")
    text = home.folder / "play.txt"
    text.write_text("to be or not to be that is the question " * 3)
    ended = home.harness(
        "run", "-t", "x86", "-m", model, "--data", text, "--prompt-tokens", 3, "-n", 1, "--no-memory", *QUICK
    )
    assert ended.code == 0, ended.err
    assert "Prompts: the evaluation text." in " ".join(ended.out.split())
    quality = next(run for run in home.rows() if run["measure"] == "quality")
    assert quality["data"] == "play.txt, 10 subwords"
    (answer,) = home.rows("answers")
    assert answer["prompt_text"] == "to be or"


def test_prompts_are_random_where_there_is_no_text_and_the_table_says_so(home: Home, models: Models) -> None:
    ended = home.harness("run", "-t", "x86", "-m", models.lm, "-n", 1, "--no-memory", *QUICK)
    assert ended.code == 0, ended.err
    assert "Prompts: random tokens." in " ".join(ended.out.split())
    assert "give --tokenizer" in " ".join((ended.out + ended.err).split())
    assert not home.rows("answers")
    nothing = home.harness("report", "--text")
    assert nothing.code == 3
    assert "No answer of a language model is stored" in nothing.err


def test_what_cannot_be_asked_is_one_sentence_and_the_other_models_go_on(home: Home, models: Models) -> None:
    other = home.folder / "other.pte"
    other.write_bytes(models.lm.read_bytes())
    words(home.folder / "other.tokenizer.json")
    passes = ("-n", 1, "--no-memory", "--no-quality")
    ended = home.harness("run", "-t", "x86", "-m", models.lm, "-m", other, "--prompt", "to be", *passes, *QUICK)
    assert "lm has no tokenizer, so that it cannot be given a text." in " ".join((ended.out + ended.err).split())
    assert {(run["model"], run["status"]) for run in home.rows()} == {("lm", "failed"), ("other", "ok")}

    long = home.harness("run", "-t", "x86", "-m", other, "--prompt", "to be " * 20, *passes, *QUICK)
    assert long.code == 2
    assert "takes at most" in " ".join(long.err.split())

    import tokenizers

    large = tokenizers.Tokenizer(tokenizers.models.WordLevel({str(i): i for i in range(99)}, unk_token="0"))
    large.save(str(home.folder / "large.json"))
    wrong = home.harness("run", "-t", "x86", "-m", other, "--tokenizer", home.folder / "large.json", *passes, *QUICK)
    assert wrong.code != 0
    assert f"The tokenizer of other has 99 tokens, the model {VOCABULARY}." in " ".join((wrong.out + wrong.err).split())

    twice = home.harness("run", "-t", "x86", "-m", other, "--prompt", "to", "--prompt-file", models.lm, *passes)
    assert twice.code == 2
    assert "Prompts are given twice." in twice.err
