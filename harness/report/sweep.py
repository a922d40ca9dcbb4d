"""Comparisons of the same models under several conditions as one table: below every metric a row for each condition."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.comparison import Comparison
from harness.analysis.rows import Row
from harness.conditions.fields import tell_apart
from harness.metrics import CATALOGUE, SECTIONS
from harness.report.layout import (
    Footnotes,
    caption_facts,
    cells_of,
    comparison_table,
    conditions_in_words,
    headings,
    kind_of_all,
    label_of,
    legend,
    rule,
    title_of,
)
from harness.report.shared_lines import name_owners, owners_of, with_one_head
from harness.report.table import Section, Table


def comparison_tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """One table for all comparisons of the same models on the same device in the same scenario, in the order in which
    they were first measured.
    """
    alike: dict[tuple[str, tuple[str, ...]], list[Comparison]] = {}
    for comparison in comparisons:
        labels = tuple(model.label for model in comparison.models)
        alike.setdefault((title_of(comparison.condition), labels), []).append(comparison)
    return [comparison_table(members[0]) if len(members) == 1 else _sweep(members) for members in alike.values()]


def _sweep(comparisons: Sequence[Comparison]) -> Table:
    words = tell_apart([comparison.condition for comparison in comparisons])
    names = [", ".join(parts) for parts in words]
    footnotes = Footnotes()
    sections: list[Section] = []
    for section in SECTIONS:
        once: list[Row] = []
        for metric in CATALOGUE:
            rows = {
                number: row
                for number, comparison in enumerate(comparisons)
                for row in comparison.rows
                if row.metric is metric and metric.section == section and row.shown
            }
            if not rows:
                continue
            alongside = list(rows.values())
            if len(rows) == len(comparisons) and all(_same(row, alongside[0]) for row in alongside):
                once.append(alongside[0])
                continue
            heading = label_of(metric, kind_of_all(alongside))
            lines = (cells_of(row, alongside, footnotes, f"  {names[number]}") for number, row in rows.items())
            sections.append(Section(rule(heading, alongside), tuple(lines)))
        if once:
            sections.append(Section(rule(section, once), tuple(cells_of(row, [row], footnotes) for row in once)))
    notes = owners_of([[*comparison.notes, *comparison.not_shown] for comparison in comparisons])
    verdicts = owners_of([tuple(comparison.verdict.values()) for comparison in comparisons])
    return Table(
        title_of(comparisons[0].condition),
        headings(comparisons[0]),
        tuple(sections),
        tuple(_caption(comparisons, words)),
        (
            *footnotes.lines(),
            *with_one_head(_named(line, name_owners(words, owners)) for line, owners in notes.items()),
        ),
        pinned=2,
        together=2,
        verdict=tuple(name_owners(words, owners) + line for line, owners in verdicts.items()),
    )


def _named(line: str, owners: str) -> str:
    """A note with the conditions that it is of, behind the word that makes it loud."""
    loud = next((mark for mark in ("FAILED: ", "WARNING: ") if line.startswith(mark)), "")
    return f"{loud}{owners}{line.removeprefix(loud)}"


def _same(row: Row, other: Row) -> bool:
    """Whether two conditions have the same figures: facts whatever the number of processes, all else to the last."""
    return _facts(row) == _facts(other) if _exact(row) and _exact(other) else row == other


def _exact(row: Row) -> bool:
    return all(figure.exact or figure.estimate is None for figure in row.figures)


def _facts(row: Row) -> tuple[tuple[float | None, str, str | None], ...]:
    return tuple(
        (figure.estimate.value if figure.estimate else None, figure.kind, figure.reason) for figure in row.figures
    )


def _caption(comparisons: Sequence[Comparison], words: Sequence[Sequence[str]]) -> list[str]:
    """Facts that all have, then those of some; by what the conditions differ, the rows say."""
    facts = [caption_facts(comparison, apart=True) for comparison in comparisons]
    lines = []
    for several in zip(*facts, strict=True):
        lines.append(" · ".join(fact for fact in several[0] if all(fact in other for other in several)))
    if not lines[-1]:  # no runtime said what it ran with, or each something else
        lines.pop()
    conditions = [conditions_in_words(each.condition, counted=each.counted, apart=True) for each in comparisons]
    own = [
        [fact for facts_of_line in several for fact in facts_of_line if fact not in condition]
        for several, condition in zip(facts, conditions, strict=True)
    ]
    of_some = [item for item in owners_of(own).items() if len(item[1]) < len(comparisons)]
    lines += [name_owners(words, owners) + fact for fact, owners in of_some]
    return [*lines, *dict.fromkeys(legend(len(each.models) > 1, each.counted) for each in comparisons)]
