"""Instructions that an emulator counts: exact and repeatable at one thread, and no latency."""

from __future__ import annotations

from typing import Any

from harness.metrics.derivations import instructions, scalar
from harness.metrics.metric import Metric, PerProcess, Phrase

# Phases in which instructions are counted, those that are a table's main cost, and the classes that a reader may ask
# for besides their number.
_COUNTED = {"prefill": "prefill", "decode": "decode per token", "steady": "inference", "batch": "batch"}
_LEADS = {
    phase: Phrase(f"{verb} with {{}} fewer instructions than", f"{verb} with {{}} more instructions than")
    for phase, verb in (("decode", "decodes"), ("steady", "runs"), ("batch", "runs a batch"))
}
_CLASSES = {
    "load_store": "loads and stores",
    "branch": "branches",
    "simd_fp": "SIMD and floating point",
    "fmla_f32": "FMLA, float32",
    "dot_i8": "SDOT and UDOT",
    "mmla_i8": "SMMLA and UMMLA",
}


def _counts() -> list[Metric]:
    def main(name: str, label: str, per_process: PerProcess, **facts: Any) -> Metric:
        return Metric(
            name,
            label,
            "instructions",
            "lower",
            "ratio",
            "latency",
            "Instructions",
            per_process,
            exactness="repeats",
            **facts,
        )

    def of_class(phase: str, label: str, kind: str) -> Metric:
        name, per_process = f"{phase}_instructions_{kind}", scalar(f"instructions_{kind}", phase)
        return Metric(
            name,
            label,
            "instructions",
            "lower",
            None,
            "latency",
            "Instructions",
            per_process,
            main=False,
            exactness="repeats",
        )

    metrics = []
    for phase, label in _COUNTED.items():
        metrics.append(
            main(
                f"{phase}_instructions",
                f"{label}, instructions",
                instructions(phase),
                headline=phase in _LEADS,
                lead=_LEADS.get(phase),
                short=True,
                watched=True,
            )
        )
        metrics += [of_class(phase, f"{label}, {words}", kind) for kind, words in _CLASSES.items()]
    metrics.append(main("first_instructions", "first inference, instructions", instructions("first")))
    metrics.append(main("load_instructions", "load, instructions", instructions("load")))
    return metrics


COUNTS = tuple(_counts())
