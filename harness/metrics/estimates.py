"""What is estimated of a program on a simulated processor, and how far its integers are from float32.

Whose estimate it is, the target says: Vela's of an Ethos-U, of a DSP a cycle model's.
"""

from __future__ import annotations

from typing import Any, Literal

from harness.metrics.derivations import scalar
from harness.metrics.metric import Metric, Phrase, Section, Unit

MEMORIES = ("sram", "dram", "flash")
# The phases whose scalars they are.
_ESTIMATED = {"prefill": "prefill", "decode": "decode per token", "steady": "inference"}
_LEADS = {
    phase: Phrase(f"{verb} in {{}} fewer cycles than", f"{verb} in {{}} more cycles than")
    for phase, verb in (("decode", "decodes"), ("steady", "runs"))
}

_OF_MEMORIES: tuple[tuple[str, str, Unit, Section], ...] = (
    ("cycles", "of {}, estimate", "cycles", "Latency"),
    ("traffic_bytes", "moved to and from {}, estimate", "bytes", "Traffic"),
    ("used_bytes", "held in {}, estimate", "bytes", "Memory"),
)


def _estimates(phase: str, label: str) -> list[Metric]:
    def metric(
        name: str,
        words: str,
        unit: Unit,
        better: Literal["lower", "higher"] | None = "lower",
        *,
        section: Section = "Simulation",
        main: bool = False,
        **facts: Any,
    ) -> Metric:
        compare: Literal["ratio"] | None = "ratio" if unit in ("bytes", "cycles") else None
        return Metric(
            f"{phase}_{name}",
            f"{label}: {words}",
            unit,
            better,
            compare,
            "latency",
            section,
            scalar(name, phase),
            main,
            **facts,
        )

    return [
        metric(
            "cycles",
            "cycles, estimate",
            "cycles",
            section="Latency",
            main=True,
            headline=phase in _LEADS,
            lead=_LEADS.get(phase),
            short=True,
            watched=True,
        ),
        metric("npu_cycles", "of the array, estimate", "cycles", section="Latency", main=True),
        metric("float32_cycles", "of operators left in float32, estimate", "cycles", section="Latency", main=True),
        metric("float32_operators", "operators left in float32", "1", main=True),
        metric("fitted_share", "share of cycles from rates fitted to a board", "1", "higher", main=True),
        metric("counted_share", "share of cycles from counted instructions", "1", None, main=True),
        metric("assumed_share", "share of cycles from assumed rates", "1", main=True),
        metric("held_out_error", "greatest error of fitted rates on data left out of the fit", "1", main=True),
        *(
            metric(f"{memory}_{figure}", words.format(memory), unit, section=section, main=True)
            for memory in MEMORIES
            for figure, words, unit, section in _OF_MEMORIES
        ),
        metric("weight_bytes", "weights as int8", "bytes", section="Size", main=True),
        metric("encoded_weight_bytes", "weights as Vela encodes them", "bytes", section="Size", main=True),
        metric("mac_utilisation", "multipliers in use, estimate", "1", "higher", main=True),
        metric("macs", "multiplications", "1"),
        metric("roofline_ns", "bound by our roofline", "ns", section="Latency"),
        *(
            metric(f"vela_over_roofline_{kind}", f"Vela over roofline, {kind} operators", "1", None)
            for kind in ("linear", "matmul", "other")
        ),
        metric("tosa_sqnr_db", "int8 against float32, TOSA", "dB", "higher", main=True),
        metric("tosa_argmax_agreement", "argmax agreement of int8 with float32, TOSA", "1", "higher", main=True),
        metric("cmsis_nn_sqnr_db", "int8 against float32, CMSIS-NN", "dB", "higher", main=True),
        metric(
            "cmsis_nn_argmax_agreement", "argmax agreement of int8 with float32, CMSIS-NN", "1", "higher", main=True
        ),
        metric("fake_quant_argmax_agreement", "argmax agreement of fake-quant with the integers", "1", "higher"),
        metric("fake_quant_within_1_lsb", "fake-quant within 1 LSB of the integers", "1", "higher", main=True),
        metric("fake_quant_max_lsb", "largest difference of fake-quant from the integers, LSB", "1"),
        metric("certified_elements", "outputs of the integers compared", "1", None),
        metric("out_of_range", "activations beyond the calibrated range", "1", main=True),
    ]


ESTIMATES = tuple(metric for phase, label in _ESTIMATED.items() for metric in _estimates(phase, label))


def roofline_names(phase: str, memory: str) -> tuple[str, str, str]:
    """The metrics that place a model below a roofline: its multiplications, the bytes that it moves to and from a
    memory, and its time.
    """
    return f"{phase}_macs", f"{phase}_{memory}_traffic_bytes", f"{phase}_latency_ns_p50"
