"""The figures of one program on one profile: cycles and what they rest on, memory, and bytes that a run moves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from harness.errors import ModelError
from harness.protocol import Ops, Scalar
from harness.targets.dsp.anchors import held_out_error
from harness.targets.dsp.cycles import Work, by_evidence, cycles
from harness.targets.dsp.profile import Profile

_UNCERTIFIED = "no output is an integer: float32 comes last"
REASONS = {
    "cmsis_nn_sqnr_db": "the outputs are identical, or all zero",
    "fake_quant_max_lsb": _UNCERTIFIED,
    "fake_quant_within_1_lsb": _UNCERTIFIED,
    "out_of_range": "no activation is rounded",
}


def check_memory(name: str, arena_bytes: int, program_bytes: int, profile: Profile) -> None:
    """Raises ModelError with the shortfall where a program does not fit a profile's memories."""
    for what, needed, where, has in (
        ("arena", arena_bytes, "SRAM", profile.sram_bytes),
        ("program", program_bytes, "flash", profile.flash_bytes),
    ):
        if needed > has:
            raise ModelError(
                f"The {what} of {name} needs {needed:,} bytes, and {profile.name} has {has:,} bytes of {where}: "
                f"{needed - has:,} bytes short.",
                "Make the model smaller, or choose a profile with more memory (--device).",
            )


def scalars(phase: str, works: Sequence[Work], arena_bytes: int, program_bytes: int, profile: Profile) -> list[Scalar]:
    """Scalars of a phase. Weights are read from flash once a run, which is all of its traffic at one token and the
    least at more; the arena holds activations, inputs, outputs and scratch, and no stack.
    """
    evidence = by_evidence(works, profile)
    total, macs = sum(evidence.values()), sum(work.macs for work in works)
    left = [work for work in works if work.float32]
    values: dict[str, float | None] = {
        "cycles": total,
        "float32_cycles": sum(cycles(work, profile) for work in left),
        "float32_operators": len(left),
        "macs": macs,
        "mac_utilisation": macs / (total * profile.macs_per_cycle),
        "weight_bytes": sum(work.weight_bytes for work in works if not work.float32),
        "sram_used_bytes": arena_bytes,
        "sram_traffic_bytes": sum(work.activation_bytes for work in works),
        "flash_used_bytes": program_bytes,
        "flash_traffic_bytes": sum(work.weight_bytes for work in works),
        "held_out_error": held_out_error(profile),
        **{f"{name}_share": spent / total for name, spent in evidence.items()},
    }
    return [
        Scalar(name=name, value=value, reason=None if value is not None else profile.calibration, phase=phase)
        for name, value in values.items()
    ]


def operators(phase: str, works: Sequence[Work], profile: Profile) -> Iterator[Ops]:
    """Estimated time by operator, most expensive first; what stays in float32 says so."""
    spent: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for work in works:
        arithmetic = "float32" if work.float32 else "int8"
        how = f"{arithmetic}, rate {profile.classes[work.kind].evidence}"
        spent[work.operator, how].append(cycles(work, profile))
    for (name, how), cycle_counts in sorted(spent.items(), key=lambda item: -sum(item[1])):
        total_ns = round(sum(cycle_counts) / profile.clock_hz * 1e9)
        yield Ops(operator=f"{phase} {name}", delegate=how, calls=len(cycle_counts), total_ns=total_ns)
