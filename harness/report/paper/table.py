"""A table for a paper: rows are models, columns metrics, published figures in rows of their own; it knows no medium."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.analysis.comparison import left_out
from harness.analysis.peers import Identity
from harness.analysis.published_figures import Claim, PublishedRow
from harness.analysis.selection import View, chosen_models, views_of
from harness.analysis.spec import TableSpec, default_columns
from harness.errors import NothingComparable, UsageError
from harness.report.paper.cells import PaperCell
from harness.report.paper.columns import PaperColumn, claim_column, columns_of, has_value, published_cell, takes
from harness.report.paper.notes import name_left_out, notes_on, peer_notes
from harness.store.dataset import Tables

PUBLISHED = "Published: other devices and software, not measured here"
_SIGNS = "†‡§¶‖"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class PaperRow:
    """`cells` as long as the table's columns, `cells_left_out` as its columns that are left out, of a measured row;
    `source` cites a published row.
    """

    label: str
    cells: tuple[PaperCell, ...]
    source: str | None = None
    baseline: bool = False
    cells_left_out: tuple[PaperCell, ...] = ()


@dataclass(frozen=True)
class PaperTable:
    """`measured[0]` is the baseline. `columns_left_out` were asked for and have no value in any row: people are told so
    by one of the `notes`, programs are given them with the reason of each row. `marks` gives the footnote sign of every
    sentence that a cell or a source refers to, in the order in which they are met; `notes` are sentences and lines of
    facts on the whole table.
    """

    title: str
    caption: str | None
    label: str | None
    columns: tuple[PaperColumn, ...]
    measured: tuple[PaperRow, ...]
    published: tuple[PaperRow, ...]
    marks: Mapping[str, str]
    notes: tuple[str, ...]
    columns_left_out: tuple[PaperColumn, ...] = ()

    @property
    def rows(self) -> tuple[PaperRow, ...]:
        """The measured rows, then the published ones."""
        return self.measured + self.published


def paper_table(
    tables: Tables,
    spec: TableSpec,
    published: Sequence[PublishedRow] = (),
    notes: Sequence[str] = (),
    claims: Mapping[str, Claim] | None = None,
) -> PaperTable:
    """The table of a spec, from rows of the store (`read_selection`), published figures (`read_published`, whose notes
    are `notes`), and what is claimed of each method (`read_claims`).

    Pure: the same for the same rows in any order. Raises UsageError for a model that was not measured, and
    NothingComparable where nothing asked for can be shown; a column without a value in any row is left out, and a line
    below the table says so.
    """
    names = chosen_models(tables, spec.models)
    baseline = chosen_models(tables, [spec.baseline])[0] if spec.baseline else names[0]
    names = [baseline, *(name for name in names if name != baseline)]
    views, unshown = views_of(tables, spec, names, baseline)
    labels = _labels(views, names)
    asked = spec.columns or default_columns()
    columns = tuple(column for column_spec in asked for column in columns_of(column_spec, views, labels, published))
    if not spec.columns:
        columns = tuple(column for column in columns if any(cell.value is not None for cell in column.cells.values()))
    if not any(cell.value is not None for column in columns for cell in column.cells.values()):
        reasons = dict.fromkeys(text for column in columns for cell in column.cells.values() for text in cell.reasons)
        why = f" ({'; '.join(reasons)})" if reasons else ""
        asked_for = ", ".join(dict.fromkeys(column_spec.metric.name for column_spec in asked))
        raise NothingComparable(
            f"No model of this selection has {asked_for}{why}.",
            "`harness report` shows what was measured.",
        )
    all_columns = columns
    columns = tuple(column for column in all_columns if has_value(column, published))
    columns_left_out = tuple(
        column for column in all_columns if not has_value(column, published) and _has_reason(column)
    )
    if claims:
        identities = _identities(views)
        columns += (claim_column({label: identities[label].method for label in labels}, claims),)
    unplaced = _unplaced(published, columns)
    shown = _shown_labels(views, labels, spec.rows)
    measured = tuple(
        PaperRow(
            shown[label],
            tuple(column.cells[label] for column in columns),
            baseline=number == 0 and len(labels) > 1,
            cells_left_out=tuple(column.cells[label] for column in columns_left_out),
        )
        for number, label in enumerate(labels)
    )
    measured += _peer_rows(views, columns, shown)
    published_rows = tuple(
        PaperRow(row.name, tuple(published_cell(row.figures, column) for column in columns), row.source)
        for row in published
    )
    return PaperTable(
        spec.title or _title(views),
        spec.caption,
        spec.label,
        columns,
        measured,
        published_rows,
        _marks((*measured, *published_rows)),
        (
            *notes_on(columns, all_columns, shown[labels[0]]),
            *name_left_out(columns_left_out),
            *(peer_notes(views, shown) if spec.best_rounded_peer else ()),
            *unshown,
            *unplaced,
            *notes,
            *left_out(tables),
        ),
        columns_left_out,
    )


def _has_reason(column: PaperColumn) -> bool:
    """Whether something is missing in it; nothing is due in the ratios of a model that stands alone."""
    return any(cell.reasons for cell in column.cells.values())


def _shown_labels(views: Sequence[View], labels: Sequence[str], parts: Sequence[str]) -> dict[str, str]:
    """What stands before each row, by the label of its model: what the model is, with its label where that is not
    another for every model.
    """
    if not parts:
        return {label: label for label in labels}
    identities = _identities(views)
    words = {label: identities[label].words(parts) for label in labels}
    counts = Counter(words.values())
    return {label: text if counts[text] == 1 else f"{text} ({label})" for label, text in words.items()}


def _identities(views: Sequence[View]) -> dict[str, Identity]:
    """What each model is, by its label."""
    return {label: identity for view in reversed(views) for label, identity in view.identities.items()}


def _peer_rows(views: Sequence[View], columns: Sequence[PaperColumn], shown: Mapping[str, str]) -> tuple[PaperRow, ...]:
    """The row of each best rounded peer again, under that name, with what it is the best by where there are several;
    none where a spec asks for none, or there is none.
    """
    best_by: dict[str, dict[str, None]] = {}
    for view in views:
        for metric, peer in view.best_rounded_peers:
            best_by.setdefault(peer, {})[f"{metric.label}, {view.name}" if view.name else metric.label] = None
    rows = []
    for peer, figures in best_by.items():
        by = f" by {' and '.join(figures)}" if len(best_by) > 1 else ""
        cells = tuple(replace(column.cells[peer], bold=False) for column in columns)
        rows.append(PaperRow(f"best rounded peer{by}: {shown[peer]}", cells))
    return tuple(rows)


def _labels(views: Sequence[View], names: Sequence[str]) -> list[str]:
    """The models of all views in the order of `names`."""
    models = [model for view in views for model in view.comparison.models]
    return list(dict.fromkeys(model.label for name in names for model in models if model.name == name))


def _title(views: Sequence[View]) -> str:
    conditions = [view.comparison.condition for view in views]
    parts = [
        ", ".join(dict.fromkeys(str(getattr(condition, name)) for condition in conditions))
        for name in ("target", "scenario")
    ]
    return " · ".join(parts)


def _unplaced(published: Sequence[PublishedRow], columns: Sequence[PaperColumn]) -> list[str]:
    """A sentence for every published figure that no column takes. Raises UsageError where several would."""
    notes = []
    for row in published:
        for name, figure in row.figures.items():
            fitting = [column for column in columns if takes(column, name, figure)]
            if len(fitting) > 1:
                raise UsageError(
                    f"The published {name} of {row.name} would stand in {len(fitting)} columns.",
                    "Ask for that column under one condition, such as threads = 1.",
                )
            if not fitting:
                what = "ratio" if figure.ratio else "value"
                notes.append(f"The published {name} of {row.name} is not shown: no column shows it as a {what}.")
    return notes


def _marks(rows: Sequence[PaperRow]) -> dict[str, str]:
    """Signs for how figures were obtained, letters for reasons and sources, row by row."""
    signs: dict[str, str] = {}
    letters: dict[str, str] = {}
    for row in rows:
        if row.source:
            letters.setdefault(row.source, _letter(len(letters)))
        for cell in row.cells:
            for kind in cell.kinds:
                signs.setdefault(kind, _SIGNS[len(signs) % len(_SIGNS)] * (1 + len(signs) // len(_SIGNS)))
            for reason in cell.reasons:
                letters.setdefault(reason, _letter(len(letters)))
    return signs | letters


def _letter(number: int) -> str:
    """a to z, then aa, ab and so on."""
    more, last = divmod(number, len(_LETTERS))
    return (_letter(more - 1) if more else "") + _LETTERS[last]
