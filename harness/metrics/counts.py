"""Instructions that an emulator counts: exact and repeatable at one thread, and no latency."""

from __future__ import annotations

from typing import Literal

from harness.metrics.derivations import instructions, scalar
from harness.metrics.metric import Metric, PerProcess

# Phases in which instructions are counted, and the classes that a reader may ask for beside their number.
_COUNTED = {"prefill": "prefill", "decode": "decode, a token", "steady": "inference", "batch": "batch"}
_CLASSES = {
    "load_store": "loads and stores",
    "branch": "branches",
    "simd_fp": "SIMD and floating point",
    "fmla_f32": "FMLA, float32",
    "dot_i8": "SDOT and UDOT",
    "mmla_i8": "SMMLA and UMMLA",
}


def _counts() -> list[Metric]:
    def metric(name: str, label: str, per_process: PerProcess, *, main: bool) -> Metric:
        compare: Literal["ratio"] | None = "ratio" if main else None
        return Metric(name, label, "instructions", "lower", compare, "latency", "Instructions", per_process, main)

    found = []
    for phase, label in _COUNTED.items():
        found.append(metric(f"{phase}_instructions", f"{label}, instructions", instructions(phase), main=True))
        found += [
            metric(
                f"{phase}_instructions_{kind}", f"{label}, {words}", scalar(f"instructions_{kind}", phase), main=False
            )
            for kind, words in _CLASSES.items()
        ]
    found.append(metric("first_instructions", "first inference, instructions", instructions("first"), main=True))
    found.append(metric("load_instructions", "load, instructions", instructions("load"), main=True))
    return found


COUNTS = tuple(_counts())
