"""Leaving out XNNPACK's passes that have nothing to do changes no byte of a program."""

import contextlib
import gc
from collections.abc import Callable

import pytest
import torch
from fakes.sparse import sparse_gpt
from torch import Tensor, nn
from torch.export import export

from harness.models.export.pte import constant_methods, exported_methods, lowered_to_pte
from harness.models.export.xnnpack_passes import NEEDED, needed_passes_only
from harness.models.gpt.architecture import GPTConfig


class Everything(nn.Module):
    """The operators that XNNPACK's passes look for: convolutions of one and two dimensions, batch norms beside and
    without a convolution, activations, pools, padding, a concatenation of more than XNNPACK takes at once, PReLU,
    upsampling and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fused, self.alone = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.prelu, self.pool = nn.PReLU(), nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.line = nn.Conv1d(4, 4, 3)
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        image = torch.relu(self.alone(self.pool(self.prelu(self.fused(self.conv(x))))))
        image = torch.cat([image, image + 1, image * 2, image - 1, image * 3, image * 4], 1)[:, :4]
        image = nn.functional.pad(self.up(image), (1, 1, 1, 1)).clamp(-1, 1)
        rows = torch.relu(self.linear(self.line(image.mean(2))))
        attention = nn.functional.scaled_dot_product_attention(rows[None], rows[None], rows[None])
        return attention.amax(-1) + torch.arange(4.0)


def gpt_program() -> Callable[[], bytes]:
    """One block, in integers: what the delegates of more are, too."""
    gpt = sparse_gpt(GPTConfig(vocabulary_size=20, context=16, layers=1, heads=2, width=16))
    return lambda: lowered_to_pte(exported_methods(gpt, "int8"), constant_methods(gpt))


def everything() -> Callable[[], bytes]:
    torch.manual_seed(0)
    module = Everything().eval()
    return lambda: lowered_to_pte({"forward": export(module, (torch.randn(1, 3, 8, 8),))}, {})


@pytest.mark.parametrize("program", [gpt_program, everything])
def test_a_program_is_the_same_with_every_pass(
    program: Callable[[], Callable[[], bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = program()
    with torch.no_grad():
        fewer = written()
        monkeypatch.setattr("harness.models.export.xnnpack_passes.needed_passes_only", contextlib.nullcontext)
        assert fewer == written()


def test_the_passes_that_may_be_left_out_are_those_of_this_executorch() -> None:
    from executorch.backends.xnnpack._passes import XNNPACKPassManager

    every = {one.__name__ for one in XNNPACKPassManager(None).passes}
    assert set(NEEDED) <= every
    assert {"ConvertToLinearPass", "XNNPACKRemoveCloneOpsTransform"} == every - set(NEEDED)


def test_all_is_as_before_when_the_body_raises() -> None:
    from executorch.backends.xnnpack import xnnpack_preprocess

    before = xnnpack_preprocess.XNNPACKPassManager
    seen = []

    def fails() -> None:
        seen.append((gc.isenabled(), xnnpack_preprocess.XNNPACKPassManager is before))
        raise KeyError

    with pytest.raises(KeyError), needed_passes_only():
        fails()
    assert seen == [(False, False)]
    assert gc.isenabled()
    assert xnnpack_preprocess.XNNPACKPassManager is before
