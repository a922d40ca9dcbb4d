"""Which model of a comparison is the best by a metric, where it differs clearly from every other."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from harness.analysis.comparison import Comparison
from harness.analysis.figures import Figure, Versus
from harness.analysis.rows import Row
from harness.metrics import Metric


def row_of(comparison: Comparison, metric: Metric) -> Row | None:
    """The row of a metric; None where nobody measured it there."""
    return next((row for row in comparison.rows if row.metric.name == metric.name), None)


def leader(comparison: Comparison, metric: Metric, aside: Collection[str] = ()) -> str | None:
    """The label of the model with the best value, those `aside` left out; None where fewer than two have one, or no
    direction is better.
    """
    row = row_of(comparison, metric)
    shown = {} if row is None else _shown(comparison, row, aside)
    if metric.better is None or len(shown) < 2:
        return None
    sign = 1 if metric.better == "lower" else -1
    return min(shown, key=lambda label: sign * _value(shown[label]))


def best(
    comparison: Comparison, against: Mapping[str, Comparison], metric: Metric, aside: Collection[str] = ()
) -> str | None:
    """The leader, if it differs clearly from every other model that has a value and is not `aside`; None otherwise.

    `against` holds the same comparison with each leader as the baseline. A ratio must have an interval that excludes
    1; facts and exact quality differ by value. Figures obtained in different ways are not.
    """
    first = leader(comparison, metric, aside)
    turned = against[first] if first else None
    row = row_of(turned, metric) if turned else None
    if turned is None or row is None:
        return None
    shown = _shown(turned, row, aside)
    others = [
        _is_worse(row.figures[0], figure, versus)
        for model, figure, versus in zip(turned.models, row.figures, row.versus, strict=True)
        if model.label in shown and model.label != first
    ]
    return first if all(others) else None


def _is_worse(first: Figure, other: Figure, versus: Versus | None) -> bool:
    """Whether `other` differs clearly from `first`; `versus` is `other` against it."""
    if versus is None or versus.kind == "difference":
        exact = first.exact and other.exact and first.kind == other.kind
        return exact and (versus is None or versus.reason is None) and _value(first) != _value(other)
    if versus.resolved is None:
        return versus.value is not None and versus.reason is None and versus.value < 1
    return versus.resolved


def _shown(comparison: Comparison, row: Row, aside: Collection[str]) -> dict[str, Figure]:
    pairs = zip(comparison.models, row.figures, strict=True)
    return {model.label: figure for model, figure in pairs if figure.estimate is not None and model.label not in aside}


def _value(figure: Figure) -> float:
    assert figure.estimate is not None
    return figure.estimate.value
