"""Sums and differences as the accelerator makes them, in a fake-quantised program.

The accelerator adds integers of 32 bits: each int8 operand is taken to steps of 2^-19 of the larger scale, rounded half
up, and their sum is rounded once more, to int8. Where two int8 operands make a sum within such a step of the middle
between two levels, float32 falls on either side of it, at every place where these operands meet.

Between two sums ExecuTorch leaves out the way to int8 and back where it would not change the scale (its
FuseConsecutiveRescalesPass), and the second sum gets the first one's 32 bits, neither rounded nor clipped. That happens
where a residual stream has the same range before and after a block, as after one that writes to few channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators that round
from torch.export import ExportedProgram
from torch.fx import Graph, Node

_ATEN = torch.ops.aten
_SUMS = (_ATEN.add.Tensor, _ATEN.sub.Tensor)
_QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
_DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default
_STEPS = 2**19
"""Steps of 32 bits to a level of the larger scale (ExecuTorch's InsertRescaleInt32Pass)."""
_SAME = 1e-6
"""What ExecuTorch takes for no change of a scale."""


def accelerate_sums(fake_quant: ExportedProgram) -> int:
    """Make the program's sums of two int8 tensors those of the accelerator; returns how many operands are other sums,
    passed on unrounded.

    The sums are float64, which holds 32 bits. What is rounded to int8 afterwards lies on a level already.
    """
    graph = fake_quant.graph_module.graph
    sums: dict[Any, tuple[Node, float]] = {}  # by the node that rounds a sum: its 32 bits, and what one is worth
    passed_on = 0
    for node in list(graph.nodes):
        operands = _operands(node)
        if not operands:
            continue
        step = max(operand.args[1] for operand in operands) / _STEPS
        with graph.inserting_before(node):
            terms = []
            for operand in operands:
                earlier, worth = sums.get(operand.args[0], (None, 1.0))
                if earlier is not None and abs(worth / step - 1) < _SAME:
                    terms.append(earlier)
                    passed_on += 1
                else:
                    terms.append(_widened(graph, operand, step))
            total = _call(graph, node.target, *terms)
            for rounding in [user for user in node.users if user.target is _QUANTIZE]:
                scale = rounding.args[1]
                sums[rounding] = (total, step)
                level = _half_up(graph, total, step / scale)
                on_level = _call(graph, _ATEN.mul.Scalar, level, scale)
                rounding.replace_input_with(node, _call(graph, _ATEN._to_copy.default, on_level, dtype=torch.float32))
    graph.eliminate_dead_code()
    fake_quant.graph_module.recompile()
    return passed_on


def _operands(node: Node) -> list[Any]:
    """The operands of a sum of two int8 tensors, as they are dequantised; none of anything else."""
    found = [each for each in node.args if isinstance(each, Node)] if node.target in _SUMS else []
    both = len(found) == 2 and all(each.target is _DEQUANTIZE and each.args[5] is torch.int8 for each in found)
    return found if both else []


def _widened(graph: Graph, operand: Any, step: float) -> Node:
    """A dequantised operand in steps of the sum's 32 bits."""
    levels, scale, zero = operand.args[:3]
    centred = _call(graph, _ATEN.sub.Scalar, _call(graph, _ATEN._to_copy.default, levels, dtype=torch.float64), zero)
    return _half_up(graph, centred, scale / step)


def _half_up(graph: Graph, value: Node, ratio: float) -> Node:
    """TOSA's RESCALE: `value` times `ratio`, which has 31 bits there, rounded to an integer, halves upwards."""
    mantissa, exponent = math.frexp(ratio)
    scaled = _call(graph, _ATEN.mul.Scalar, value, math.ldexp(round(mantissa * 2**31), exponent - 31))
    return _call(graph, _ATEN.floor.default, _call(graph, _ATEN.add.Scalar, scaled, 0.5))


def _call(graph: Graph, operator: Callable[..., Any], *args: Any, **kwargs: Any) -> Node:
    """A new node, with the shape and type that torch.export.save asks of every node."""
    node = graph.call_function(operator, args, kwargs)
    values = [each.meta["val"] if isinstance(each, Node) else each for each in args]
    node.meta["val"] = operator(*values, **kwargs)
    return node
