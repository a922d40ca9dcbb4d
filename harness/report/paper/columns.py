"""The columns of a table for a paper: each metric asked for, once a condition, with its ratios and their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.analysis.best import best, row_of
from harness.analysis.figures import Figure, Versus
from harness.analysis.numbers import decimals, scale
from harness.analysis.published_figures import Claim, PublishedFigure, PublishedRow
from harness.analysis.selection import View, matches
from harness.analysis.spec import ColumnSpec
from harness.metrics import Metric
from harness.report.paper.cells import (
    PaperCell,
    comparator,
    geometric_mean,
    kinds_of,
    missing,
    published_text,
    value_cell,
    versus_cell,
)

CLAIMED = "published, other models and devices"
_ABSENT = Figure(None, reason="not measured under this condition")
_MEAN = "geometric mean"
OF_BOUND = "of the bound"
# What of other people's figures is no result.
_PUBLISHED = {"estimate": "an estimate of its authors", "specification": "a specification, not a measurement"}


@dataclass(frozen=True)
class PaperColumn:
    """Under `header` and, where several conditions are shown, under `group`; `kind` is what its cells are.

    `word` names a comparison with the baseline ('' for a value); `unit` is that of the digits shown ('' for a ratio)
    and `divisor` what the metric's own unit was divided by. `cells` by model; `views` are those that the figures hold
    for, none for a mean. A column of claims has no metric: its cells are words.
    """

    metric: Metric | None
    header: str
    group: str
    kind: Literal["value", "ratio", "difference", "mean", "claim", "of_bound"]
    word: str
    unit: str
    divisor: float
    cells: Mapping[str, PaperCell]
    views: tuple[View, ...]

    @property
    def name(self) -> str:
        """That of its metric, '' where it has none."""
        return self.metric.name if self.metric else ""

    @property
    def suffix(self) -> str:
        """The mark behind every number of the column."""
        return "×" if self.kind in ("ratio", "mean", "of_bound") else ""


def columns_of(
    asked: ColumnSpec, views: Sequence[View], labels: Sequence[str], published: Sequence[PublishedRow]
) -> list[PaperColumn]:
    """The columns that `asked` becomes: value and ratio for each condition that has the metric, then the geometric mean
    of the ratios where there are several; none of a scenario that no view is of.

    What is the same under several conditions, such as the size of a file, is there once. All share one unit, which
    suits their geometric mean.
    """
    metric = asked.metric
    fitting = [view for view in views if matches(view.comparison.condition, asked.where)]
    shared = _shared([view for view in fitting if row_of(view.comparison, metric)], metric)
    figures = [_figures(members[0], metric) for members in shared]
    values = [figure.estimate.value for by_model in figures for figure in by_model.values() if figure.estimate]
    published_figures = [row.figures[metric.name] for row in published if metric.name in row.figures]
    step = scale(metric.unit, values or [float(figure.value) for figure in published_figures if not figure.ratio])
    if asked.show == "of_bound":
        return [
            PaperColumn(metric, asked.header, _group(members), "of_bound", OF_BOUND, "", 1.0, cells, tuple(members))
            for members in shared
            if (cells := _of_bound(members[0], metric, labels)) is not None
        ]
    if not shared:
        elsewhere = "scenario" in asked.where and not any(
            view.comparison.condition.scenario == asked.where["scenario"] for view in views
        )
        return [] if elsewhere else [_empty(asked, step, labels, bool(fitting))]
    columns = []
    ratios = [_versus(members[0], metric) for members in shared]
    for members, by_model, against in zip(shared, figures, ratios, strict=True):
        view, same = members[0], tuple(members)
        group = _group(members)
        winner = best(view.comparison, view.against, metric, view.yardsticks)
        if asked.show != "ratio":
            cells = _values(by_model, step, labels, winner)
            columns.append(PaperColumn(metric, asked.header, group, "value", "", step[1], step[0], cells, same))
        if asked.show != "value":
            columns.append(_compared(asked, group, step, _ratios(by_model, against, step, labels, winner), same))
    if asked.show != "value" and metric.compare == "ratio" and len(shared) > 1:
        columns.append(_compared(asked, _MEAN, step, _means(figures, ratios, step, labels), ()))
    return columns


def claim_column(methods: Mapping[str, str], claims: Mapping[str, Claim]) -> PaperColumn:
    """What the work behind each method says of it, on the first row of the method and by its mark alone on the others;
    `methods` by the label of the row.
    """
    cells, said = {}, set[str]()
    for label, method in methods.items():
        claim = claims.get(method)
        cells[label] = (
            PaperCell() if claim is None else PaperCell("" if method in said else claim.text, reasons=(claim.source,))
        )
        said.add(method)
    return PaperColumn(None, CLAIMED, "", "claim", "", "", 1.0, cells, ())


def _group(members: Sequence[View]) -> str:
    """The words that all of these views have."""
    return ", ".join(word for word in members[0].words if all(word in other.words for other in members))


def _of_bound(view: View, metric: Metric, labels: Sequence[str]) -> dict[str, PaperCell] | None:
    """How many times as long as the yardstick for its weights each model took; None where there is no yardstick."""
    if not view.yardsticks:
        return None
    cells = {}
    for label in labels:
        yardstick = view.yardstick_of(label)
        if label not in view.identities:
            cells[label] = missing(_ABSENT.reason)
        elif label in view.yardsticks:
            cells[label] = PaperCell()
        elif yardstick is None:
            cells[label] = missing("the bound was not measured with these weights")
        else:
            turned = view.against[yardstick]
            row = row_of(turned, metric)
            assert row is not None, "it is in the same comparison with another baseline"
            place = next(number for number, model in enumerate(turned.models) if model.label == label)
            figures, versus = (row.figures[0], row.figures[place]), row.versus[place]
            if figures[1].estimate is None or versus is None:
                cells[label] = missing(figures[1].reason or "the bound has no figure")
            else:
                cells[label] = versus_cell(_inverse(versus), (1.0, ""), kinds_of(*figures), False)
    return cells


def _inverse(versus: Versus) -> Versus:
    """The same ratio seen from the other side."""
    value, low, high = (None if end is None else 1 / end for end in (versus.value, versus.high, versus.low))
    return replace(versus, kind="ratio", value=value, low=low, high=high)


def takes(column: PaperColumn, metric: str, figure: PublishedFigure) -> bool:
    """Whether a published figure of `metric` belongs in the column."""
    return column.name == metric and column.kind == ("ratio" if figure.ratio else "value")


def has_value(column: PaperColumn, published: Sequence[PublishedRow]) -> bool:
    """Whether a measured or a published row has a value in it."""
    measured = any(cell.value is not None for cell in column.cells.values())
    return measured or any(published_cell(row.figures, column).value is not None for row in published)


def published_cell(figures: Mapping[str, PublishedFigure], column: PaperColumn) -> PaperCell:
    """What a published row, whose figures are given by metric, has in the column; an empty cell for nothing."""
    figure = figures.get(column.name)
    if figure is None or not takes(column, column.name, figure):
        return PaperCell()
    return PaperCell(
        published_text(figure, 1.0 if figure.ratio else column.divisor),
        value=float(figure.value),
        low=None if figure.high is None else float(figure.value),
        high=None if figure.high is None else float(figure.high),
        comparator=comparator(figure),
        kind=figure.kind,
        kinds=(_PUBLISHED[figure.kind],) if figure.kind in _PUBLISHED else (),
    )


def _compared(
    asked: ColumnSpec, group: str, step: tuple[float, str], cells: Mapping[str, PaperCell], views: tuple[View, ...]
) -> PaperColumn:
    word = asked.metric.comparison_word
    if asked.metric.compare == "difference":
        return PaperColumn(asked.metric, asked.header, group, "difference", word, step[1], step[0], cells, views)
    kind: Literal["ratio", "mean"] = "mean" if group == _MEAN else "ratio"
    return PaperColumn(asked.metric, asked.header, group, kind, word, "", 1.0, cells, views)


def _empty(asked: ColumnSpec, step: tuple[float, str], labels: Sequence[str], fitting: bool) -> PaperColumn:
    wanted = ", ".join(f"{key} {value}" for key, value in asked.where.items())
    reason = "not measured in this selection" if fitting else f"nothing was measured under {wanted}"
    cells = {label: missing(reason) for label in labels}
    return PaperColumn(asked.metric, asked.header, "", "value", "", step[1], step[0], cells, ())


def _figures(view: View, metric: Metric) -> dict[str, Figure]:
    row = row_of(view.comparison, metric)
    assert row is not None
    return {model.label: figure for model, figure in zip(view.comparison.models, row.figures, strict=True)}


def _versus(view: View, metric: Metric) -> dict[str, Versus | None]:
    """Each model against the table's baseline; where that was not measured there is no ratio, and this says so."""
    row = row_of(view.comparison, metric)
    assert row is not None
    none = Versus(metric.comparison, reason="the baseline was not measured under this condition")
    return {
        model.label: versus if view.based else none
        for model, versus in zip(view.comparison.models, row.versus, strict=True)
    }


def _shared(views: Sequence[View], metric: Metric) -> list[list[View]]:
    """Views of which all models have the same exact figures, together, and each other view alone. The first of several
    has all the models of the others.
    """
    shared: list[list[View]] = []
    for view in sorted(views, key=lambda view: -len(view.comparison.models)):
        facts = _facts(view, metric)
        for members in shared:
            first = _facts(members[0], metric)
            if facts and first and all(first.get(label) == fact for label, fact in facts.items()):
                members.append(view)
                break
        else:
            shared.append([view])
    order = {id(view): number for number, view in enumerate(views)}
    return sorted(shared, key=lambda members: min(order[id(view)] for view in members))


def _facts(view: View, metric: Metric) -> dict[str, tuple[float | None, str]] | None:
    """The exact figures of a view by model; None where one is not exact."""
    figures = _figures(view, metric)
    if not all(figure.exact or figure.estimate is None for figure in figures.values()):
        return None
    return {
        label: (figure.estimate.value if figure.estimate else None, figure.kind) for label, figure in figures.items()
    }


def _values(
    by_model: Mapping[str, Figure], step: tuple[float, str], labels: Sequence[str], winner: str | None
) -> dict[str, PaperCell]:
    estimates = [figure.estimate for figure in by_model.values() if figure.estimate]
    places = max((decimals(estimate.value, estimate.low, estimate.high, step) for estimate in estimates), default=0)
    return {label: value_cell(by_model.get(label, _ABSENT), step, places, label == winner) for label in labels}


def _ratios(
    by_model: Mapping[str, Figure],
    against: Mapping[str, Versus | None],
    step: tuple[float, str],
    labels: Sequence[str],
    winner: str | None,
) -> dict[str, PaperCell]:
    (base_label, base), *_ = by_model.items()
    cells = {}
    for label in labels:
        figure = by_model.get(label, _ABSENT)
        if figure.estimate is None:
            cells[label] = missing(figure.reason)
        elif against[label] is None and label != base_label:
            cells[label] = missing("the baseline has no figure")
        else:
            cells[label] = versus_cell(against[label], step, kinds_of(base, figure), label == winner)
    return cells


def _means(
    figures: Sequence[Mapping[str, Figure]],
    ratios: Sequence[Mapping[str, Versus | None]],
    step: tuple[float, str],
    labels: Sequence[str],
) -> dict[str, PaperCell]:
    bases = [next(iter(by_model)) for by_model in figures]
    cells = {}
    for label in labels:
        pairs = zip(figures, bases, strict=True)
        used = [by_model[name] for by_model, base in pairs for name in (base, label) if name in by_model]
        mean = None if {label} == set(bases) else geometric_mean([by_model.get(label) for by_model in ratios])
        cells[label] = versus_cell(mean, step, kinds_of(*used), False)
    return cells
