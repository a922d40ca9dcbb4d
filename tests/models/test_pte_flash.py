"""A GPT taken apart at its feed-forward layers, and put together again. The export itself is tested with the worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.sparse import sparse_gpt
from torch.nn import functional as F

from harness.durations import OnStep
from harness.errors import ModelError
from harness.models.export import pte_flash, pte_flash_files
from harness.models.export.pte_flash_files import export_flash_files, windows
from harness.models.gpt.network import GPT, BlockShape, GPTConfig
from harness.models.train.data import Corpus
from harness.models.zoo import artifacts

WHOLE = BlockShape(heads=2, qk_dim=8, v_dim=8, ffn=24)
CUT = BlockShape(heads=1, qk_dim=6, v_dim=4, ffn=20, attention_rows=(0, 3, 5), ffn_rows=tuple(range(0, 16, 2)))
NO_FEED_FORWARD = replace(WHOLE, ffn=0)
NO_ATTENTION = replace(WHOLE, heads=0)
RELU = GPTConfig(vocabulary_size=13, context=10, layers=4, heads=2, width=16, activation="relu")


def by_stages(gpt: GPT, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [T, vocabulary] of one sequence, the layers computed from the rows that are written to files."""
    stages, rows, logits = pte_flash.stages(gpt), pte_flash.feed_forward(gpt), []
    for position, token in enumerate(tokens[0]):
        at = torch.tensor([position])
        residual, x = stages[0](token.view(1, 1), at)
        for layer, stage in enumerate(stages[1:]):
            up, down = (torch.from_numpy(part) for part in rows[layer])
            y = F.relu(x @ up.T) @ down
            if layer + 1 < len(rows):
                residual, x = stage(residual, y, at)
            else:
                logits.append(stage(residual, y, at))
    return torch.cat(logits)


@pytest.mark.parametrize(
    "shapes",
    [
        None,
        (WHOLE, CUT, WHOLE, CUT),
        (NO_FEED_FORWARD, WHOLE, NO_ATTENTION, NO_FEED_FORWARD),
        (NO_ATTENTION, NO_FEED_FORWARD, NO_FEED_FORWARD, CUT),
    ],
    ids=["whole", "cut", "ends without", "middle without"],
)
def test_stages_and_layers_together_are_the_model(
    shapes: tuple[BlockShape, ...] | None, seeded: Callable[..., GPT]
) -> None:
    gpt = seeded(replace(RELU, shapes=shapes))
    with torch.no_grad():
        for seed in (0, 1):  # the second sequence must not see the first
            tokens = torch.randint(13, (1, 10), generator=torch.Generator().manual_seed(seed))
            torch.testing.assert_close(by_stages(gpt, tokens), gpt(tokens)[0], rtol=1e-4, atol=1e-4)


def test_a_stage_holds_nothing_of_the_layers(seeded: Callable[..., GPT]) -> None:
    gpt = seeded(RELU)
    held = sum(value.numel() for stage in pte_flash.stages(gpt) for value in stage.parameters())
    held += sum(stage.tokens.weight.numel() + stage.positions.weight.numel() for stage in pte_flash.stages(gpt)[:1])
    # The readout is a second copy of the token embedding.
    assert 4 * held == pte_flash.rest_bytes(gpt) + 4 * 13 * 16
    assert pte_flash.rest_bytes(gpt) == 4 * (sum(p.numel() for p in gpt.parameters()) - 4 * 2 * 64 * 16)


def test_a_model_without_feed_forward_layers_is_refused(seeded: Callable[..., GPT]) -> None:
    with pytest.raises(ModelError, match="no feed-forward layer"):
        pte_flash.stages(seeded(replace(RELU, shapes=(NO_FEED_FORWARD,) * 4)))


def test_what_is_recorded_is_what_the_layers_saw() -> None:
    gpt = sparse_gpt(RELU)
    tokens = np.random.default_rng(0).integers(0, 13, (40, 10))  # more than are run at once
    inputs, active = pte_flash.record(gpt, tokens)
    assert [x.shape for x in inputs] == [(400, 16)] * 4
    assert [mask.shape for mask in active] == [(400, 64)] * 4
    for layer, (x, mask) in enumerate(zip(inputs, active, strict=True)):
        up, _ = pte_flash.feed_forward(gpt)[layer]
        assert ((x @ up.T > 0) == mask).mean() > 0.9999
    with torch.no_grad():  # the first position of the last sequence, by hand
        x = gpt.token_embedding(torch.from_numpy(tokens[39:, :1])) + gpt.position_embedding.weight[:1]
        block = gpt.blocks[0]
        x = x + block.attention(block.attention_norm(x), gpt.mask[:1, :1])  # type: ignore[operator, union-attr]
        first = block.ffn_norm(x)[0, 0].numpy()  # type: ignore[operator, union-attr]
    np.testing.assert_allclose(inputs[0][390], first, rtol=1e-4, atol=1e-5)


def test_the_loss_when_neurons_are_missed() -> None:
    gpt = sparse_gpt(RELU)
    text = np.random.default_rng(1).integers(0, 13, (3, 11))
    with torch.no_grad():
        logits = gpt(torch.from_numpy(text[:, :-1]))
        expected = float(F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(text[:, 1:]).flatten()))
    assert pte_flash.loss(gpt, text) == pytest.approx(expected, rel=1e-5)
    everything = pte_flash.loss(gpt, text, lambda layer, x: np.ones((len(x), 64), np.bool_))
    assert everything == pytest.approx(expected, rel=1e-5)
    only_last = pte_flash.loss(gpt, text, lambda layer, x: np.full((len(x), 64), layer == 3))
    for block in gpt.blocks[:3]:
        torch.nn.init.zeros_(block.ffn.out.weight)  # type: ignore[union-attr]
    assert only_last == pytest.approx(pte_flash.loss(gpt, text), rel=1e-5)
    assert only_last != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("activation", "lean", "sparsity"), [("gelu", 1.5, r"\d\.\d %"), ("relu", -2.0, r"\d+\.\d %")])
def test_a_model_whose_neurons_do_not_rest_is_refused(
    activation: str, lean: float, sparsity: str, toy: Corpus, tmp_path: Path
) -> None:
    config = replace(RELU, vocabulary_size=toy.tokenizer.size, activation=activation)
    with pytest.raises(ModelError, match=f"no ReLU-like sparsity: {sparsity}"):
        export_flash_files(sparse_gpt(config, lean=lean), tmp_path / "m.pte", "float16", toy)
    assert not list(tmp_path.iterdir())


def test_windows_are_stretches_of_the_text() -> None:
    tokens = np.arange(100)
    assert windows(tokens, 10, 4).tolist() == [list(range(start, start + 11)) for start in (0, 29, 59, 89)]
    assert len(windows(tokens, 10, 50)) == 9, "a text has no more than fit it side by side"


def test_files_for_flash_are_made_once_a_type_and_anew_when_their_code_changes(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def export(model: GPT, path: Path, dtype: str, corpus: Corpus | None, on_step: OnStep) -> None:
        made.append(path.name)
        path.write_bytes(len(made).to_bytes())
        path.with_suffix(".neurons").write_bytes(dtype.encode())

    monkeypatch.setattr(pte_flash_files, "export_flash_files", export)
    first = artifacts.flash("baseline", None)
    assert first == cache / "artifacts" / "baseline-small.flash.pte"
    assert first.with_suffix(".neurons").read_bytes() == b"float16"
    assert artifacts.built_flash("baseline") == artifacts.flash("baseline", None) == first
    assert artifacts.built_flash("baseline", "int8") is None
    assert artifacts.flash("baseline", None, "int8").name == "baseline-small.flash-int8.pte"
    artifacts.flash("baseline", None, force=True)
    assert made == ["baseline-small.flash.pte", "baseline-small.flash-int8.pte", "baseline-small.flash.pte"]
    monkeypatch.setattr(artifacts, "code_hash", lambda entries, packages: "of other code")
    assert artifacts.built_flash("baseline") is None
