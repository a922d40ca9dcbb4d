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
from harness.report.paper.columns import PaperColumn, claim_column, columns_of, published_cell, takes
from harness.report.paper.notes import notes_on, peer_notes
from harness.store.dataset import Tables

PUBLISHED = "Published: other devices and software, not measured here"
_SIGNS = "†‡§¶‖"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class PaperRow:
    """`cells` as long as the table's columns; `source` cites a published row."""

    label: str
    cells: tuple[PaperCell, ...]
    source: str | None = None
    baseline: bool = False


@dataclass(frozen=True)
class PaperTable:
    """`measured[0]` is the baseline. `marks` gives the footnote sign of every sentence that a cell or a source refers
    to, in the order in which they are met; `notes` are sentences and lines of facts on the whole table.
    """

    title: str
    caption: str | None
    label: str | None
    columns: tuple[PaperColumn, ...]
    measured: tuple[PaperRow, ...]
    published: tuple[PaperRow, ...]
    marks: Mapping[str, str]
    notes: tuple[str, ...]

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
    NothingComparable where nothing asked for can be shown; a column that nobody measured is shown empty and says so.
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
    if claims:
        identities = _identities(views)
        columns += (claim_column({label: identities[label].method for label in labels}, claims),)
    unplaced = _unplaced(published, columns)
    shown = _shown_labels(views, labels, spec.rows)
    measured = tuple(
        PaperRow(
            shown[label], tuple(column.cells[label] for column in columns), baseline=number == 0 and len(labels) > 1
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
            *notes_on(columns, shown[labels[0]]),
            *(peer_notes(views, spec.columns[0].metric, shown) if spec.best_rounded_peer and spec.columns else ()),
            *unshown,
            *unplaced,
            *notes,
            *left_out(tables),
        ),
    )


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
    """The row of the best rounded peer again, under that name; none where a spec asks for none, or there is none."""
    peer = next((view.best_rounded_peer for view in views if view.best_rounded_peer is not None), None)
    if peer is None:
        return ()
    cells = tuple(replace(column.cells[peer], bold=False) for column in columns)
    return (PaperRow(f"best rounded peer: {shown[peer]}", cells),)


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
