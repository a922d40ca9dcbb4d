"""Quantisation after training: ranges of activations from a program's own inputs, and what lies beyond them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.fx.traceback
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


@contextmanager
def quick() -> Iterator[None]:
    """Lowering retraces the program for each of a hundred passes. At every node of each torch copies the node's whole
    history, which grows with the passes and takes a fifth of the time, and the garbage collector looks for cycles.
    """
    with mock.patch.object(torch.fx.traceback, "copy", SimpleNamespace(copy=copy, deepcopy=lambda history: [])):
        gc.disable()
        try:
            yield
        finally:
            gc.enable()


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
    return [each.float() for each in outputs] if isinstance(outputs, (tuple, list)) else [outputs.float()]
