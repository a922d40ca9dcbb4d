"""Several conditions of the same models are one table, with everything that they share said once."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from click.testing import CliRunner

from harness.analysis.comparison import compare_tables
from harness.cli.table import table as table_command
from harness.metrics import CATALOGUE
from harness.report.rendering import render
from harness.report.shared_lines import with_one_head
from harness.report.sweep import comparison_tables


@pytest.fixture
def swept(session: Any) -> Any:
    """Two models on 1 and 2 threads, of 3 and 5 processes, the flag of one condition not that of the other."""
    for threads, blocks in ((1, 3), (2, 5)):
        for block in range(blocks):
            for model, factor in (("a", 2), ("b", 1)):
                session.add(
                    model,
                    block,
                    threads=threads,
                    options={"threads": threads},
                    model_bytes=1000 * factor,
                    flags=["not_pinned", *(["steal"] if threads == 2 else [])],
                    samples={"first": [9000], "steady": [factor * (1000 + block) // threads] * 64},
                )
    return session


def test_there_is_one_table_with_a_row_for_each_condition(swept: Any) -> None:
    comparisons = compare_tables(swept.tables())
    assert len(comparisons) == 2
    (table,) = comparison_tables(comparisons)
    by_heading = {section.heading[0]: section.rows for section in table.sections}
    assert [row[0].text for row in by_heading["latency p50"]] == ["  1 thread", "  2 threads"]
    assert [row[0].text for row in by_heading["Size"]] == ["file size"]
    assert table.columns == ("", "a (baseline)", "b", "vs baseline")
    for number, comparison in enumerate(comparisons):
        (figures,) = [row.figures for row in comparison.rows if row.metric.name == "steady_latency_ns_p50"]
        shown = by_heading["latency p50"][number]
        assert [shown[1].value, shown[2].value] == [figure.estimate.value for figure in figures if figure.estimate]


def test_what_conditions_share_is_said_once_and_the_rest_with_its_condition(swept: Any) -> None:
    text = render(compare_tables(swept.tables()), "terminal", width=200)
    assert text.count("x86 · cpu · single-stream") == 1
    assert text.count("Test CPU") == 1
    assert text.count("the hypervisor took CPU time away") == 1
    (own,) = [line for line in text.splitlines() if "2 threads: All 10 latency processes: " in line]
    assert text.index(own) < text.index("the hypervisor took CPU time away")
    assert "1 thread: 3 interleaved processes" in text
    assert "1 thread: b runs 2.0" in text
    assert "2 threads: b runs 2.0" in text


def test_a_warning_of_one_condition_is_still_loud(swept: Any) -> None:
    swept.add(
        "b", 9, threads=2, options={"threads": 2}, status="failed", error_kind="crashed", error_message="It died."
    )
    text = render(compare_tables(swept.tables()), "terminal", width=200)
    assert "FAILED: 2 threads: 1 latency process of b: crashed: It died." in text


def test_other_models_or_scenarios_have_a_table_of_their_own(swept: Any) -> None:
    swept.add("c", scenario="offline", samples={"batch": [100]})
    assert len(comparison_tables(compare_tables(swept.tables()))) == 2


def test_markdown_has_one_heading_for_a_sweep_and_programs_have_every_condition(swept: Any) -> None:
    comparisons = compare_tables(swept.tables())
    assert render(comparisons, "markdown").count("### ") == 1
    assert len(json.loads(render(comparisons, "json"))["data"]["comparisons"]) == 2
    assert {row["threads"] for row in csv.DictReader(io.StringIO(render(comparisons, "csv")))} == {"1", "2"}


def test_a_short_table_has_the_main_metrics_alone(generated: Any) -> None:
    comparisons = compare_tables(generated.tables())
    short = json.loads(render(comparisons, "json", short=True))["data"]["comparisons"][0]["metrics"]
    assert [metric["metric"] for metric in short] == [
        "prefill_latency_ns_p50",
        "decode_latency_ns_p50",
        "peak_over_idle_bytes",
        "model_bytes",
        "loss_nats",
    ]
    text = render(comparisons, "terminal", width=120, short=True)
    assert "perplexity" not in text
    assert "Not shown" not in text
    (sentence,) = comparisons[0].verdict.values()
    assert sentence in " ".join(text.split())


def test_a_short_table_has_the_main_cost_even_where_it_is_no_usual_one(session: Any) -> None:
    session.add("a", scenario="cold-start", samples={"first": [100]})
    assert "first inference" in render(compare_tables(session.tables()), "terminal", short=True)


def test_processes_of_several_passes_are_counted_by_pass(session: Any) -> None:
    for block in range(5):
        session.add("a", block, samples={"steady": [100] * 64}, flags=["not_pinned"])
    session.add("a", measure="memory", flags=["not_pinned"])
    (comparison,) = compare_tables(session.tables())
    assert "6 processes: 5 for latency, 1 for memory." in comparison.notes
    assert any(note.startswith("All 6 processes: ") for note in comparison.notes)


def test_metrics_are_listed_with_their_labels() -> None:
    shown = CliRunner().invoke(table_command, ["--columns"], catch_exceptions=False, env={"COLUMNS": "160"}).output
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "steady_latency_ns_p50 latency p50 ns Latency" in lines
    assert all(any(line.startswith(f"{metric.name} ") for line in lines) for metric in CATALOGUE)


def test_what_holds_for_the_same_processes_has_one_head() -> None:
    lines = ["Few.", "All 5 processes: a (b).", "All 5 processes: c.", "2 threads: All 5 processes: d.", "4 of 5: e."]
    assert with_one_head(lines) == [
        "Few.",
        "All 5 processes: a (b); c.",
        "2 threads: All 5 processes: d.",
        "4 of 5: e.",
    ]
