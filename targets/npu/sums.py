"""Sums and differences as the accelerator makes them, in a fake-quantised program.

The accelerator adds integers of 32 bits: each int8 operand is taken to steps of 2^-19 of the larger scale, rounded half
up, and their sum is rounded once more, to int8. Where two int8 operands make a sum within such a step of the middle
between two levels, float32 falls on either side of it, at every place where these operands meet.

Between two sums ExecuTorch leaves out the way to int8 and back where it would not change the scale (its
FuseConsecutiveRescalesPass), and the second sum gets the first one's 32 bits, neither rounded nor clipped. That happens
where a residual stream has the same range before and after a block, as after one that writes to few channels.
"""

from __future__ import annotations

from typing import Any

from torch.export import ExportedProgram
from torch.fx import Node

from harness.targets.npu.rescaling import ATEN, QUANTIZE, call, centred, half_up, is_int8, settle

_SUMS = (ATEN.add.Tensor, ATEN.sub.Tensor)
_STEPS = 2**19
"""Steps of 32 bits to a level of the larger scale (ExecuTorch's InsertRescaleInt32Pass)."""
_SAME = 1e-6
"""What ExecuTorch takes for no change of a scale."""


def accelerate_sums(fake_quant: ExportedProgram) -> int:
    """Make the program's sums of two int8 tensors those of the accelerator; returns how many operands are other sums,
    passed on unrounded.
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
                    terms.append(half_up(graph, centred(graph, operand), operand.args[1] / step))
            total = call(graph, node.target, *terms)
            for rounding in [user for user in node.users if user.target is QUANTIZE]:
                sums[rounding] = (total, step)
                settle(graph, rounding, node, half_up(graph, total, step / rounding.args[1]))
    graph.eliminate_dead_code()
    fake_quant.graph_module.recompile()
    return passed_on


def _operands(node: Node) -> list[Any]:
    """The operands of a sum of two int8 tensors, as they are dequantised; none of anything else."""
    operands = [argument for argument in node.args if isinstance(argument, Node)] if node.target in _SUMS else []
    return operands if len(operands) == 2 and all(map(is_int8, operands)) else []
