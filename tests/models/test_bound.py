"""The file of the bound computes what the `.pte` of the same weights does, by every kind of loops."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from native_bundles import shared_folder
from torch import nn

from harness.bound.library import VARIANTS, compiler, runs_here
from harness.errors import ModelError, UsageError
from harness.models.compress.shrinking import shrink
from harness.models.export.bound import PRECISIONS, bound_bytes, check_bound, export_bound
from harness.models.gpt.architecture import BlockShape, GPTConfig
from harness.models.gpt.network import GPT, Block

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")
CONTEXT, VOCABULARY, WIDTH = 40, 11, 36
TEXT = torch.randint(VOCABULARY, (2 * CONTEXT + 1,), generator=torch.Generator().manual_seed(9))
# Unequal blocks, one without attention, the last without a feed-forward layer or without attention; nothing at all.
SHAPES = {
    "uncut": None,
    "cut": (BlockShape(2, 3, 5, 7, (0, 2, 5), (1, 3)), BlockShape(0, 0, 0, 6), BlockShape(1, 4, 6, 0)),
    "silent-last": (BlockShape(1, 4, 6, 0), BlockShape(2, 3, 5, 70), BlockShape(0, 0, 0, 6)),
    "nothing": (BlockShape(0, 0, 0, 0),) * 3,
}


@pytest.fixture(autouse=True)
def compiled(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loops are compiled once a session."""
    return shared_folder(cache, tmp_path_factory)


def gpt(shapes: tuple[BlockShape, ...] | None = None, activation: str = "gelu") -> GPT:
    torch.manual_seed(3)
    config = GPTConfig(
        vocabulary_size=VOCABULARY,
        context=CONTEXT,
        layers=3,
        heads=2,
        width=WIDTH,
        shapes=shapes,
        activation=activation,
    )
    model = GPT(config).eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False).mul_(3.0)  # far from uniform: a wrong mask or place must show
        if "norm" in name:
            parameter.add_(torch.rand(parameter.shape))
    return model


@pytest.mark.parametrize("instructions", VARIANTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shapes", SHAPES)
def test_every_variant_computes_the_deployed_form(
    shapes: str, precision: str, instructions: str, tmp_path: Path
) -> None:
    if not runs_here(instructions):
        pytest.skip(f"this processor does not run {instructions}")
    model = gpt(SHAPES[shapes], "relu" if shapes == "silent-last" else "gelu")
    path = tmp_path / "m.bound"
    path.write_bytes(bound_bytes(model, precision))
    checked = check_bound(model, path, precision, TEXT, instructions)
    assert checked["checked_tokens"] == 2 * CONTEXT
    assert checked["other_tokens"] <= 2
    if precision == "fp32":
        assert checked["loss_difference_nats"] < 1e-6


def test_a_model_that_was_cut_keeps_its_integers(tmp_path: Path) -> None:
    """Levels that are integers already are those of the file, and cut channels are gone from it."""
    model = gpt()
    with torch.no_grad():
        for module in model.blocks:
            block = module
            assert isinstance(block, Block)
            assert block.attention is not None
            assert block.ffn is not None
            for layer in (block.attention.qkv, block.attention.proj, block.ffn.fc, block.ffn.out):
                layer.weight.copy_((layer.weight * 40).round().clamp(-7, 7) / 64)
            block.ffn.fc.weight[::3] = 0
            block.attention.proj.weight[:, :4] = 0
            block.ffn.out.weight[5] = 0
    cut = shrink(model)
    size = len(bound_bytes(model, "int4-channel"))
    checked = export_bound(cut, tmp_path / "m.bound", "int4-channel", TEXT)
    assert (tmp_path / "m.bound").stat().st_size < size
    assert checked["loss_difference_nats"] <= checked["loss_difference_allowed_nats"]


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    model, path = gpt(), tmp_path / "m.bound"
    path.write_bytes(bound_bytes(model, "int8"))
    assert isinstance(model.blocks[0], Block)
    assert model.blocks[0].ffn is not None
    model.blocks[0].ffn.out.weight.mul_(-1)
    with pytest.raises(ModelError, match="computes something else than its model: its loss differs by"):
        check_bound(model, path, "int8", TEXT)


def test_other_precisions_and_unknown_layers_are_refused(tmp_path: Path) -> None:
    model = gpt()
    with pytest.raises(UsageError, match="has a step for each output channel, and none for groups") as caught:
        export_bound(model, tmp_path / "m.bound", "int4-group32", TEXT)
    assert caught.value.hint == "Choose one of: fp32, int8, int4-channel."
    assert isinstance(model.blocks[1], Block)
    assert model.blocks[1].ffn is not None
    model.blocks[1].ffn.fc = nn.Sequential(nn.Linear(36, 4, bias=False), nn.Linear(4, 144, bias=False))  # type: ignore[assignment]
    with pytest.raises(ModelError, match=r"knows plain linear layers alone, and blocks.1.ffn.fc is a Sequential"):
        export_bound(model, tmp_path / "m.bound", "int8", TEXT)
    assert not (tmp_path / "m.bound").exists()


def test_a_size_that_sums_of_32_bits_cannot_hold_is_refused(tmp_path: Path) -> None:
    wide = GPTConfig(vocabulary_size=2, context=2, layers=1, heads=1, width=2, shapes=(BlockShape(0, 0, 0, 65538),))
    with pytest.raises(ModelError, match=r"sizes up to 65536 .* a size of this one is 65538"):
        export_bound(GPT(wide), tmp_path / "m.bound", "int8", TEXT)


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "none"))
    assert shutil.which("cc") is None
    with pytest.raises(Exception, match="There is no C compiler") as caught:
        export_bound(gpt(), tmp_path / "m.bound", "fp32", TEXT)
    assert "apt-get install gcc" in str(getattr(caught.value, "hint", ""))
