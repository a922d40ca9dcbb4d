"""Sums that the accelerator passes on in 32 bits: fake quantisation follows where scales are the same, only there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators that round
from torch import Tensor, nn

from harness.targets.npu.unrounded import leave_unrounded

WIDTH = 64


class Sums(nn.Module):
    """(x + y) rounded, minus z rounded, as PT2E writes it; `scales` are those of x, y, their sum, z and the result."""

    def __init__(self, *scales: float, viewed: bool = False) -> None:
        super().__init__()
        self.scales, self.viewed = scales, viewed

    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        for_x, for_y, for_sum, for_z, for_result = self.scales
        total = rounded(rounded(x, for_x) + rounded(y, for_y), for_sum)
        if self.viewed:
            total = rounded(total.view(-1), for_sum)
        return rounded(total - rounded(z, for_z), for_result)


def rounded(x: Tensor, scale: float) -> Tensor:
    ops = torch.ops.quantized_decomposed
    levels = ops.quantize_per_tensor.default(x, scale, 3, -128, 127, torch.int8)
    return ops.dequantize_per_tensor.default(levels, scale, 3, -128, 127, torch.int8)


def inputs() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(WIDTH, generator=generator) for _ in range(3))


def test_a_sum_whose_scale_does_not_change_is_passed_on_as_it_is() -> None:
    model, given = Sums(0.05, 0.013, 0.05, 0.021, 0.04), inputs()
    exported = torch.export.export(model, given)
    before = exported.module()(*given)
    assert leave_unrounded(exported) == 1
    x, y, z = (rounded(tensor, scale) for tensor, scale in zip(given, (0.05, 0.013, 0.021), strict=True))
    after = exported.module()(*given)
    torch.testing.assert_close(after, rounded(x + y - z, 0.04))
    assert not torch.equal(after, before), "rounding the sum would have shown"


@pytest.mark.parametrize(
    ("scales", "viewed"),
    [
        ((0.05, 0.013, 0.051, 0.021, 0.04), False),  # another range after the sum
        ((0.05, 0.013, 0.05, 0.06, 0.04), False),  # the other operand decides what a bit is worth
        ((0.05, 0.013, 0.05, 0.021, 0.04), True),  # int8 goes through something else
    ],
)
def test_elsewhere_it_is_rounded(scales: tuple[float, ...], viewed: bool) -> None:
    given = inputs()
    exported = torch.export.export(Sums(*scales, viewed=viewed), given)
    before = exported.module()(*given)
    assert leave_unrounded(exported) == 0
    assert torch.equal(exported.module()(*given), before)


def test_what_was_left_unrounded_stays_so_in_a_file(tmp_path: Path) -> None:
    given = inputs()
    exported = torch.export.export(Sums(0.05, 0.013, 0.05, 0.021, 0.04), given)
    leave_unrounded(exported)
    torch.export.save(exported, tmp_path / "fake_quant.pt2")
    loaded = torch.export.load(tmp_path / "fake_quant.pt2")
    assert torch.equal(loaded.module()(*given), exported.module()(*given))
