"""What a roofline is drawn from: products a second against products a byte, and the two bounds on them.

A program that does few products with each byte waits for the memory, one that does many waits for the array (Williams,
Waterman and Patterson, "Roofline", 2009, doi:10.1145/1498765.1498785).
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis.figures import Figure
from harness.errors import NothingComparable
from harness.metrics.derivations import scalar
from harness.metrics.estimates import MEMORIES, roofline_names
from harness.report.figures.panels import Panel

# Phases that have figures of their own, and what they are called beside a model's name.
PHASES = {"prefill": "prefill", "decode": "decode", "steady": ""}


@dataclass(frozen=True)
class Roof:
    """The most that a device can do: multiply-accumulates a second, and bytes a second of each of its memories."""

    macs_per_s: float
    bytes_per_s: dict[str, float]

    @property
    def memory(self) -> str:
        """The slowest memory: the one whose bytes decide."""
        return min(self.bytes_per_s, key=lambda name: self.bytes_per_s[name])

    @property
    def ridge(self) -> float:
        """Products a byte of the slowest memory from which on the array decides."""
        return self.macs_per_s / self.bytes_per_s[self.memory]


@dataclass(frozen=True)
class Dot:
    """A model in a phase: multiply-accumulates for each byte moved to and from the slowest memory, and a second.
    `bound` is the roof above it.
    """

    model: str
    phase: str
    kind: str
    macs_per_byte: float
    macs_per_s: float
    bound: float


def intensity_of(panel: Panel) -> tuple[Roof, list[Dot], dict[str, str]] | None:
    """The roof of a panel, the dots below it, and for every model that has none the reason; None where no target of
    this panel says what it can do at most.
    """
    roof = _roof(panel)
    if roof is None:
        return None
    rows = {row.metric.name: row.figures for row in panel.comparison.rows}
    nothing = (Figure(None),) * len(panel.comparison.models)
    dots, absent = [], {}
    for index, model in enumerate(panel.comparison.models):
        model_dots = []
        for phase in PHASES:
            macs, moved, time = (rows.get(name, nothing)[index] for name in roofline_names(phase, roof.memory))
            if macs.estimate and moved.estimate and time.estimate and macs.estimate.value and moved.estimate.value:
                intensity = macs.estimate.value / moved.estimate.value
                bound = min(roof.macs_per_s, intensity * roof.bytes_per_s[roof.memory])
                rate = macs.estimate.value / time.estimate.value * 1e9
                model_dots.append(Dot(model.label, phase, time.kind, intensity, rate, bound))
        dots += model_dots
        if not model_dots:
            absent[model.label] = f"it has no multiplications, no bytes of {roof.memory} or no time"
    return roof, dots, absent


def rooflines(panels: list[Panel]) -> list[tuple[Panel, Roof, list[Dot], dict[str, str]]]:
    """The panels that have a roof and a dot. Raises NothingComparable where none has."""
    with_roof = [(panel, *parts) for panel in panels if (parts := intensity_of(panel)) is not None]
    if drawn := [parts_of_one for parts_of_one in with_roof if parts_of_one[2]]:
        return drawn
    raise NothingComparable(
        "No target here says how many multiplications a second and how many bytes a second it can do at most.",
        "Run the models on one that does: `harness run --target npu`.",
    )


def _roof(panel: Panel) -> Roof | None:
    """It is the same for all models of a panel, which holds one condition of one device."""
    for phase in PHASES:
        peaks = scalar("peak_macs_per_s", phase)(panel.tables)
        speeds = {name: scalar(f"{name}_bytes_per_s", phase)(panel.tables) for name in reversed(MEMORIES)}
        present = {name: float(values.iloc[0]) for name, values in speeds.items() if len(values)}
        if len(peaks) and present:
            return Roof(float(peaks.iloc[0]), present)
    return None
