"""From a float32 program to int8 integers in TOSA: PT2E quantisation and ExecuTorch's lowering for Arm.

Weights are int8 a channel, symmetric; activations int8 a tensor, over the range that loses least of the histogram that
calibration saw (torchao's HistogramObserver), which may be less than all of it. What is left outside the delegate is
only the way in and out: rounding inputs to integers, and integers to outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram

from harness.durations import OnStep, unheard
from harness.errors import ModelError, UsageError
from harness.targets.npu.configuration import Configuration
from harness.targets.npu.products import accelerate_products
from harness.targets.npu.sums import accelerate_sums
from harness.targets.simulated.calibration import quantised
from harness.targets.simulated.faster_lowering import faster_lowering
from harness.targets.simulated.programs import Program

_PRODUCTS = ("aten.matmul", "aten.bmm", "aten.baddbmm", "aten.mm", "aten.scaled_dot_product_attention", "aten.einsum")
# What the host does at the boundary, whatever the model is.
_BOUNDARY = (
    "quantize_per_tensor",
    "dequantize_per_tensor",
    "getitem",
    "executorch_call_delegate",
    "_to_dim_order_copy",
)


@dataclass(frozen=True)
class Lowered:
    """One program in its three forms: `float32` and `fake_quant` run in torch, `host` calls the delegate whose integers
    are `tosa`. All take the program's inputs.
    """

    float32: Any
    fake_quant: ExportedProgram
    host: torch.fx.GraphModule
    tosa: bytes


def lower(program: Program, configuration: Configuration, on_step: OnStep = unheard) -> Lowered:
    """Quantise and lower one program for an accelerator.

    Raises UsageError where the accelerator lacks what the program is made of, ModelError for an operator without a path
    to int8: it would stay on the CPU in float32, whose cost nobody estimates.
    """
    from executorch.backends.arm.quantizer import TOSAQuantizer, get_symmetric_quantization_config
    from executorch.backends.arm.tosa.compile_spec import TosaCompileSpec
    from executorch.backends.arm.tosa.partitioner import TOSAPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    example = program.calibration[0]
    with torch.no_grad(), faster_lowering():
        float32 = torch.export.export(program.exported.module(check_guards=False), example)
        _check_products(float32, configuration)
        spec = TosaCompileSpec(configuration.tosa)
        quantizer = TOSAQuantizer(spec).set_global(get_symmetric_quantization_config(is_per_channel=True))
        on_step("quantising")
        fake_quant = quantised(float32, program.calibration, quantizer)
        on_step("lowering to TOSA")
        edge = to_edge_transform_and_lower(
            fake_quant,
            partitioner=[TOSAPartitioner(spec)],
            # Int8 weights behind per-channel operators are not what the verifier expects of core ATen.
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
    host = edge.exported_program().graph_module
    left = sorted({str(node.target) for node in host.graph.nodes if _stays(node)})
    delegates = [getattr(host, node.target) for node in host.graph.nodes if node.op == "get_attr"]
    if left or len(delegates) != 1:
        named = ", ".join(left) or "the program, in parts,"
        raise ModelError(
            f"{named} {'has' if len(left) == 1 else 'have'} no int8 path on {configuration.accelerator} and would stay "
            "on the CPU in float32, at a cost that is not estimated.",
            "Write the model without, or measure it on a target that runs float32.",
        )
    accelerate_sums(fake_quant)
    accelerate_products(fake_quant)
    return Lowered(float32.module(check_guards=False), fake_quant, host, delegates[0].processed_bytes)


def _check_products(float32: ExportedProgram, configuration: Configuration) -> None:
    """Raises UsageError for a product of two activations where the accelerator has none. (Vela would take attention to
    pieces there, and use 0.4 % of the array.)
    """
    if configuration.has_matmul:
        return
    given = float32.graph_signature
    constant = {*given.inputs_to_parameters, *given.inputs_to_buffers, *given.inputs_to_lifted_tensor_constants}
    for node in float32.graph.nodes:
        both = len(node.all_input_nodes) >= 2 and not any(operand.name in constant for operand in node.all_input_nodes)
        if node.op == "call_function" and str(node.target).startswith(_PRODUCTS) and both:
            raise UsageError(
                f"{configuration.accelerator} cannot multiply two activations ({node.target}), so it runs feed-forward "
                "and convolutional networks, no transformers.",
                "Choose a U85 configuration with --device.",
            )


def _stays(node: torch.fx.Node) -> bool:
    """Whether a node of the host's graph is more than the way into the delegate and out of it."""
    return node.op == "call_function" and not any(name in str(node.target) for name in _BOUNDARY)
