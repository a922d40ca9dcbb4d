"""What the accelerator leaves unrounded and torch's fake quantisation would round.

Sums are 32 bits wide. Between two of them ExecuTorch leaves out the way to int8 and back where it would not change the
scale (its FuseConsecutiveRescalesPass), and the second sum gets the first one's 32 bits, neither rounded nor clipped.
That happens where a residual stream has the same range before and after a block, as after one that writes to few
channels. (Other operators of 32 bits, where scales are the same, have nothing to round.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators that round
from torch.export import ExportedProgram

_SUMS = (torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor)
_QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
_DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default
_SAME = 1e-6
"""What ExecuTorch takes for no change of a scale."""


def leave_unrounded(fake_quant: ExportedProgram) -> int:
    """Take the rounding out of a fake-quantised program where the accelerator has none; returns at how many places."""
    graph = fake_quant.graph_module.graph
    found = 0
    for node in list(graph.nodes):
        for operand in _operands(node):
            rounding: Any = operand.args[0]
            if rounding.target is not _QUANTIZE or not _operands(rounding.args[0]):
                continue
            if abs(_widest_scale(rounding.args[0]) / _widest_scale(node) - 1) < _SAME:
                node.replace_input_with(operand, rounding.args[0])
                found += 1
    graph.eliminate_dead_code()
    fake_quant.graph_module.recompile()
    return found


def _operands(node: torch.fx.Node) -> list[torch.fx.Node]:
    """The operands of a sum of two int8 tensors, as they are dequantised; none of anything else."""
    found = [each for each in node.args if isinstance(each, torch.fx.Node)] if node.target in _SUMS else []
    both = len(found) == 2 and all(each.target is _DEQUANTIZE and each.args[5] is torch.int8 for each in found)
    return found if both else []


def _widest_scale(node: torch.fx.Node) -> float:
    """The larger scale of a sum's operands, which decides what a bit of the 32 is worth, before and after."""
    return max(float(operand.args[1]) for operand in _operands(node))  # type: ignore[arg-type]
