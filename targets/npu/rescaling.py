"""The way from an exact result to int8, as TOSA's RESCALE goes it, in the graph of a fake-quantised program.

Results are integers in float64, which holds 53 bits. float32 would lose the last bits of a long sum, and with them the
side on which a result near the middle between two levels falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators that round
from torch.fx import Graph, Node

ATEN = torch.ops.aten
QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default


def is_int8(operand: Any) -> bool:
    """Whether an argument of an operator is an int8 tensor with one scale, dequantised."""
    return isinstance(operand, Node) and operand.target is DEQUANTIZE and operand.args[5] is torch.int8


def centred(graph: Graph, operand: Any) -> Node:
    """The levels of a dequantised operand above its zero point."""
    levels, zero = operand.args[0], operand.args[2]
    return call(graph, ATEN.sub.Scalar, as_float64(graph, levels), zero)


def as_float64(graph: Graph, tensor: Node) -> Node:
    """`tensor` in float64."""
    return call(graph, ATEN._to_copy.default, tensor, dtype=torch.float64)


def half_up(graph: Graph, value: Node, ratio: float | Node) -> Node:
    """`value` times `ratio`, to which TOSA gives 31 bits, rounded to an integer, halves upwards.

    A ratio of every channel, which is a node, keeps more bits than TOSA's: that may tell at one result in 10^7.
    """
    if isinstance(ratio, Node):
        scaled = call(graph, ATEN.mul.Tensor, value, ratio)
    else:
        mantissa, exponent = math.frexp(ratio)
        scaled = call(graph, ATEN.mul.Scalar, value, math.ldexp(round(mantissa * 2**31), exponent - 31))
    return call(graph, ATEN.floor.default, call(graph, ATEN.add.Scalar, scaled, 0.5))


def settle(graph: Graph, rounding: Node, node: Node, levels: Node) -> None:
    """Give `rounding`, which rounds `node`, what lies on these levels already."""
    on_level = call(graph, ATEN.mul.Scalar, levels, rounding.args[1])
    rounding.replace_input_with(node, call(graph, ATEN._to_copy.default, on_level, dtype=torch.float32))


def call(graph: Graph, operator: Callable[..., Any], *args: Any, **kwargs: Any) -> Node:
    """A new node, with the shape and type that torch.export.save asks of every node."""
    node = graph.call_function(operator, args, kwargs)
    values = [argument.meta["val"] if isinstance(argument, Node) else argument for argument in args]
    node.meta["val"] = operator(*values, **kwargs)
    return node
