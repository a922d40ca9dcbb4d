"""Running a program of cortex_m operators as integers, to the bit as CMSIS-NN's kernels where that was checked.

ExecuTorch implements its cortex_m operators in torch. Its linear, batched matmul and add give CMSIS-NN's integers;
its softmax, which goes through float32, is replaced by ours. These four were checked against CMSIS-NN v7.0.0, in plain
C and for Helium under QEMU (see the tests); convolutions, pooling, products and copies were not, and are ExecuTorch's
word. Batched matmul multiplies in float32, which is exact up to 258 products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram

from harness.errors import ModelError
from harness.targets.dsp.operators import name_of
from harness.targets.dsp.softmax import softmax_s8

_EXACT_PRODUCTS = (1 << 24) // 255**2


class Integers(torch.fx.Interpreter):
    """`run(*inputs)` gives the program's outputs. Raises ModelError where a sum would not be exact."""

    def __init__(self, integers: ExportedProgram) -> None:
        super().__init__(integers.module(check_guards=False))

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        name = name_of(target)
        if name == "cortex_m::softmax" and args[1] in (-1, args[0].dim() - 1):
            x, _, _, _, multiplier, shift, diff_min = args
            return softmax_s8(x, multiplier, shift, diff_min)
        if name == "cortex_m::quantized_batch_matmul" and args[0].size(-1) > _EXACT_PRODUCTS:
            raise ModelError(
                f"A batched matmul sums {args[0].size(-1)} products, of which float32 adds {_EXACT_PRODUCTS} exactly.",
                "Measure a model with a shorter context or narrower heads.",
            )
        return super().call_function(target, args, kwargs)


def output_steps(integers: ExportedProgram) -> list[float | None]:
    """The step of each output: the scale that it is dequantised with last; None where float32 comes after."""
    nodes = {node.name: node for node in integers.graph.nodes}
    outputs = [nodes[str(name)] for name in integers.graph_signature.user_outputs]
    return [float(node.args[1]) if "dequantize_per_tensor" in str(node.target) else None for node in outputs]
