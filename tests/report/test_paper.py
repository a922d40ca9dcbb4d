"""Tables for papers: what is bold, what is n.s., what stands once, what is missing and why."""

from __future__ import annotations

import csv
import io
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.comparison import compare_tables
from harness.analysis.published_figures import PublishedFigure, PublishedRow
from harness.analysis.selection import read_selection
from harness.analysis.spec import parse_spec
from harness.errors import NothingComparable, UsageError
from harness.report.paper.cells import PaperCell
from harness.report.paper.table import PaperTable, paper_table
from harness.report.rendering import render_paper

P50 = "steady_latency_ns_p50"


def build(made: Any, *columns: Any, published: Any = (), **more: Any) -> PaperTable:
    spec = parse_spec({"columns": list(columns), **more}, Path())
    return paper_table(made.tables(), spec, published)


def cells(table: PaperTable, number: int = 0) -> dict[str, PaperCell]:
    return {row.label: row.cells[number] for row in table.measured}


def bold(table: PaperTable, number: int = 0) -> list[str]:
    return [label for label, cell in cells(table, number).items() if cell.bold]


def measure(session: Any, factors: dict[str, float], drift: float = 0.02, **more: Any) -> None:
    """Five blocks each; the models of a block are slow or fast together, so their ratios vary by a thousandth."""
    for block in range(5):
        for number, (model, factor) in enumerate(factors.items()):
            noise = 1 + drift * block + 0.001 * ((block * 3 + number * 2) % 5)
            session.add(model, block, samples={"steady": [round(1e6 * factor * noise)] * 3}, **more)


def test_models_are_rows_and_the_baseline_is_first(generated: Any) -> None:
    table = build(generated, "decode_latency_ns_p50", "model_bytes", "loss_nats", baseline="gpt-4bit")
    assert [(row.label, row.baseline) for row in table.measured] == [("gpt-4bit", True), ("gpt-fp32", False)]
    heads = [(column.metric.name, column.kind, column.unit) for column in table.columns]
    assert heads == [
        ("decode_latency_ns_p50", "value", "ms"),
        ("decode_latency_ns_p50", "ratio", ""),
        ("model_bytes", "value", "MB"),
        ("model_bytes", "ratio", ""),
        ("loss_nats", "value", "nats"),
    ]
    assert cells(table, 1)["gpt-4bit"] == PaperCell()
    assert cells(table, 3)["gpt-fp32"].text == "0.17"


def test_figures_are_those_of_the_comparison(generated: Any) -> None:
    table = build(generated, "decode_latency_ns_p50")
    value, ratio = (cells(table, number)["gpt-4bit"] for number in (0, 1))
    (comparison,) = compare_tables(generated.tables())
    row = next(row for row in comparison.rows if row.metric.name == "decode_latency_ns_p50")
    estimate, versus = row.figures[1].estimate, row.versus[1]
    assert estimate is not None
    assert versus is not None
    assert (value.value, value.low, value.high) == (estimate.value, estimate.low, estimate.high)
    assert (ratio.value, ratio.low, ratio.high, ratio.resolved) == (versus.value, versus.low, versus.high, True)
    assert (value.text, value.interval) == ("1.128", ("1.084", "1.173"))
    assert (ratio.text, ratio.interval) == ("1.85", ("1.79", "1.91"))


def test_a_column_may_ask_for_the_precision_that_was_computed_in(session: Any) -> None:
    for precision, duration in ((None, 200), ("bf16", 100)):
        session.add("a", samples={"steady": [duration]}, options={"precision": precision})
    table = build(session, {"metric": P50, "precision": "bf16"})
    assert [column.cells["a"].value for column in table.columns if column.kind == "value"] == [pytest.approx(100)]


def test_without_columns_what_was_measured_is_shown(generated: Any) -> None:
    names = [column.metric.name for column in build(generated).columns]
    assert list(dict.fromkeys(names)) == ["decode_latency_ns_p50", "peak_over_idle_bytes", "model_bytes", "loss_nats"]


def test_bold_is_told_apart_from_every_other_and_not_from_the_baseline_alone(session: Any) -> None:
    measure(session, {"base": 1.0, "fast": 0.5, "fastest": 0.48})
    assert bold(build(session, P50)) == ["fastest"]
    measure(session, {"as fast": 0.48})
    table = build(session, P50)
    assert bold(table) == []
    assert cells(table, 1)["fastest"].resolved is True
    assert "bold" not in " ".join(table.notes)


def test_a_model_alone_is_not_the_best(session: Any) -> None:
    measure(session, {"base": 1.0})
    assert bold(build(session, P50)) == []


@pytest.mark.parametrize(("sizes", "best"), [((30, 20, 10), ["c"]), ((30, 10, 10), []), ((10, 20, 30), ["a"])])
def test_exact_figures_are_told_apart_by_value(session: Any, sizes: tuple[int, ...], best: list[str]) -> None:
    for model, size in zip("abc", sizes, strict=True):
        session.add(model, samples={"steady": [100]}, model_bytes=size * 1000)
    table = build(session, "model_bytes")
    # The baseline has no ratio to itself that could be bold.
    assert (bold(table, 0), bold(table, 1)) == (best, [model for model in best if model != "a"])


def test_quality_is_told_apart_by_value_and_never_from_what_was_recorded(session: Any, generated: Any) -> None:
    common = {"measure": "quality", "data": "text", "data_sha256": "0" * 64}
    session.add("a", scalars={"loss_nats": 1.5}, **common)
    session.add("b", scalars={"loss_nats": 1.4}, **common)
    assert bold(build(session, "loss_nats")) == ["b"]
    table = build(generated, "loss_nats")
    assert bold(table) == []
    (kind,) = cells(table)["gpt-4bit"].kinds
    assert kind.startswith("recorded when the model was made")
    assert table.marks[kind] == "†"


def test_an_unresolved_ratio_says_so(session: Any) -> None:
    for block, (a, b) in enumerate(((1000, 1010), (1010, 990), (990, 1000), (1000, 1020), (1020, 1000))):
        session.add("a", block, samples={"steady": [a]})
        session.add("b", block, samples={"steady": [b]})
    table = build(session, P50)
    assert cells(table, 1)["b"].resolved is False
    assert "n.s.: its interval contains 1" in table.notes[0]


def test_conditions_are_columns_with_the_geometric_mean_of_their_ratios(session: Any) -> None:
    measure(session, {"a": 1.0, "b": 0.5}, threads=1, model_bytes=1000)
    measure(session, {"a": 0.6, "b": 0.2}, threads=2, model_bytes=1000)
    table = build(session, P50, "model_bytes")
    heads = [(column.metric.name, column.group, column.kind) for column in table.columns]
    assert heads == [
        (P50, "1 thread", "value"),
        (P50, "1 thread", "ratio"),
        (P50, "2 threads", "value"),
        (P50, "2 threads", "ratio"),
        (P50, "geometric mean", "mean"),
        ("model_bytes", "", "value"),
        ("model_bytes", "", "ratio"),
    ]
    one, two, mean = (cells(table, number)["b"] for number in (1, 3, 4))
    for end in ("value", "low", "high"):
        ends = [getattr(cell, end) for cell in (one, two)]
        assert getattr(mean, end) == pytest.approx(math.sqrt(ends[0] * ends[1]))
    assert mean.resolved is True
    assert cells(table, 4)["a"] == PaperCell()
    assert [note.partition(":")[0] for note in table.notes if note.startswith(("1 ", "2 "))] == [
        "1 thread",
        "2 threads",
    ]


def test_a_geometric_mean_needs_every_ratio(session: Any) -> None:
    measure(session, {"a": 1.0, "b": 0.5, "c": 0.5}, threads=1)
    measure(session, {"a": 0.6, "b": 0.2}, threads=2)
    table = build(session, P50)
    absent, mean = (cells(table, number)["c"] for number in (3, 4))
    assert (absent.text, absent.reasons) == ("–", ("not measured under this condition",))
    assert (mean.text, mean.value) == ("–", None)
    assert mean.reasons == ("a geometric mean needs the ratio under every condition",)
    assert {sentence: table.marks[sentence] for sentence in (*absent.reasons, *mean.reasons)} == {
        "not measured under this condition": "a",
        "a geometric mean needs the ratio under every condition": "b",
    }


def test_targets_and_conditions_are_filters_of_a_column(session: Any) -> None:
    for target, device in (("x86", "cpu"), ("npu", None)):
        for threads in (1, 2):
            measure(session, {"a": 1.0, "b": 0.5}, threads=threads, target=target, device=device)
    one = {"metric": P50, "target": "npu", "threads": 2, "show": "value"}
    table = build(session, one, {"metric": P50, "threads": 1, "show": "ratio"})
    groups = [column.group for column in table.columns]
    assert groups == ["npu, 2 threads", "x86, 1 thread", "npu, 1 thread", "geometric mean"]
    narrow = build(session, P50, select={"target": "npu", "threads": 2})
    assert [column.group for column in narrow.columns] == ["", ""]
    with pytest.raises(NothingComparable, match="No run of this selection has target dsp"):
        build(session, P50, select={"target": "dsp"})


def test_emulated_and_estimated_figures_and_their_ratios_are_marked(session: Any) -> None:
    measure(session, {"a": 1.0, "b": 0.5}, latency_kind="emulated")
    table = build(session, P50)
    for number in (0, 1):
        assert cells(table, number)["b"].kinds == ("emulated: not the time that the device takes",)
    assert set(table.marks.values()) == {"†"}


def test_figures_obtained_in_different_ways_are_not_set_against_each_other(session: Any) -> None:
    measure(session, {"a": 1.0}, latency_kind="measured")
    measure(session, {"b": 0.5}, latency_kind="estimated")
    table = build(session, P50)
    assert bold(table) == []
    assert [column.kind for column in table.columns] == ["value"]
    assert any(
        note.endswith("(estimated figures are not compared with measured ones): latency p50, speed-up.")
        for note in table.notes
    )


def test_a_column_without_a_value_is_left_out_and_named(session: Any) -> None:
    measure(session, {"a": 1.0, "b": 0.5})
    session.add("a", measure="quality", scalars={"loss_nats": "the evaluation text is not at hand"})
    table = build(session, P50, "sqnr_db", "ttft_ns_p50", "loss_nats", {"metric": P50, "threads": 8})
    assert [(column.name, column.kind) for column in table.columns] == [(P50, "value"), (P50, "ratio")]
    assert [note for note in table.notes if "left out" in note] == [
        "Columns left out, since no row has a value (not measured in this selection): signal to noise of outputs; time "
        "to first token p50.",
        "Column left out, since no row has a value (the evaluation text is not at hand; not measured: there was no "
        "quality pass): loss per token.",
        "Column left out, since no row has a value (nothing was measured under threads 8): latency p50.",
    ]
    assert not table.marks, "there are no dashes that would need a footnote"
    with pytest.raises(NothingComparable, match="No model of this selection has sqnr_db, loss_nats"):
        build(session, "sqnr_db", "loss_nats")


def test_programs_are_given_the_reasons_of_a_column_that_is_left_out(session: Any) -> None:
    measure(session, {"a": 1.0, "b": 0.5})
    lines = list(csv.DictReader(io.StringIO(render_paper(build(session, P50, "sqnr_db"), "csv"))))
    absent = [(line["model"], line["value"], line["reason"]) for line in lines if line["metric"] == "sqnr_db"]
    assert absent == [(model, "", "not measured in this selection") for model in "ab"]


def test_a_condition_is_warned_of_though_none_of_its_columns_is_shown(session: Any) -> None:
    measure(session, {"a": 1.0}, threads=1)
    session.add("a", threads=2, scalars={"latency_ns": "its clock stood still"}, flags=["load_high"])
    table = build(session, P50)
    assert [column.group for column in table.columns] == ["1 thread"]
    assert any(note.startswith("2 threads: 1 of 1 latency process: other processes") for note in table.notes)
    assert any(note.endswith("(its clock stood still): latency p50, 2 threads.") for note in table.notes)


def test_a_column_of_a_scenario_is_in_tables_of_that_scenario_alone(session: Any) -> None:
    measure(session, {"a": 1.0, "b": 0.5})
    offline, here = {"metric": "samples_per_s", "scenario": "offline"}, {"metric": P50, "scenario": "single-stream"}
    table = build(session, here, offline)
    assert {column.name for column in table.columns} == {P50}
    assert not any("left out" in note for note in table.notes)
    with pytest.raises(UsageError, match="There is no scenario 'ofline'"):
        build(session, here, offline | {"scenario": "ofline"})


def test_ratios_that_a_single_row_cannot_have_are_no_column(session: Any) -> None:
    measure(session, {"a": 1.0})
    table = build(session, P50)
    assert [column.kind for column in table.columns] == ["value"]
    assert not any("left out" in note for note in table.notes)


def test_sessions_that_measured_for_different_times_are_one_row_and_a_note(make_session: Any, tmp_path: Path) -> None:
    """Also where one of them had more processes."""
    for name, blocks, asked in (("first", 3, {"min_duration_s": 1.0}), ("second", 5, {"min_duration_s": 5.0})):
        made = make_session(name)
        for block in range(blocks):
            for model, speed in (("a", 2.0), ("b", 1.0)):
                options = {"min_iterations": 30, "max_tokens": None} | asked
                samples = {"steady": [round(1e6 * speed * (1 + 0.01 * block))] * 12}
                made.add(model, block, samples=samples, options=options, job_id=f"{name} {model} {block}")
        made.write(tmp_path)
    spec = parse_spec({"columns": [P50], "select": {"session": "all"}}, Path())
    table = paper_table(read_selection(tmp_path, spec), spec)
    assert [(row.label, row.cells[0].processes) for row in table.measured] == [("a", 8), ("b", 8)]
    assert [column.group for column in table.columns] == ["", ""]
    (note,) = (note for note in table.notes if "different times" in note)
    assert note == (
        "This table joins processes that were told to measure for different times: at least 1 s (3 processes of a, 3 "
        "processes of b); at least 5 s (5 processes of a, 5 processes of b)."
    )
    assert "8 interleaved processes per model" in " ".join(table.notes)


def test_models_that_measured_for_different_times_say_so(make_session: Any, tmp_path: Path) -> None:
    for model, queries in (("a", 30), ("b", 300)):
        made = make_session(model)
        for block in range(5):
            options = {"min_iterations": queries, "min_duration_s": 1.0}
            made.add(model, block, samples={"steady": [10**6 + block] * 12}, options=options)
        made.write(tmp_path)
    spec = parse_spec({"columns": [P50], "select": {"session": "all"}}, Path())
    (note,) = (note for note in paper_table(read_selection(tmp_path, spec), spec).notes if "different times" in note)
    assert note.endswith("at least 30 queries (5 processes of a); at least 300 queries (5 processes of b).")


def test_minutes_on_end_are_a_load_and_never_joined(session: Any) -> None:
    for seconds in (600.0, 1800.0):
        options = {"scenario": "sustained", "min_duration_s": seconds, "max_duration_s": seconds}
        session.add("a", samples={"sustained": [100] * 9}, scenario="sustained", options=options, job_id=f"{seconds}")
    table = build(session, "sustained_first_minute_latency_ns_p50")
    assert [column.group for column in table.columns] == ["for 10 min", "for 30 min"]


def test_a_failed_model_keeps_its_row_and_says_why(session: Any) -> None:
    measure(session, {"a": 1.0})
    session.add("b", status="failed", error_kind="model", error_message="it does not load")
    table = build(session, P50)
    assert cells(table)["b"].reasons == ("not measured: it does not load",)
    assert any(note.startswith("FAILED: 1 latency process of b") for note in table.notes)


def test_incomparable_runs_are_named_and_the_rest_is_shown(session: Any) -> None:
    other = {"cpu_model": "Other CPU", "version.executorch": "1.5.0"}
    measure(session, {"a": 1.0, "b": 0.5}, threads=1)
    measure(session, {"a": 1.0}, threads=2)
    measure(session, {"b": 1.0}, threads=2, fingerprint=other)
    table = build(session, P50)
    assert [column.group for column in table.columns] == ["1 thread", "1 thread"]
    (note,) = [note for note in table.notes if note.startswith("Not shown")]
    assert note.startswith("Not shown, 2 threads: Runs of single-stream on x86 were made under different conditions")
    assert "cpu_model (Test CPU / Other CPU)" in note
    with pytest.raises(NothingComparable, match="different conditions"):
        build(session, P50, select={"threads": 2})
    shown = build(session, P50, select={"threads": 2}, allow_different=True)
    assert any(note.startswith("WARNING: measured under different conditions") for note in shown.notes)


def test_without_the_baseline_there_is_no_ratio(session: Any) -> None:
    measure(session, {"a": 1.0, "b": 0.5}, threads=1)
    measure(session, {"b": 0.5, "c": 0.4}, threads=2)
    table = build(session, P50)
    assert [column.kind for column in table.columns] == ["value", "ratio", "value"]
    assert any("the baseline was not measured" in note and "2 threads, speed-up" in note for note in table.notes)
    assert cells(table, 2)["c"].value is not None


def test_names_of_models_may_be_short_but_not_ambiguous(generated: Any) -> None:
    assert [row.label for row in build(generated, "model_bytes", models=["gpt-4"]).measured] == ["gpt-4bit"]
    with pytest.raises(UsageError, match="'gpt' begins several models: gpt-fp32, gpt-4bit"):
        build(generated, "model_bytes", models=["gpt"])
    with pytest.raises(UsageError, match="Not measured here: lstm"):
        build(generated, "model_bytes", models=["gpt-4bit", "lstm"])


def test_the_footnote_is_made_from_the_data(generated: Any) -> None:
    facts = " ".join(build(generated, "decode_latency_ns_p50").notes)
    for fact in (
        *("x86 · cpu · generate", "Test CPU", "Linux 6.1.0", "governor unknown", "executorch 1.5.0"),
        *("harness 0.1.0 (0123456789ab)", "2 threads", "CPUs 2,3", "5 interleaved processes per model"),
        *("22 iterations per process", "2026-11-22", "tiny-shakespeare (sha256 86c4e6aa9db7)"),
        "the temperature could not be read",
    ):
        assert fact in facts


def test_published_figures_stand_in_rows_of_their_own(generated: Any) -> None:
    figure = PublishedFigure(Decimal(16) * 10**6, None, 2, "about", "estimate", ratio=False)
    ratio = PublishedFigure(Decimal(2), Decimal(3), 1, "", "ratio", ratio=True)
    rows = [
        PublishedRow("theirs", "Ours 2024, Paper", {"model_bytes": figure}),
        PublishedRow("more", "Ours 2024, Paper", {"model_bytes": ratio, "loss_nats": figure}),
    ]
    table = build(generated, "model_bytes", published=rows)
    assert [row.label for row in table.published] == ["theirs", "more"]
    first, second = (row.cells for row in table.published)
    assert (first[0].comparator, first[0].text, first[1].text) == ("≈", "16", "")
    assert first[0].kinds == ("an estimate of its authors",)
    assert (second[0].text, second[1].text) == ("", "2–3")
    assert table.marks["Ours 2024, Paper"] == "a"
    assert "The published loss_nats of more is not shown: no column shows it as a value." in table.notes
    assert not any(cell.bold for row in table.published for cell in row.cells)


def test_a_published_figure_never_stands_in_two_columns(session: Any) -> None:
    measure(session, {"a": 1.0, "b": 0.5}, threads=1)
    measure(session, {"a": 1.0, "b": 0.5}, threads=2)
    figure = PublishedFigure(Decimal(1000), None, 1, "", "measured", ratio=False)
    rows = [PublishedRow("theirs", "Paper", {P50: figure})]
    with pytest.raises(UsageError, match="would stand in 2 columns"):
        build(session, P50, published=rows)
    table = build(session, P50, select={"threads": 2}, published=rows)
    assert table.columns[0].unit == "µs"
    assert table.published[0].cells[0].text == "1"


def test_sessions_and_days_are_chosen(make_session: Any, tmp_path: Path, unsynced: None) -> None:
    for name, day, speed in (("first", "2026-11-01", 1e6), ("second", "2026-11-09", 4e6)):
        made = make_session(name)
        made.add("a", samples={"steady": [round(speed)]}, date=day)
        made.write(tmp_path)

    def value(**select: Any) -> float:
        spec = parse_spec({"columns": [P50], "select": select}, Path())
        found = cells(paper_table(read_selection(tmp_path, spec), spec))["a"].value
        assert found is not None
        return round(found)

    assert value(session="first") == value(until="2026-11-08") == 1e6
    assert value(session="second") == value(since="2026-11-09") == 4e6
    assert value(session="all") == value(session=["first", "second"]) == 2e6
    with pytest.raises(NothingComparable, match="was measured since 2027-01-01"):
        value(since="2027-01-01")
    with pytest.raises(UsageError, match="are the same"):
        value(session=["first", "fir"])
