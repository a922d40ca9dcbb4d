"""Sums as the accelerator makes them: its integers, and 32 bits passed on where scales are the same, only there."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators that round
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.targets.npu.sums import accelerate_sums

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
    model, given = Sums(0.0517, 0.0131, 0.0517, 0.0213, 0.0419), inputs()
    exported = torch.export.export(model, given)
    before = exported.module()(*given)
    assert accelerate_sums(exported) == 1
    x, y, z = (rounded(tensor, scale) for tensor, scale in zip(given, (0.0517, 0.0131, 0.0213), strict=True))
    after = exported.module()(*given)
    torch.testing.assert_close(after, rounded(x + y - z, 0.0419))
    assert not torch.equal(after, before), "rounding the sum would have shown"


@pytest.mark.parametrize(
    ("scales", "viewed"),
    [
        ((0.0517, 0.0131, 0.0531, 0.0213, 0.0419), False),  # another range after the sum
        ((0.0517, 0.0131, 0.0517, 0.0617, 0.0419), False),  # the other operand decides what a bit is worth
        ((0.0517, 0.0131, 0.0517, 0.0213, 0.0419), True),  # int8 goes through something else
    ],
)
def test_elsewhere_it_is_rounded(scales: tuple[float, ...], viewed: bool) -> None:
    given = inputs()
    exported = torch.export.export(Sums(*scales, viewed=viewed), given)
    before = exported.module()(*given)
    assert accelerate_sums(exported) == 0
    assert torch.equal(exported.module()(*given), before)


def test_what_was_left_unrounded_stays_so_in_a_file(tmp_path: Path) -> None:
    given = inputs()
    exported = torch.export.export(Sums(0.0517, 0.0131, 0.0517, 0.0213, 0.0419), given)
    accelerate_sums(exported)
    torch.export.save(exported, tmp_path / "fake_quant.pt2")
    loaded = torch.export.load(tmp_path / "fake_quant.pt2")
    assert torch.equal(loaded.module()(*given), exported.module()(*given))


class Sum(nn.Module):
    """levels a and b int8, as one sum or difference of the scales given, rounded."""

    def __init__(self, for_a: float, for_b: float, for_sum: float, sign: int) -> None:
        super().__init__()
        self.scales, self.sign = (for_a, for_b, for_sum), sign

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        dequantise = torch.ops.quantized_decomposed.dequantize_per_tensor.default
        x, y = (
            dequantise(levels, scale, 3, -128, 127, torch.int8)
            for levels, scale in zip((a, b), self.scales, strict=False)
        )
        return rounded(x + y if self.sign > 0 else x - y, self.scales[2])


def rescaled(value: int, ratio: float) -> int:
    """TOSA 1.0's RESCALE of 32 bits, single rounding, in integers alone."""
    mantissa, exponent = math.frexp(ratio)
    multiplier, shift = round(mantissa * 2**31), 31 - exponent
    return (value * multiplier + (1 << (shift - 1))) >> shift


def in_integers(a: int, b: int, for_a: float, for_b: float, for_sum: float, sign: int) -> int:
    """What ExecuTorch makes of the sum in TOSA: both operands to 32 bits, their sum to int8."""
    step = 2 * max(for_a, for_b) / (1 << 20)
    total = rescaled(a - 3, for_a / step) + sign * rescaled(b - 3, for_b / step)
    return min(127, max(-128, rescaled(total, step / for_sum) + 3))


def levels_of(scales: tuple[float, float, float], sign: int, as_accelerated: bool) -> Tensor:
    """The sum of every pair of levels, int64 [256, 256]."""
    every = torch.arange(-128, 128, dtype=torch.int8)
    pairs = torch.meshgrid(every, every, indexing="ij")
    exported = torch.export.export(Sum(*scales, sign), pairs)
    if as_accelerated:
        accelerate_sums(exported)
    return (exported.module()(*pairs) / scales[2]).round().long() + 3


@settings(max_examples=8, deadline=None)
@for_all(
    scales=st.tuples(*[st.floats(1e-3, 1e2).map(lambda scale: float(torch.tensor(scale)))] * 3).filter(
        lambda scales: max(scales) / min(scales) < 1e3
    ),
    sign=st.sampled_from([1, -1]),
)
def test_the_sum_of_every_pair_of_levels_is_the_accelerators(scales: tuple[float, float, float], sign: int) -> None:
    expected = [[in_integers(a, b, *scales, sign) for b in range(-128, 128)] for a in range(-128, 128)]
    assert levels_of(scales, sign, as_accelerated=True).tolist() == expected


def test_a_sum_between_two_levels_is_where_float32_is_another() -> None:
    scales = (0.02, 0.01, 0.02)
    expected = torch.tensor([[in_integers(a, b, *scales, 1) for b in range(-128, 128)] for a in range(-128, 128)])
    assert torch.equal(levels_of(scales, 1, as_accelerated=True), expected)
    assert not torch.equal(levels_of(scales, 1, as_accelerated=False), expected)
