"""The examples of docs/results.md run as they stand, and give the figures that `harness compare` prints."""

from __future__ import annotations

import builtins
import re
from pathlib import Path
from typing import Any

import pytest
from report.conftest import Session
from report.conftest import generated as generated

from harness.analysis.comparison import compare_tables
from harness.store.compact import compact
from harness.store.dataset import read_tables

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("compacted", [False, True], ids=["small files", "compacted"])
@pytest.mark.parametrize("snippet", SNIPPETS, ids=["DuckDB", "polars"])
def test_an_example_gives_the_figures_of_compare(
    snippet: str,
    compacted: bool,
    generated: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unsynced: None,
) -> None:
    results = tmp_path / "results"
    generated.write(results)
    if compacted:
        compact(results)
    (comparison,) = compare_tables(read_tables(results))
    (row,) = [row for row in comparison.rows if row.metric.name == "decode_latency_ns_p50"]
    expected = {
        model.name: (pytest.approx(figure.estimate.value), len(figure.values))
        for model, figure in zip(comparison.models, row.figures, strict=True)
        if figure.estimate is not None
    }
    printed: list[Any] = []

    def show(found: Any) -> None:
        printed.append(found.fetchall() if hasattr(found, "fetchall") else found.rows())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtins, "print", show)
    exec(snippet, {})
    monkeypatch.undo()
    (rows,) = printed
    assert {model: (value, count) for model, value, count in rows} == expected
    assert len(expected) == 2
