"""How far integers are from float32, and how far torch's fake quantisation, which evaluations use, is from them.

Fake quantisation rounds at the same places as the integers but multiplies in float32, and is much faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from harness.targets.simulated.calibration import Counting, flat
from harness.targets.simulated.programs import Inputs


def compare(
    name: str,
    samples: Sequence[Inputs],
    float32: Any,
    fake_quant: Any,
    integers: Callable[..., Any],
    steps: Sequence[float | None],
) -> dict[str, float | None]:
    """Scalars of `samples`, over all outputs but the last axis' argmax, which is that of the first output.

    `{name}_sqnr_db` and `{name}_argmax_agreement` set the integers against float32. `fake_quant_max_lsb`,
    `fake_quant_within_1_lsb` (a share of elements) and `fake_quant_argmax_agreement` set fake quantisation against the
    integers, in `steps` of each output (None: it is no integer and is left out). `out_of_range` is the share of
    activations that were clipped because calibration had seen none so large; `certified_elements` says how many outputs
    all this rests on.
    """
    signal = noise = 0.0
    apart: list[np.ndarray] = []
    agree: list[tuple[bool, ...]] = []
    elements = clipped = rounded = 0
    for inputs in samples:
        with torch.no_grad():
            exact = flat(float32(*inputs))
            counting = Counting(fake_quant)
            rounding = flat(counting.run(*inputs))
            integer_outputs = flat(integers(*inputs))
        clipped, rounded = clipped + counting.clipped, rounded + counting.rounded
        for real, fake, integer, step in zip(exact, rounding, integer_outputs, steps, strict=True):
            signal += float((real.double() ** 2).sum())
            noise += float(((real - integer).double() ** 2).sum())
            elements += real.numel()
            if step is not None:
                apart.append(((fake - integer).abs() / step).round().flatten().numpy())
        best = [outputs[0].argmax(-1).flatten() for outputs in (exact, rounding, integer_outputs)]
        agree += [(bool(a == c), bool(b == c)) for a, b, c in zip(*best, strict=True)]
    lsb = np.concatenate(apart) if apart else None
    alike = np.asarray(agree, dtype=float).mean(axis=0)
    return {
        f"{name}_sqnr_db": float(10 * np.log10(signal / noise)) if signal and noise else None,
        f"{name}_argmax_agreement": float(alike[0]),
        "fake_quant_argmax_agreement": float(alike[1]),
        "fake_quant_max_lsb": None if lsb is None else float(lsb.max()),
        "fake_quant_within_1_lsb": None if lsb is None else float((lsb <= 1).mean()),
        "certified_elements": float(elements),
        "out_of_range": clipped / rounded if rounded else None,
    }
