"""`python -m harness.targets.dsp.anchors [PROFILE]`: a profile's rates beside the published measurements.

The rows are of pytorch/executorch issue #17651: cycles of the first operators of MobileNetV2 at 224x224 on the
Cortex-M55 of an Alif E8 (ExecuTorch 1.1.0, CMSIS-NN 7.0.0, activations in SRAM, program in MRAM). Rates are fitted to
rows of use `fit` alone; the others say how far the model is off.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.targets.dsp.cycles import Work, cycles
from harness.targets.dsp.profile import Profile, find


@dataclass(frozen=True)
class Anchor:
    """A published row, and what the model says of it."""

    row: int
    shape: str
    work: Work
    published_cycles: int
    estimated_cycles: float
    held_out: bool

    @property
    def ratio(self) -> float:
        """The model's cycles over the published ones."""
        return self.estimated_cycles / self.published_cycles


def anchors(profile: Profile) -> list[Anchor]:
    """The published rows of a profile, none for an uncalibrated one."""
    if profile.anchors is None:
        return []
    with profile.anchors.open(newline="", encoding="utf-8") as file:
        return [_anchor(row, profile) for row in csv.DictReader(file)]


def held_out_error(profile: Profile) -> float | None:
    """The greatest error on rows that nothing was fitted to, as a share; None where there are none."""
    return max((abs(anchor.ratio - 1) for anchor in anchors(profile) if anchor.held_out), default=None)


def _anchor(row: dict[str, str], profile: Profile) -> Anchor:
    outputs, inner, gathered = (int(row[key]) for key in ("outputs", "inner", "gathered"))
    work = Work(operator=row["kind"], kind=row["kind"], outputs=outputs, inner=inner, gathered=gathered)
    return Anchor(int(row["row"]), row["shape"], work, int(row["cycles"]), cycles(work, profile), row["use"] != "fit")


def main() -> None:
    """Print the table and the error."""
    try:
        profile = find(sys.argv[1] if len(sys.argv) > 1 else None)
    except HarnessError as error:
        sys.exit(f"{error}")
    print(f"{profile.name}: {profile.calibration}")
    rows = anchors(profile)
    if rows:
        print(f"{'row':>4} {'class':<10} {'shape':<32} {'published':>11} {'ours':>11} {'ratio':>6}")
    for anchor in rows:
        use = "held out" if anchor.held_out else "fitted"
        print(
            f"{anchor.row:>4} {anchor.work.kind:<10} {anchor.shape:<32} {anchor.published_cycles:>11,} "
            f"{anchor.estimated_cycles:>11,.0f} {anchor.ratio:>6.3f} {use}"
        )
    if (worst := held_out_error(profile)) is not None:
        print(f"greatest error on held-out rows: {worst:.1%}")


if __name__ == "__main__":
    main()
