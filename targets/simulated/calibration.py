"""Quantisation after training: ranges of activations from a program's own inputs, and what lies beyond them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from harness.targets.simulated.programs import Inputs


def quantised(float32: ExportedProgram, calibration: tuple[Inputs, ...], quantizer: Any) -> ExportedProgram:
    """The program with roundings where `quantizer` (PT2E) wants them, their ranges those that `calibration` shows."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    observed = prepare_pt2e(float32.module(check_guards=False), quantizer)
    for inputs in calibration:
        observed(*inputs)
    return torch.export.export(convert_pt2e(observed), calibration[0])


class Counting(torch.fx.Interpreter):
    """Runs a fake-quantised graph and counts the activations that lie beyond the range of their integers."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.clipped = self.rounded = 0

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is torch.ops.quantized_decomposed.quantize_per_tensor.default:
            x, scale, zero, low, high = args[:5]
            level = torch.round(x / scale) + zero
            self.clipped += int(((level < low) | (level > high)).sum())
            self.rounded += level.numel()
        return super().call_function(target, args, kwargs)


def flat(outputs: Any) -> list[Tensor]:
    """One output or several, as float32."""
    return [output.float() for output in outputs] if isinstance(outputs, (tuple, list)) else [outputs.float()]
