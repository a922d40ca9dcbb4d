"""Integers of the simulated DSP against those of CMSIS-NN's own kernels.

The digests are of what CMSIS-NN v7.0.0 (commit 22080c68) answered to the same inputs, once in plain C on x86-64. Its
Helium variant, built for a Cortex-M55 and run by QEMU, gave the same integers as plain C on 767,299 outputs of random
inputs of the four operators. The kernels are built outside the project: `tests/bench/cmsis_nn.py` makes the digests
again from a checkout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tosa_serializer", reason="needs pip install 'edge-harness[dsp]'")

import executorch.backends.cortex_m.quantizer.quantizer  # noqa: F401 - registers the operators
import torch

from harness.targets.dsp.softmax import softmax_s8

Case = dict[str, Any]
CASES = 24


def int8(random: np.random.RandomState, *shape: int) -> NDArray[np.int8]:
    return random.randint(-128, 128, shape).astype(np.int8)


def scaling(random: np.random.RandomState, low: int, high: int) -> tuple[int, int]:
    """A multiplier of half to one in Q0.31, and the power of two that goes with it."""
    return (1 << 30) + 64 * random.randint(1 << 24), -random.randint(low, high)


def linear_cases() -> Iterator[Case]:
    random = np.random.RandomState(1)
    for _ in range(CASES):
        rows, inner, columns = random.randint(1, 9), random.randint(1, 300), random.randint(1, 90)
        yield {
            "x": int8(random, rows, inner),
            "w": int8(random, columns, inner),
            "bias": random.randint(-5000, 5000, columns).astype(np.int32),
            "zeros": random.randint(-128, 128, 2).tolist(),
            "scaling": scaling(random, 3, 12),
        }


def matmul_cases() -> Iterator[Case]:
    random = np.random.RandomState(2)
    for _ in range(CASES):
        batch, rows, inner, columns = (random.randint(1, high) for high in (5, 30, 258, 30))
        yield {
            "x": int8(random, batch, rows, inner),
            "y": int8(random, batch, columns, inner),
            "zeros": random.randint(-128, 128, 3).tolist(),
            "scaling": scaling(random, 3, 12),
        }


def softmax_cases() -> Iterator[Case]:
    random = np.random.RandomState(3)
    for _ in range(CASES):
        rows, columns = random.randint(1, 40), random.randint(1, 300)
        middle, spread, power = random.randint(-60, 60), random.randint(2, 128), random.randint(-8, 1)
        levels = middle + random.randint(-spread, spread, (rows, columns))
        shift = power + 26
        yield {
            "x": np.clip(levels, -128, 127).astype(np.int8),
            "scaling": (scaling(random, 0, 1)[0], shift),
            "diff_min": -((31 << 26) >> shift),
        }


def add_cases() -> Iterator[Case]:
    random = np.random.RandomState(4)
    for _ in range(CASES):
        size = random.randint(1, 2000)
        yield {
            "x": int8(random, size),
            "y": int8(random, size),
            "zeros": random.randint(-128, 128, 3).tolist(),
            "scalings": [scaling(random, 0, 6), scaling(random, 0, 6), scaling(random, 14, 20)],
        }


def linear(case: Case) -> torch.Tensor:
    """With the sums that a Helium program is given in place of a bias."""
    x, w = torch.from_numpy(case["x"]), torch.from_numpy(case["w"])
    zero, zero_out = case["zeros"]
    sums = torch.from_numpy((case["w"].astype(np.int32).sum(axis=1) * -zero + case["bias"]).astype(np.int32))
    multiplier, shift = case["scaling"]
    return torch.ops.cortex_m.quantized_linear(x, w, None, sums, -zero, 0, zero_out, [multiplier], [shift], 127, -128)


def matmul(case: Case) -> torch.Tensor:
    zero_x, zero_y, zero_out = case["zeros"]
    scratch = torch.zeros(1, dtype=torch.uint8)
    x, y = torch.from_numpy(case["x"]), torch.from_numpy(case["y"])
    return torch.ops.cortex_m.quantized_batch_matmul(x, -zero_x, y, -zero_y, zero_out, *case["scaling"], scratch)


def softmax(case: Case) -> torch.Tensor:
    return softmax_s8(torch.from_numpy(case["x"]), *case["scaling"], case["diff_min"])


def add(case: Case) -> torch.Tensor:
    (zero_x, zero_y, zero_out), (for_x, for_y, for_out) = case["zeros"], case["scalings"]
    x, y = torch.from_numpy(case["x"]), torch.from_numpy(case["y"])
    return torch.ops.cortex_m.quantized_add(x, zero_x, *for_x, y, zero_y, *for_y, zero_out, *for_out, -128, 127)


KERNELS: dict[str, tuple[Callable[[], Iterator[Case]], Callable[[Case], torch.Tensor], str]] = {
    "arm_fully_connected_s8": (
        linear_cases,
        linear,
        "e95313c37f5c4d9b7e35ab6f7529af22115f14bffe8c70a75f72fe4a2c55e442",
    ),
    "arm_batch_matmul_s8": (matmul_cases, matmul, "fb79393fba980f0d2a732a5f71d6d3e714efa9a0e356d5d2f7b52d4c4b1a78b9"),
    "arm_softmax_s8": (softmax_cases, softmax, "56c6ce82d2b23c7c90724b712e5972f8f0329975d6b553fc045763266d70e48c"),
    "arm_elementwise_add_s8": (add_cases, add, "d5117eefa3a033568efb92d1c3ecc6207e9edecaa6f2086b3fb1ab46efa23ea4"),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_integer_is_the_kernel_s(kernel: str) -> None:
    cases, operator, expected = KERNELS[kernel]
    digest = hashlib.sha256()
    for case in cases():
        found = operator(case)
        assert found.dtype == torch.int8
        digest.update(found.numpy().tobytes())
    assert digest.hexdigest() == expected


def test_softmax_is_near_float32_and_sums_to_one() -> None:
    for case in softmax_cases():
        multiplier, shift = case["scaling"]
        scale = multiplier * 2.0 ** (shift - 31 - 26)
        exact = torch.softmax(torch.from_numpy(case["x"]).double() * scale, dim=-1)
        found = (softmax(case).double() + 128) / 256
        assert (found - exact.clamp(max=255 / 256)).abs().max() <= 0.5001 / 256


@pytest.mark.parametrize(("levels", "expected"), [([5], [127]), ([3, 3], [0, 0]), ([127, -128], [127, -128])])
def test_softmax_at_its_ends(levels: list[int], expected: list[int]) -> None:
    x = torch.tensor([levels], dtype=torch.int8)
    assert softmax_s8(x, (1 << 31) - 1, 26, -31).tolist() == [expected]
