"""Products, and sums along an axis, as the accelerator makes them, in a fake-quantised program.

The accelerator multiplies and adds integers, exactly, and rounds the result to int8 once. Here linear layers without a
bias, products of two activations and sums along an axis do so too; convolutions are left in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from harness.targets.npu.rescaling import ATEN, QUANTIZE, as_float64, call, centred, half_up, is_int8, settle

_OF_TWO = (ATEN.linear.default, ATEN.bmm.default, ATEN.matmul.default, ATEN.mul.Tensor)
_SUM = ATEN.sum.dim_IntList
_PER_CHANNEL = torch.ops.quantized_decomposed.dequantize_per_channel.default


def accelerate_products(fake_quant: ExportedProgram) -> int:
    """Make the program's products of int8 tensors, and their sums along an axis, those of the accelerator; returns how
    many there are.
    """
    graph = fake_quant.graph_module.graph
    count = 0
    for node in list(graph.nodes):
        operands, others = _split(node)
        roundings = [user for user in node.users if user.target is QUANTIZE]
        if not operands or not roundings:
            continue
        count += 1
        with graph.inserting_before(node):
            exact = call(graph, node.target, *[_integers(graph, operand) for operand in operands], *others)
            for rounding in roundings:
                ratio = _worth(graph, operands, 1 / rounding.args[1])
                settle(graph, rounding, node, half_up(graph, exact, ratio))
    graph.eliminate_dead_code()
    fake_quant.graph_module.recompile()
    return count


def _split(node: Node) -> tuple[list[Any], list[Any]]:
    """The dequantised operands of a node, and what else it is given; no operands where it is none of those above."""
    count = 2 if node.target in _OF_TWO else 1
    operands, others = list(node.args[:count]), list(node.args[count:])
    known = node.target is _SUM or (node.target in _OF_TWO and not others)
    linear = node.target is ATEN.linear.default
    fits = known and all(
        is_int8(operand) or (linear and number == 1 and _is_weight(operand)) for number, operand in enumerate(operands)
    )
    return (operands, others) if fits else ([], [])


def _is_weight(operand: Any) -> bool:
    """Whether an operand is a layer's int8 weights with a scale an output channel, around zero (as Arm's are)."""
    return isinstance(operand, Node) and operand.target is _PER_CHANNEL and bool(operand.args[3] == 0)


def _integers(graph: Graph, operand: Any) -> Node:
    return as_float64(graph, operand.args[0]) if operand.target is _PER_CHANNEL else centred(graph, operand)


def _worth(graph: Graph, operands: list[Any], factor: float) -> float | Node:
    """What 1 of the exact result is worth, times `factor`: a number, or a node [out] where weights have a scale a
    channel.
    """
    for operand in operands:
        if operand.target is not _PER_CHANNEL:
            factor *= operand.args[1]
    for operand in operands:
        if operand.target is _PER_CHANNEL:
            return call(graph, ATEN.mul.Scalar, as_float64(graph, operand.args[1]), factor)
    return factor
