"""From a float32 program to int8 integers in CMSIS-NN's arithmetic: PT2E quantisation and ExecuTorch's cortex_m passes.

Weights of linear layers are int8 a tensor (those of convolutions a channel), activations int8 a tensor. What the
passes do not know stays in float32, between a way out of the integers and a way back.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram

from harness.durations import OnStep, unheard
from harness.targets.simulated.calibration import quantised
from harness.targets.simulated.faster_lowering import faster_lowering
from harness.targets.simulated.programs import Program


@dataclass(frozen=True)
class Lowered:
    """One program in its three forms, which take the same inputs: `float32`, `fake_quant`, and `integers` of cortex_m
    operators; and what a device gets: the file of `program_bytes`, and the arena of `arena_bytes` that its memory plan
    asks for, inputs, outputs and CMSIS-NN's scratch included.
    """

    float32: Any
    fake_quant: ExportedProgram
    integers: ExportedProgram
    program_bytes: int
    arena_bytes: int


def lower(program: Program, cpu: str, on_step: OnStep = unheard) -> Lowered:
    """Quantise and lower one program for a Cortex-M by ExecuTorch's name of it."""
    # The quantizer comes first: it registers what the passes refer to.
    from executorch.backends.cortex_m.quantizer.quantizer import CortexMQuantizer  # isort: skip
    from executorch.backends.cortex_m.edge_compile_config import cortex_m_edge_compile_config
    from executorch.backends.cortex_m.passes.cortex_m_pass_manager import CortexMPassManager
    from executorch.backends.cortex_m.target_config import CortexM, CortexMTargetConfig
    from executorch.exir import EdgeProgramManager, to_edge

    config = cortex_m_edge_compile_config()
    example = program.calibration[0]
    with torch.no_grad(), faster_lowering():
        float32 = torch.export.export(program.exported.module(check_guards=False), example)
        on_step("quantising")
        fake_quant = quantised(float32, program.calibration, CortexMQuantizer())
        on_step("lowering to CMSIS-NN")
        edge = to_edge(fake_quant, compile_config=config).exported_program()
        integers = CortexMPassManager(edge, target_config=CortexMTargetConfig(cpu=CortexM[cpu])).transform()
        # It is taken to pieces on the way to a file.
        device = EdgeProgramManager(deepcopy(integers), compile_config=config).to_executorch()
    arena = device.exported_program().graph_module.meta["non_const_buffer_sizes"]
    return Lowered(float32.module(check_guards=False), fake_quant, integers, len(device.buffer), sum(arena))
