"""A table for a paper for programs: one line a cell that has a value or a reason, at full precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from harness.conditions.fields import FILTERS
from harness.report.paper.cells import MISSING, PaperCell
from harness.report.paper.columns import PaperColumn
from harness.report.paper.table import PaperRow, PaperTable

COLUMNS = (
    *("block", "baseline", "model", "source", "metric", "header", "shown", *FILTERS),
    *("value", "low", "high", "unit", "qualifier", "kind", "processes", "resolved", "best", "reason"),
)


def render_paper_csv(table: PaperTable) -> str:
    """Tidy rows with a heading line; an empty field is a null. `unit` is the metric's own, empty for a ratio.

    `block` is measured or published; a field of a condition is empty where a figure holds for several.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for block, rows in (("measured", table.measured), ("published", table.published)):
        for row in rows:
            writer.writerows(_lines(block, row, table))
    return file.getvalue()


def _lines(block: str, row: PaperRow, table: PaperTable) -> Iterator[dict[str, Any]]:
    pairs = [
        *zip(row.cells, table.columns, strict=True),
        # A null has its reason, also where no row has a value.
        *(zip(row.cells_left_out, table.columns_left_out, strict=True) if row.cells_left_out else ()),
    ]
    for cell, column in pairs:
        if not cell.text:
            continue
        conditions = [asdict(view.comparison.condition) for view in column.views if block == "measured"]
        fields = {
            name: conditions[0][name]
            for name in FILTERS
            if conditions and all(condition[name] == conditions[0][name] for condition in conditions)
        }
        yield {
            "block": block,
            "baseline": row.baseline,
            "model": row.label,
            "source": row.source,
            "metric": column.name or None,
            "header": ", ".join(word for word in (column.header, column.group, column.word) if word),
            "shown": "geometric mean" if column.kind == "mean" else column.kind,
            **fields,
            **_cell(cell, column),
            "best": cell.bold if block == "measured" and cell.text != MISSING else None,
        }


def _cell(cell: PaperCell, column: PaperColumn) -> dict[str, Any]:
    words = (cell.text,) if column.kind == "claim" else ()
    return {
        "value": cell.value,
        "low": cell.low,
        "high": cell.high,
        "unit": None if column.kind in ("ratio", "mean", "of_bound") or column.metric is None else column.metric.unit,
        "qualifier": cell.comparator,
        "kind": cell.kind,
        "processes": cell.processes,
        "resolved": cell.resolved,
        "reason": "; ".join((*words, *cell.kinds, *cell.reasons)) or None,
    }
