"""What passes over a graph need not do again, and that results are the same without."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from executorch.exir import to_edge
from executorch.exir.pass_base import ExportPass
from torch import nn

from harness.targets.simulated.faster_lowering import faster_lowering

PLAIN = torch.fx.Interpreter.call_function


class Model(nn.Module):
    """Six additions, of which one is of another shape and one of another type."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z = x + x + x + x
        return z + z, y + y, z.int() + z.int()


def test_a_pass_computes_what_is_alike_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []

    def counted(interpreter: torch.fx.Interpreter, target: object, args: Any, kwargs: Any) -> object:
        computed.append(target)
        return PLAIN(interpreter, target, args, kwargs)  # type: ignore[arg-type]

    example = (torch.ones(2, 3), torch.ones(3, 2))
    graph = to_edge(torch.export.export(Model(), example)).exported_program().graph_module
    monkeypatch.setattr(torch.fx.Interpreter, "call_function", counted)
    with faster_lowering():
        retraced = ExportPass()(graph)
    assert retraced is not None
    assert operators(retraced.graph_module) == operators(graph)
    assert len(operators(graph)) == 6 + 2
    assert len(computed) == 3 + 1, "additions of three kinds, and one of two conversions"


class Types(nn.Module):
    """Alike but for the type that is asked for, a scalar, or the number of rows."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x.int(), x.double(), x.sum(0), x.sum(1), x.sum(0, keepdim=True), x + x, y + y


def test_what_differs_in_its_arguments_alone_is_not_taken_for_alike() -> None:
    graph = to_edge(torch.export.export(Types(), (torch.ones(3, 3), torch.ones(5, 3)))).exported_program().graph_module
    with faster_lowering():
        retraced = ExportPass()(graph)
    assert retraced is not None
    assert operators(retraced.graph_module) == operators(graph)
    assert len({each[1:] for each in operators(graph)}) == 6


def operators(graph: torch.fx.GraphModule) -> list[tuple[object, ...]]:
    """Operators in order with the shape, the order in memory and the type of what they give."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    values = [node.meta["val"] for node in nodes]
    return [
        (node.target, tuple(value.shape), value.stride(), value.dtype)
        for node, value in zip(nodes, values, strict=True)
    ]


def test_afterwards_nothing_is_changed() -> None:
    with faster_lowering():
        assert torch.fx.Interpreter.call_function is not PLAIN
    assert torch.fx.Interpreter.call_function is PLAIN
