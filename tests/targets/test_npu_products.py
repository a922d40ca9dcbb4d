"""Products as the accelerator makes them: exact in integers, rounded once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators that round
from torch import Tensor, nn
from torch.nn import functional as F

from harness.targets.npu.products import accelerate_products

OPS = torch.ops.quantized_decomposed
INNER = 384
FOR_X, FOR_Y, FOR_RESULT = 0.0213, 0.0137, 0.4
ZERO = 5


def dequantised(levels: Tensor, scale: float) -> Tensor:
    return OPS.dequantize_per_tensor.default(levels, scale, ZERO, -128, 127, torch.int8)


def rounded(x: Tensor) -> Tensor:
    levels = OPS.quantize_per_tensor.default(x, FOR_RESULT, ZERO, -128, 127, torch.int8)
    return dequantised(levels, FOR_RESULT)


class Linear(nn.Module):
    """x times weights with a scale a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("levels", drawn(16, INNER, seed=1))
        self.register_buffer("scales", torch.linspace(0.001, 0.01, 16))
        self.register_buffer("zeros", torch.zeros(16, dtype=torch.int64))

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        weight = OPS.dequantize_per_channel.default(self.levels, self.scales, self.zeros, 0, -127, 127, torch.int8)
        return rounded(F.linear(dequantised(x, FOR_X), weight))

    def exact(self, x: Tensor, _: Tensor) -> Tensor:
        return ((x.double() - ZERO) @ self.levels.double().T) * self.scales.double() * FOR_X


class Product(nn.Module):
    """x times y, as matrices."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return rounded(torch.bmm(dequantised(x[None], FOR_X), dequantised(y[None], FOR_Y)))

    def exact(self, x: Tensor, y: Tensor) -> Tensor:
        return ((x.double() - ZERO) @ (y.double() - ZERO))[None] * FOR_X * FOR_Y


class Elementwise(nn.Module):
    """x times x, element by element."""

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        return rounded(dequantised(x, FOR_X) * dequantised(x, FOR_X))

    def exact(self, x: Tensor, _: Tensor) -> Tensor:
        return (x.double() - ZERO) ** 2 * FOR_X**2


class Sum(nn.Module):
    """x, added up along its last axis."""

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        return rounded(dequantised(x, FOR_X).sum(1, keepdim=True))

    def exact(self, x: Tensor, _: Tensor) -> Tensor:
        return (x.double() - ZERO).sum(1, keepdim=True) * FOR_X


def drawn(*sizes: int, seed: int) -> Tensor:
    return torch.randint(-128, 128, sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


def levels(x: Tensor) -> Tensor:
    return (x / FOR_RESULT).round().long() + ZERO


@pytest.mark.parametrize("kind", [Linear, Product, Elementwise, Sum])
def test_a_product_is_that_of_the_integers_rounded_once(kind: type[nn.Module], tmp_path: Path) -> None:
    model, given = kind(), (drawn(512, INNER, seed=2), drawn(INNER, 8, seed=3))
    exported = torch.export.export(model, given)
    assert accelerate_products(exported) == 1
    expected = (torch.floor(model.exact(*given) / FOR_RESULT + 0.5).long() + ZERO).clamp(-128, 127)
    assert torch.equal(levels(exported.module()(*given)), expected)
    torch.export.save(exported, tmp_path / "fake_quant.pt2")
    assert torch.equal(levels(torch.export.load(tmp_path / "fake_quant.pt2").module()(*given)), expected)


class Biased(Linear):
    """A layer with a bias, which the accelerator would round before it adds it."""

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        weight = OPS.dequantize_per_channel.default(self.levels, self.scales, self.zeros, 0, -127, 127, torch.int8)
        return rounded(F.linear(dequantised(x, FOR_X), weight, self.scales))


class Raw(nn.Module):
    """A product with what is not int8."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return rounded(dequantised(x, FOR_X) * y.float())


@pytest.mark.parametrize("kind", [Biased, Raw])
def test_other_products_are_left_alone(kind: type[nn.Module]) -> None:
    given = (drawn(8, INNER, seed=2), drawn(8, INNER, seed=3))
    exported = torch.export.export(kind(), given)
    before = exported.module()(*given)
    assert accelerate_products(exported) == 0
    assert torch.equal(exported.module()(*given), before)


def test_half_way_between_two_levels_is_where_float32_is_another() -> None:
    """2.5, 7.5 and so on, levels of which float32 rounds every other one down."""

    class Halves(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return rounded(dequantised(x, 0.2) * dequantised(y, 1.0))

    given = (torch.arange(-100, 100, dtype=torch.int8), torch.full((200,), ZERO + 1, dtype=torch.int8))
    exported = torch.export.export(Halves(), given)
    plain = levels(exported.module()(*given))
    accelerate_products(exported)
    expected = (torch.div(given[0].long() - ZERO + 1, 2, rounding_mode="floor") + ZERO).clamp(-128, 127)
    assert torch.equal(levels(exported.module()(*given)), expected)
    assert not torch.equal(plain, expected)
