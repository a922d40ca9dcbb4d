"""Processes that were still getting faster while they were measured."""

from __future__ import annotations

from collections.abc import Callable

from report.conftest import Session

from harness.analysis.comparison import compare_tables

LEVEL, DECLINING = [1000] * 200, [1100] * 50 + [1000] * 150


def test_the_table_says_how_many_processes_of_which_model(make_session: Callable[[str], Session]) -> None:
    session = make_session("one")
    for block in range(3):
        session.add("level", block, samples={"steady": LEVEL})
        session.add("declining", block, samples={"steady": DECLINING if block else LEVEL})
    (comparison,) = compare_tables(session.tables())
    assert [note for note in comparison.notes if "warming" in note] == [
        "2 processes of declining were still warming up: the first quarter of the queries was 3 % slower than any "
        "later one, or more (`--max-warmup 10`)."
    ]
