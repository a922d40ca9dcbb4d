"""How far the integers are from float32, and how far torch's fake quantisation, which evaluations use, is from them.

The TOSA reference model runs exactly the bytes that Vela compiles; its integers are the accelerator's by definition.
Fake quantisation is ten to fifty times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from harness.errors import WorkerError
from harness.targets.npu.lowering import Lowered
from harness.targets.simulated.certification import compare
from harness.targets.simulated.programs import Inputs


def certify(lowered: Lowered, samples: Sequence[Inputs]) -> dict[str, float | None]:
    """The scalars of `compare`, named `tosa_...`, of the reference model's integers."""
    fake_quant = lowered.fake_quant.module(check_guards=False)
    steps = _output_steps(lowered.host)
    return compare("tosa", samples, lowered.float32, fake_quant, Reference(lowered).run, steps)


def run_tosa(tosa: bytes, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of the reference model, integers in and integers out. Raises WorkerError if it does not finish."""
    import tosa_reference_model as reference

    outputs, status = reference.run(tosa, list(inputs), verbosity="NONE", initialize_variable_tensor_from_numpy=True)
    if status != reference.GraphStatus.TOSA_VALID:
        raise WorkerError("tosa", f"The TOSA reference model ended with {status}.", "Its standard error says more.")
    return list(outputs)


class Reference(torch.fx.Interpreter):
    """Runs the host's graph, with the reference model in the delegate's place."""

    def __init__(self, lowered: Lowered) -> None:
        super().__init__(lowered.host)
        self._tosa = lowered.tosa

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if getattr(target, "__name__", "") != "executorch_call_delegate":
            return super().call_function(target, args, kwargs)
        arrays = [tensor.contiguous().numpy() for tensor in args[1:]]
        return tuple(torch.from_numpy(array) for array in run_tosa(self._tosa, arrays))


def _output_steps(host: torch.fx.GraphModule) -> list[float]:
    """The step of each output: the scale that the host dequantises it with; 1 for integers."""
    (output,) = [node for node in host.graph.nodes if node.op == "output"]
    outputs = output.args[0] if isinstance(output.args[0], (tuple, list)) else (output.args[0],)
    return [float(node.args[1]) if "dequantize" in str(node.target) else 1.0 for node in outputs]
