"""What is estimated of a program on a simulated processor, and how far its integers are from float32.

Whose estimate it is, the target says: Vela's of an Ethos-U, of a DSP a cycle model's.
"""

from __future__ import annotations

from typing import Literal

from harness.metrics.derivations import scalar
from harness.metrics.metric import Metric, Unit

# The phases whose scalars they are.
_ESTIMATED = {"prefill": "prefill", "decode": "decode, a token", "steady": "inference"}


_TRAFFIC: tuple[tuple[str, Unit], ...] = (
    ("cycles", "cycles"),
    ("traffic_bytes", "bytes"),
    ("used_bytes", "bytes"),
)
_WORDS = {
    "cycles": "of {}, estimate",
    "traffic_bytes": "moved to and from {}, estimate",
    "used_bytes": "held in {}, estimate",
}


def _estimates(phase: str, label: str) -> list[Metric]:
    def metric(
        name: str,
        words: str,
        unit: Unit,
        better: Literal["lower", "higher"] | None = "lower",
        *,
        main: bool = False,
    ) -> Metric:
        compare: Literal["ratio"] | None = "ratio" if unit in ("bytes", "cycles") else None
        return Metric(
            f"{phase}_{name}", f"{label}: {words}", unit, better, compare, "latency", scalar(name, phase), main
        )

    parts = [(memory, f"{memory}_{figure}", unit) for memory in ("sram", "dram", "flash") for figure, unit in _TRAFFIC]
    return [
        metric("cycles", "cycles, estimate", "cycles", main=True),
        metric("npu_cycles", "of the array, estimate", "cycles", main=True),
        metric("float32_cycles", "of operators left in float32, estimate", "cycles", main=True),
        metric("float32_operators", "operators left in float32", "1", main=True),
        metric("fitted_share", "of the cycles, by rates fitted to a board", "1", "higher", main=True),
        metric("counted_share", "of the cycles, by rates from counted instructions", "1", None, main=True),
        metric("assumed_share", "of the cycles, by assumed rates", "1", main=True),
        metric("held_out_error", "greatest error of fitted rates, held out", "1", main=True),
        *(
            metric(name, _WORDS[name[len(memory) + 1 :]].format(memory), unit, main=True)
            for memory, name, unit in parts
        ),
        metric("weight_bytes", "weights as int8", "bytes", main=True),
        metric("encoded_weight_bytes", "weights as Vela encodes them", "bytes", main=True),
        metric("mac_utilisation", "multipliers in use, estimate", "1", "higher", main=True),
        metric("macs", "multiplications", "1"),
        metric("roofline_ns", "bound by our roofline", "ns"),
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
