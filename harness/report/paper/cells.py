"""The content of one cell of a table for a paper: digits, interval, how it was obtained, or why there is nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from harness.analysis.figures import Figure, Versus, missing_interval
from harness.analysis.numbers import quantity, signed, times
from harness.analysis.published_figures import PublishedFigure

MISSING = "–"
_KINDS = {
    "emulated": "emulated: not the time that the device takes",
    "estimated": "estimated from a model of the device, not measured",
    "recorded": "recorded when the model was made, not measured here",
}
_COMPARATORS = {"up_to": "≤", "about": "≈", "more_than": ">"}


@dataclass(frozen=True)
class PaperCell:
    """`text` and `interval` are digits in the unit of the column, and all that is shown; `value`, `low` and `high` the
    same at full precision, in the metric's own unit. Without a value `text` is a dash, or empty where nothing belongs.

    `kinds` says how it was obtained if not measured, `reasons` why something is missing, each a sentence for a
    footnote. `resolved` is False where an interval contains 1, None where the question does not arise.
    """

    text: str = ""
    interval: tuple[str, str] | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    comparator: str = ""
    bold: bool = False
    resolved: bool | None = None
    kind: str | None = None
    processes: int | None = None
    kinds: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def missing(reason: str | None) -> PaperCell:
    """A dash, and why; without a reason it does not concern the model."""
    return PaperCell(MISSING, reasons=(reason,) if reason else ())


def value_cell(figure: Figure, step: tuple[float, str], places: int, bold: bool) -> PaperCell:
    """A figure in the unit of `step`, with the decimal `places` that the column needs."""
    estimate = figure.estimate
    if estimate is None:
        return missing(figure.reason)
    text, interval = quantity(estimate.value, estimate.low, estimate.high, step, places)
    return PaperCell(
        _digits(text, step[1]),
        _ends(interval),
        estimate.value,
        estimate.low,
        estimate.high,
        bold=bold,
        kind=figure.kind,
        processes=estimate.processes,
        kinds=kinds_of(figure),
        reasons=(reason,) if (reason := missing_interval(figure)) else (),
    )


def versus_cell(versus: Versus | None, step: tuple[float, str], kinds: tuple[str, ...], bold: bool) -> PaperCell:
    """A ratio or a difference to the baseline; `kinds` are those of the two figures. Empty where none is due."""
    if versus is None:
        return PaperCell()
    if versus.value is None:
        return missing(versus.reason)
    if versus.kind == "difference":
        text, interval = _digits(signed(versus.value, step), step[1]), ""
    else:
        ratio, interval = times(versus.value, versus.low, versus.high)
        text = ratio.removesuffix("x")
    return PaperCell(
        text,
        _ends(interval),
        versus.value,
        versus.low,
        versus.high,
        bold=bold,
        resolved=versus.resolved,
        processes=versus.processes,
        kinds=kinds,
        reasons=(versus.reason if versus.resolved is not None else f"no interval ({versus.reason})",)
        if versus.reason
        else (),
    )


def geometric_mean(ratios: Sequence[Versus | None]) -> Versus:
    """The geometric mean of one model's ratios under several conditions; none where one of them is missing.

    Its interval runs from the geometric mean of the lower ends to that of the upper ends. Half the width of a mean of
    logarithms is at most the mean of the half widths, however the conditions depend on each other, so it errs on the
    wide side.
    """
    known = [versus for versus in ratios if versus is not None and versus.value is not None]
    kind = known[0].kind if known else "ratio"
    if len(known) < len(ratios):
        return Versus(kind, reason="a geometric mean needs the ratio under every condition")
    value = _mean([versus.value for versus in known])
    if all(versus.resolved is None and versus.reason is None for versus in known):
        return Versus(kind, value)
    if any(versus.low is None and versus.reason is not None for versus in known):
        return Versus(kind, value, reason="one of its ratios has none")
    low = _mean([versus.value if versus.low is None else versus.low for versus in known])
    high = _mean([versus.value if versus.high is None else versus.high for versus in known])
    processes = min(versus.processes for versus in known)
    return Versus(kind, value, low, high, processes, resolved=not low <= 1.0 <= high)


def published_text(figure: PublishedFigure, divisor: float) -> str:
    """The published digits in the unit of the column, no more of them than the source gives, or a range of two."""
    numbers = [figure.value] if figure.high is None else [figure.value, figure.high]
    return MISSING.join(_rounded(number / Decimal(divisor), figure.digits) for number in numbers)


def comparator(figure: PublishedFigure) -> str:
    """The mark before a published number: `≈`, `≤`, `>`, or nothing."""
    return _COMPARATORS.get(figure.qualifier, figure.qualifier)


def kinds_of(*figures: Figure) -> tuple[str, ...]:
    """How figures were obtained, as sentences, once each; nothing for what was measured."""
    sentences: dict[str, None] = {}
    for figure in figures:
        for kind in figure.kind.split(", ") if figure.estimate is not None else ():
            if kind != "measured":
                why = f" ({figure.reason})" if kind == "recorded" and figure.reason else ""
                sentences[_KINDS.get(kind, f"{kind}, not measured") + why] = None
    return tuple(sentences)


def _mean(values: Sequence[float | None]) -> float:
    return math.exp(sum(math.log(value) for value in values if value is not None) / len(values))


def _digits(text: str, unit: str) -> str:
    """The number without its unit and without commas, which are decimal signs elsewhere."""
    return text.removesuffix(f" {unit}").replace(",", "")


def _ends(interval: str) -> tuple[str, str] | None:
    if not interval:
        return None
    low, high = interval.strip("[]").split(", ")
    return low, high


def _rounded(number: Decimal, digits: int) -> str:
    """`number` with so many significant digits, never as a power of ten; whole numbers are not rounded."""
    places = max(0, digits - 1 - number.adjusted()) if number else 0
    return f"{number:.{places}f}"
