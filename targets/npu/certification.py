"""How far the integers are from float32, and how far torch's fake quantisation, which evaluations use, is from them.

The TOSA reference model runs exactly the bytes that Vela compiles; its integers are the accelerator's by definition.
Fake quantisation rounds at the same places but multiplies in float32, and is ten to fifty times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import WorkerError
from harness.targets.npu.lowering import Lowered
from harness.targets.npu.programs import Inputs


def certify(lowered: Lowered, samples: Sequence[Inputs]) -> dict[str, float | None]:
    """Scalars of `samples`, over all outputs but the last axis' argmax, which is that of the first output.

    `tosa_sqnr_db` and `tosa_argmax_agreement` set the reference model against float32. `fake_quant_max_lsb`,
    `fake_quant_within_1_lsb` (a share of elements) and `fake_quant_argmax_agreement` set fake quantisation against the
    reference model, in steps of each output. `out_of_range` is the share of activations that were clipped because
    calibration had seen none so large; `certified_elements` says how many outputs all this rests on.
    """
    signal = noise = 0.0
    apart: list[np.ndarray] = []
    agree: list[tuple[bool, ...]] = []
    clipped = rounded = 0
    steps = _output_steps(lowered.host)
    fake_quant = lowered.fake_quant.module(check_guards=False)
    for inputs in samples:
        with torch.no_grad():
            exact = _flat(lowered.float32(*inputs))
            counting = _Counting(fake_quant)
            rounding = _flat(counting.run(*inputs))
            integers = _flat(_Reference(lowered).run(*inputs))
        clipped, rounded = clipped + counting.clipped, rounded + counting.rounded
        for real, fake, tosa, step in zip(exact, rounding, integers, steps, strict=True):
            signal += float((real.double() ** 2).sum())
            noise += float(((real - tosa).double() ** 2).sum())
            apart.append(((fake - tosa).abs() / step).round().flatten().numpy())
        best = [each[0].argmax(-1).flatten() for each in (exact, rounding, integers)]
        agree += [(bool(a == c), bool(b == c)) for a, b, c in zip(*best, strict=True)]
    lsb = np.concatenate(apart)
    alike = np.asarray(agree, dtype=float).mean(axis=0)
    return {
        "tosa_sqnr_db": float(10 * np.log10(signal / noise)) if signal and noise else None,
        "tosa_argmax_agreement": float(alike[0]),
        "fake_quant_argmax_agreement": float(alike[1]),
        "fake_quant_max_lsb": float(lsb.max()),
        "fake_quant_within_1_lsb": float((lsb <= 1).mean()),
        "certified_elements": float(lsb.size),
        "out_of_range": clipped / rounded if rounded else None,
    }


def run_tosa(tosa: bytes, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of the reference model, integers in and integers out. Raises WorkerError if it does not finish."""
    import tosa_reference_model as reference

    outputs, status = reference.run(tosa, list(inputs), verbosity="NONE", initialize_variable_tensor_from_numpy=True)
    if status != reference.GraphStatus.TOSA_VALID:
        raise WorkerError("tosa", f"The TOSA reference model ended with {status}.", "Its standard error says more.")
    return list(outputs)


class _Reference(torch.fx.Interpreter):
    """Runs the host's graph, with the reference model in the delegate's place."""

    def __init__(self, lowered: Lowered) -> None:
        super().__init__(lowered.host)
        self._tosa = lowered.tosa

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if getattr(target, "__name__", "") != "executorch_call_delegate":
            return super().call_function(target, args, kwargs)
        arrays = [tensor.contiguous().numpy() for tensor in args[1:]]
        return tuple(torch.from_numpy(array) for array in run_tosa(self._tosa, arrays))


class _Counting(torch.fx.Interpreter):
    """Runs the fake-quantised graph and counts the activations that lie beyond the range of their integers."""

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


def _output_steps(host: torch.fx.GraphModule) -> list[float]:
    """The step of each output: the scale that the host dequantises it with; 1 for integers."""
    (output,) = [node for node in host.graph.nodes if node.op == "output"]
    outputs = output.args[0] if isinstance(output.args[0], (tuple, list)) else (output.args[0],)
    return [float(node.args[1]) if "dequantize" in str(node.target) else 1.0 for node in outputs]


def _flat(outputs: Any) -> list[Tensor]:
    return [each.float() for each in outputs] if isinstance(outputs, (tuple, list)) else [outputs.float()]
