"""Checkpoints of Hugging Face, made here from configurations, as programs that are asked in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.driving import QUICK, Home

from harness.models.train.data import load_text
from harness.models.train.tokenizer import learned_byte_pairs

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
VOCABULARY, CONTEXT = 300, 48


def llama() -> Any:
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, eos_token_id=7, bos_token_id=None,
    )  # fmt: skip


def gpt2() -> Any:
    return transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=7, bos_token_id=None
    )


def qwen2() -> Any:
    return transformers.Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, eos_token_id=7, bos_token_id=None,
    )  # fmt: skip


def checkpoint(folder: Path, config: Any) -> Any:
    """A model with random weights, saved with a tokenizer that was trained on the evaluation text."""
    import torch

    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)  # far from uniform, so that a wrong position shows
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(learned_byte_pairs(load_text()[:20000], VOCABULARY).tokenizer_json)
    return model


@pytest.mark.parametrize("config", [llama, gpt2, qwen2])
def test_a_checkpoint_becomes_a_program_that_is_asked_in_words(home: Home, config: Callable[[], Any]) -> None:
    """Its loss is that of the checkpoint in torch, on the same tokens."""
    import torch

    model = checkpoint(home.folder / "made", config())
    path = home.folder / "made.pte"
    ended = home.harness("models", "import", home.folder / "made", "--output", path, "--context", CONTEXT)
    assert ended.code == 0, ended.err
    assert (home.folder / "made.tokenizer.json").exists()
    said = home.harness("models", "inspect", path).out
    assert "Hugging Face's convention" in said
    assert f"context of {CONTEXT} tokens, vocabulary of {VOCABULARY}" in said

    text = load_text()[:3000]
    (home.folder / "play.txt").write_text(text)
    ended = home.harness(
        "run", "-t", "x86", "-m", path, "--data", home.folder / "play.txt", "--max-eval-tokens", 2 * CONTEXT,
        "--prompt", "First Citizen:", "--new-tokens", 5, "-n", 1, "--no-memory", "--json", *QUICK,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    (comparison,) = json.loads(ended.out)["data"]["comparisons"]
    figures = {row["metric"]: row["models"][0]["value"] for row in comparison["metrics"]}
    tokens = learned_byte_pairs(load_text()[:20000], VOCABULARY).encode(text)
    windows = [torch.from_numpy(tokens[i * CONTEXT : (i + 1) * CONTEXT + 1].astype(np.int64)) for i in range(2)]
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(model(window[None, :-1]).logits[0].double(), window[1:]).item()
            for window in windows
        ]
    assert figures["loss_nats"] == pytest.approx(np.mean(losses), rel=1e-4)

    (answer,) = home.rows("answers")
    assert answer["prompt_text"] == "First Citizen:"
    assert 1 <= len(answer["tokens"]) <= 5


def test_weights_may_be_rounded(home: Home) -> None:
    checkpoint(home.folder / "made", llama())
    sizes = {}
    for precision in ("fp32", "int8", "int4"):
        path = home.folder / f"{precision}.pte"
        options = ("--context", CONTEXT, "--precision", precision)
        ended = home.harness("models", "import", home.folder / "made", "--output", path, *options)
        assert ended.code == 0, ended.err
        sizes[precision] = path.stat().st_size
    assert sizes["fp32"] > sizes["int8"] > sizes["int4"]


def without_weights(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        file.rename(file.with_name("pytorch_model.bin"))


def with_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Model"}
    (folder / "config.json").write_text(json.dumps(config))


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def damaged(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def another_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "nobody"}')


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_weights, "has no weights in .safetensors"),
        (with_code, "brings code of its own (auto_map), which is not run"),
        (without_config, "has no config.json"),
        (damaged, "is damaged"),
        (another_kind, "is no causal language model"),
    ],
)
def test_what_is_no_such_checkpoint_is_one_sentence_and_leaves_nothing(
    home: Home, spoil: Callable[[Path], None], says: str
) -> None:
    folder = home.folder / "made"
    checkpoint(folder, gpt2())
    spoil(folder)
    ended = home.harness("models", "import", folder, "--output", home.folder / "made.pte")
    assert ended.code == 2
    assert says in " ".join(ended.err.split())
    assert not list(home.folder.glob("made.*"))


def test_a_context_that_the_model_has_not_is_refused(home: Home) -> None:
    checkpoint(home.folder / "made", gpt2())
    options = ("--output", home.folder / "made.pte", "--context", 65)
    ended = home.harness("models", "import", home.folder / "made", *options)
    assert ended.code == 2
    assert "takes 2 to 64 tokens, not 65" in ended.err
