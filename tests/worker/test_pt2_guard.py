"""Sizes are arithmetic; anything else that Python would evaluate is not a size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.worker.runtimes.pt2_guard import is_size
from harness.worker.runtimes.torch import describe


@pytest.mark.parametrize(
    "expression",
    [
        "s31",
        "u0 + 1",
        "Symbol('s77', positive=True, integer=True)",
        "Add(Integer(-1), Symbol('s77', positive=True, integer=True))",
        "Mul(Integer(2), Symbol('s0', integer=True))",
        "FloorDiv(Symbol('s0', positive=True, integer=True), Integer(2))",
        "Mod(s0, 4)",
        "Max(1, s0*2)",
        "1.5*s0",
    ],
)
def test_arithmetic_is_a_size(expression: str) -> None:
    assert is_size(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "open('x')",
        "exec('1')",
        "eval('1')",
        "sympify('s0')",
        "lambdify('x')",
        "S('1+1')",
        "Symbol('s0').__class__",
        "Symbol('s0').func",
        "Add('open(1)')",
        "[s0 for s0 in (1,)]",
        "s0; s1",
        "getattr(s0, 's')",
    ],
)
def test_anything_else_is_not(expression: str) -> None:
    assert not is_size(expression)


def test_an_honest_program_with_dynamic_sizes_is_read(tmp_path: Path) -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, x, x[:, :1]], 1).flatten()

    sizes = {0: torch.export.Dim("batch", min=2, max=64), 1: torch.export.Dim("width", min=4, max=64)}
    program = torch.export.export(Twice(), (torch.zeros(3, 8),), dynamic_shapes=(sizes,))
    torch.export.save(program, tmp_path / "twice.pt2")
    method = describe(tmp_path / "twice.pt2").methods[0]
    (x,) = method["inputs"]
    assert (x["kind"], x["dtype"], x["sizes"], x["name"]) == ("tensor", "float32", [3, 8], "x")
    assert [method["ranges"][symbol] for symbol in x["dynamic"]] == [[2, 64], [4, 64]]
