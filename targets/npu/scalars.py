"""The figures of one program on one configuration: Vela's estimate beside our bound, and where the bytes go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from harness.protocol import Ops, Scalar
from harness.targets.npu.configuration import Configuration
from harness.targets.npu.roofline import CLASSES, bound_ns, vela_ns, works
from harness.targets.npu.vela import Estimate
from harness.targets.npu.vela_ini import Memories
from harness.targets.simulated.program_cache import CachedProgram
from harness.targets.simulated.worker import certification_scalars

# Vela's columns of each memory.
_AREAS = {"sram": ("sram",), "dram": ("dram",), "flash": ("off_chip_flash", "on_chip_flash")}


def scalars(
    phase: str, estimate: Estimate, configuration: Configuration, memories: Memories, tosa: bytes
) -> list[Scalar]:
    """Scalars of a phase: cycles, bytes moved and bytes used of each memory, weights before and
    after Vela's encoding, how much of the array is used, the most that the array and the memories can do, and the bound
    of `roofline` with Vela's figure over it.
    """
    summary = estimate.summary
    values: dict[str, float | None] = {
        "cycles": summary["cycles_total"],
        "npu_cycles": summary["cycles_npu"],
        "macs": summary["nn_macs"],
        "mac_utilisation": summary["nn_macs"] / (summary["cycles_total"] * configuration.macs_per_cycle),
        "weight_bytes": summary["total_original_weights"],
        "encoded_weight_bytes": summary["total_npu_encoded_weights"],
        "peak_macs_per_s": configuration.macs_per_cycle * memories.clock_hz,
        **{f"{area}_bytes_per_s": speed for area, speed in memories.bytes_per_s.items()},
    }
    missing = {}
    for name, columns in _AREAS.items():
        present = any(area.endswith(name) for area in memories.bytes_per_s)
        for figure, column, unit in (
            (f"{name}_cycles", "cycles_{}_access", 1.0),
            (f"{name}_traffic_bytes", "{}_total_bytes", 1.0),
            (f"{name}_used_bytes", "{}_memory_used", 1024.0),  # Vela writes KiB
        ):
            values[figure] = unit * sum(summary[column.format(memory)] for memory in columns) if present else None
            missing[figure] = f"{configuration.name} has no {name}"
    weights = values["weight_bytes"]
    encoded = (values["encoded_weight_bytes"] or 0.0) / weights if weights else 1.0
    bounds = bound_ns(works(tosa), memories, configuration.macs_per_cycle, encoded)
    estimates = vela_ns(estimate.layers, memories.clock_hz)
    values["roofline_ns"] = sum(bounds.values())
    for name in CLASSES:
        values[f"vela_over_roofline_{name}"] = estimates[name] / bounds[name] if bounds[name] else None
        missing[f"vela_over_roofline_{name}"] = f"the program has no {name} operators"
    return [
        Scalar(name=name, value=value, reason=None if value is not None else missing[name], phase=phase)
        for name, value in values.items()
    ]


def certified(phase: str, made: CachedProgram) -> list[Scalar]:
    """What certification said when the program was lowered."""
    certified_values = {name: value for name, value in made.facts.items() if name != "text"}
    reasons = {"tosa_sqnr_db": "the outputs are identical, or all zero", "out_of_range": "no activation is rounded"}
    return certification_scalars(phase, certified_values, reasons)


def operators(phase: str, estimate: Estimate, clock_hz: float) -> Iterator[Ops]:
    """Vela's time by operator, most expensive first."""
    cycles: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for layer in estimate.layers:
        cycles[layer.operator] += layer.cycles
        calls[layer.operator] += 1
    for name, spent in cycles.most_common():
        total_ns = round(spent / clock_hz * 1e9)
        yield Ops(operator=f"{phase} {name}", delegate="Vela estimate", calls=calls[name], total_ns=total_ns)
