"""From the comparison of a whole program with ones that lack channels to what a channel of each kind saves.

The speed-up of a program is taken block by block, with a 99 % interval, as in every comparison. A channel's price is

    latency of the whole program * (1 - 1 / speed-up) / channels removed

and its interval that of the speed-up. The latency is a factor of all four prices, and the penalty that they are for
knows their proportions only, so the interval leaves out what is uncertain about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.comparison import Comparison
from harness.analysis.figures import Figure, Versus
from harness.models.recipe import LAYERS
from harness.models.zoo.pricing import Program
from harness.statistics.summary import Estimate

UNRESOLVED = "not resolved: the interval contains 0; give more --blocks"
NOTHING = "saves nothing: the exported program is the same without these rows"


@dataclass(frozen=True)
class Price:
    """What removing one of `channels` output channels of a kind of layer saves, in nanoseconds of one phase.

    `latency` and `speed_up` are those of the program without them; `saved` is None where it was not measured. `reason`
    says why there is no price, None: `saved` is one.
    """

    kind: str
    channels: int | None
    latency: Figure
    speed_up: Versus | None
    saved: Estimate | None
    reason: str | None


def prices(comparison: Comparison, phase: str, programs: Sequence[Program]) -> tuple[Figure, list[Price]]:
    """The latency of the whole program, which is the first of `programs` and the comparison's baseline, and a price for
    each kind of layer, of the others.
    """
    figures = dict.fromkeys((program.path.stem for program in programs), Figure(None, reason="not measured"))
    against: dict[str, Versus | None] = {}
    for row in comparison.rows:
        if row.metric.name == f"{phase}_latency_ns_p50":
            names = [model.name for model in comparison.models]
            figures |= dict(zip(names, row.figures, strict=True))
            against = dict(zip(names, row.versus, strict=True))
    uncut, made = figures[programs[0].path.stem], {program.kind: program for program in programs}
    priced = []
    for kind in LAYERS:
        if kind not in made:
            priced.append(Price(kind, None, Figure(None), None, None, NOTHING))
            continue
        figure, versus = figures[made[kind].path.stem], against.get(made[kind].path.stem)
        saved = _saved(uncut, versus, made[kind].channels)
        reason = figure.reason or uncut.reason or "too few processes" if saved is None else _doubt(saved)
        priced.append(Price(kind, made[kind].channels, figure, versus, saved, reason))
    return uncut, priced


def _saved(uncut: Figure, versus: Versus | None, channels: int) -> Estimate | None:
    """Nanoseconds a channel; None without an interval: what may be noise is no price."""
    if uncut.estimate is None or versus is None or versus.value is None or versus.low is None or versus.high is None:
        return None
    ratios = (versus.value, versus.low, versus.high)
    value, low, high = (uncut.estimate.value * (1 - 1 / ratio) / channels for ratio in ratios)
    return Estimate(value, low, high, versus.processes)


def _doubt(saved: Estimate) -> str | None:
    """Why what is saved is no price, if it is none."""
    assert saved.low is not None
    assert saved.high is not None
    if saved.low > 0:
        return None
    return "the program is slower without these rows" if saved.high < 0 else UNRESOLVED
