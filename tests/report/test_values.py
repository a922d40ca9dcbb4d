"""Values and units, down to the digits: what a small slip in a factor, a sign, a key or a count would change."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.best import best
from harness.analysis.comparison import compare_tables
from harness.analysis.figures import Figure, figure, versus
from harness.analysis.flags import meaning, sentence
from harness.analysis.numbers import quantity, scale, times
from harness.analysis.spec import parse_spec
from harness.conditions import flags as conditions
from harness.conditions.workload import workload_words
from harness.metrics import CATALOGUE
from harness.report.figures.panels import panels_of
from harness.report.figures.points import points_of
from harness.report.page.data import page_data
from harness.report.paper.cells import geometric_mean
from harness.report.paper.table import paper_table
from harness.report.record import read_record, render_record
from harness.report.rendering import render, render_paper
from harness.statistics.summary import Estimate
from harness.store.stored_job import read_job

pytestmark = pytest.mark.usefixtures("unsynced")

METRICS = {metric.name: metric for metric in CATALOGUE}


def lines(text: str) -> list[str]:
    """Without runs of white space."""
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("ns", 2.5e9, "2.500 s"),
        ("ns", 2.5e6, "2.500 ms"),
        ("ns", 2.5e3, "2.500 µs"),
        ("ns", 2.5, "2.500 ns"),
        ("bytes", 2.5e9, "2.500 GB"),
        ("bytes", 2.5e6, "2.500 MB"),
        ("bytes", 2.5e3, "2.500 kB"),
        ("bytes", 25, "25 B"),
        ("instructions", 2.5e9, "2.500 G"),
        ("instructions", 2.5e6, "2.500 M"),
        ("instructions", 2.5e3, "2.500 k"),
        ("cycles", 2.5e9, "2.500 Gcycles"),
        ("cycles", 2.5e6, "2.500 Mcycles"),
        ("cycles", 2.5e3, "2.500 kcycles"),
        ("J", 2.5e3, "2.500 kJ"),
        ("J", 2.5, "2.500 J"),
        ("J", 2.5e-3, "2.500 mJ"),
        ("J", 2.5e-6, "2.500 µJ"),
        ("W", 2.5, "2.500 W"),
        ("W", 2.5e-3, "2.500 mW"),
    ],
)
def test_every_unit_has_its_factor(unit: str, value: float, text: str) -> None:
    assert quantity(value, None, None, scale(unit, [value]))[0] == text


def test_ratios_keep_three_digits_and_an_interval_its_order() -> None:
    assert times(0.05, None, None) == ("0.0500x", "")
    assert times(9.876, 9.5, 10.25) == ("9.88x", "[9.50, 10.25]")


@pytest.mark.parametrize("fmt", ["terminal", "markdown"])
def test_one_model_is_no_baseline(session: Any, fmt: Any) -> None:
    for block in range(5):
        session.add("alone", block, samples={"steady": [1_000_000]})
    text = render(compare_tables(session.tables()), fmt, width=120)
    assert "alone" in text
    assert "baseline" not in text
    assert "5 processes · latency measured" in " ".join(text.split())


@pytest.mark.parametrize("fmt", ["latex", "markdown", "html", "csv"])
def test_one_model_is_no_baseline_of_a_paper_and_the_first_of_two_is(session: Any, fmt: Any) -> None:
    columns = {"columns": [{"metric": "steady_latency_ns_p50", "show": "value"}]}
    for number, models in enumerate((["a"], ["a", "b"])):
        for model in models:
            session.add(model, number, samples={"steady": [1_000_000]})
        table = paper_table(session.tables(), parse_spec({**columns, "models": models}, Path()), (), ())
        assert [row.baseline for row in table.measured] == [True, False][: len(models)] if number else [False]
        if fmt in ("html", "csv"):
            text = render_paper(table, fmt)
            assert ("(baseline)" in text or ",True," in text) == bool(number)


def test_figures_stand_under_their_model_with_their_unit_and_ratio(session: Any) -> None:
    for block in range(3):
        session.add("a", block, samples={"steady": [4_000_000] * 64}, model_bytes=3_000)
        session.add("b", block, samples={"steady": [1_000_000] * 64}, model_bytes=6_000)
    (comparison,) = compare_tables(session.tables())
    text = lines(render([comparison], "terminal", width=140))
    assert "latency p50 4.000 ms [4.000, 4.000] 1.000 ms [1.000, 1.000] 4.000x [4.000, 4.000]" in text
    assert "file size 3.000 kB 6.000 kB 0.50x" in text
    (back,) = compare_tables(session.tables(), baseline="b")
    text = lines(render([back], "terminal", width=140))
    assert "latency p50 1.000 ms [1.000, 1.000] 4.000 ms [4.000, 4.000] 0.250x [0.250, 0.250]" in text
    assert "file size 6.000 kB 3.000 kB 2.00x" in text


def test_csv_and_json_have_each_figure_in_the_unit_of_its_metric(generated: Any) -> None:
    comparisons = compare_tables(generated.tables())
    rows = list(csv.DictReader(io.StringIO(render(comparisons, "csv"))))
    found = {(row["model"], row["metric"]): row for row in rows}
    decode = found["gpt-4bit", "decode_latency_ns_p50"]
    assert (decode["unit"], decode["better"], decode["kind"], decode["processes"]) == ("ns", "lower", "measured", "5")
    assert [float(decode[name]) for name in ("low", "value", "high")] == pytest.approx(
        [1.084e6, 1.128e6, 1.173e6], rel=1e-3
    )
    assert (decode["threads"], decode["cpus"], decode["batch"]) == ("2", "2,3", "1")
    assert (decode["prompt_tokens"], decode["new_tokens"]) == ("64", "32")
    assert [float(decode[name]) for name in ("ratio_low", "ratio", "ratio_high")] == pytest.approx(
        [1.79, 1.85, 1.91], abs=0.006
    )
    p90 = found["gpt-fp32", "prefill_latency_ns_p90"]
    assert p90["value"] == ""
    assert p90["reason"] == "p90 takes 64 queries per process, and one had 22: `--min-iterations 64`"
    metrics = {
        one["metric"]: one for one in json.loads(render(comparisons, "json"))["data"]["comparisons"][0]["metrics"]
    }
    assert metrics["decode_latency_ns_p50"]["section"] == "Latency"
    assert metrics["model_bytes"]["models"][0]["value"] == 43_205_000
    assert metrics["model_bytes"]["models"][0]["interval_reason"] is None, "a fact has none to miss"
    assert metrics["prefill_latency_ns_p99"]["models"][1]["value"] is None


def test_the_fewer_processes_count(session: Any) -> None:
    for block in range(4):
        session.add("a", block, samples={"steady": [100]}, model_bytes=2)
    session.add("b", 9, samples={"steady": [100]}, model_bytes=1)
    (comparison,) = compare_tables(session.tables())
    found = {row.metric.name: row.versus[1] for row in comparison.rows}
    latency, size = found["steady_latency_ns_p50"], found["model_bytes"]
    assert latency is not None
    assert size is not None
    assert (latency.processes, latency.reason) == (1, "1 process, and it takes 3: `--processes 5`")
    assert size.processes == 1
    assert "Latency rests on 1 process of b; an interval needs at least 5" not in " ".join(comparison.notes)
    assert "Latency rests on 4 processes of a, 1 of b; an interval needs at least 5" in " ".join(comparison.notes)


def test_five_processes_are_enough_and_four_are_few(session: Any) -> None:
    for processes, few in ((4, True), (5, False)):
        session.add("a", processes, samples={"steady": [100]})
        while len(session.runs) < processes:
            session.add("a", len(session.runs) + 10, samples={"steady": [100]})
        (comparison,) = compare_tables(session.tables())
        assert any("Latency rests on" in note for note in comparison.notes) == few


OPTIONS = (
    ("device", "cpu0", "cpu1"),
    ("scenario", "single-stream", "sustained"),
    ("threads", 1, 2),
    ("cpus", "0", "1"),
    ("runtime", "python", "native"),
    ("compile", False, True),
    ("batch", 1, 8),
    ("prompt_tokens", 8, 16),
    ("new_tokens", 8, 16),
)


@pytest.mark.parametrize(("name", "one", "other"), OPTIONS)
def test_processes_of_other_options_are_in_no_figure_together(session: Any, name: str, one: Any, other: Any) -> None:
    for value, duration in ((one, 100), (other, 900)):
        session.add("a", samples={"steady": [duration]}, **{name: value})
        session.add("a", measure="memory", scalars={"planned_bytes": duration}, **{name: value})
    found = compare_tables(session.tables())
    assert [getattr(comparison.condition, name) for comparison in found] == [one, other]
    for comparison, expected in zip(found, (100.0, 900.0), strict=True):
        figures = {row.metric.name: row.figures[0].values for row in comparison.rows}
        assert figures["steady_latency_ns_p50"] == (expected,)
        assert set(figures["planned_bytes"]) == {expected}


def test_memory_and_quality_are_of_the_precision_that_was_timed(session: Any) -> None:
    for precision, size in (("fp32", 400), ("bf16", 200)):
        same: dict[str, Any] = {"options": {"precision": precision}}
        session.add("a", samples={"steady": [size]}, job_id=f"{precision} 1", **same)
        session.add("a", measure="memory", scalars={"peak_rss_bytes@load": size}, job_id=f"{precision} 2", **same)
        same |= {"data": "x", "data_sha256": "c" * 64}
        session.add("a", measure="quality", scalars={"loss_nats": size}, job_id=f"{precision} 3", **same)
    found = compare_tables(session.tables())
    assert [comparison.condition.precision for comparison in found] == ["fp32", "bf16"]
    for comparison, size in zip(found, (400, 200), strict=True):
        figures = {row.metric.name: row.figures[0].values for row in comparison.rows}
        assert figures["peak_rss_bytes"] == figures["loss_nats"] == figures["steady_latency_ns_p50"] == (size,)


def test_two_files_of_one_name_keep_their_own_figures(session: Any) -> None:
    for sha256, size in (("a" * 64, 100), ("b" * 64, 900)):
        session.add("m", samples={"steady": [size]}, model_sha256=sha256, model_bytes=size)
    (comparison,) = compare_tables(session.tables())
    for row in comparison.rows:
        if row.metric.name in ("steady_latency_ns_p50", "model_bytes"):
            assert [one.values for one in row.figures] == [(100.0,), (900.0,)]


def test_every_block_counts_once(session: Any) -> None:
    for block in range(5):
        session.add("a", block, samples={"steady": [100 + block]})
    session.add("a", 2, samples={"steady": [777]}, job_id=session.runs[2]["job_id"])  # the same job again
    (comparison,) = compare_tables(session.tables())
    assert comparison.processes == (5,)
    (latency,) = [row for row in comparison.rows if row.metric.name == "steady_latency_ns_p50"]
    assert sorted(latency.figures[0].values) == [100, 101, 103, 104, 777]


def test_durations_of_a_target_without_latency_are_none(session: Any) -> None:
    session.add("a", samples={"steady": [100] * 700}, latency_kind=None, scalars={"instructions_branch@steady": 3.0})
    (comparison,) = compare_tables(session.tables(), every_metric=True)
    figures = {row.metric.name: row.figures[0] for row in comparison.rows}
    assert figures["steady_latency_ns_p50"].estimate is None if "steady_latency_ns_p50" in figures else True
    assert figures["steady_instructions_branch"].values == (3.0,)
    assert not any(
        one.estimate for name, one in figures.items() if METRICS[name].unit in ("ns", "samples/s", "queries/s")
    )


def test_the_caption_counts_processes_and_says_interleaved_of_several_models_alone(session: Any) -> None:
    for block in range(3):
        session.add("a", block, samples={"steady": [100]})
    assert "3 processes · latency measured" in render(compare_tables(session.tables()), "markdown")
    for block in range(3):
        session.add("b", block, samples={"steady": [100]})
    assert "3 processes per model" in render(compare_tables(session.tables()), "markdown")


@pytest.mark.parametrize(
    ("name", "first", "second", "ratio"),
    [
        ("steady_latency_ns_p50", 400.0, 100.0, 4.0),
        ("decode_tokens_per_s", 400.0, 100.0, 0.25),
        ("model_bytes", 400.0, 100.0, 4.0),
        ("loss_nats", 1.5, 1.25, -0.25),
    ],
)
def test_a_comparison_is_above_one_where_the_second_is_better(
    name: str, first: float, second: float, ratio: float
) -> None:
    metric = METRICS[name]
    places = tuple([("s", block) for block in range(3)] for _ in range(2))
    base, other = (figure(metric, [value] * 3, "measured") for value in (first, second))
    found = versus(metric, base, other, (places[0], places[1]), interleaved=True)
    assert found is not None
    assert found.value == pytest.approx(ratio)


def test_the_best_is_the_fastest_and_of_rates_the_highest(session: Any) -> None:
    for block in range(5):
        session.add("slow", block, scenario="offline", samples={"batch": [400] * 9, "steady": [400 + block]})
        session.add("fast", block, scenario="offline", samples={"batch": [100] * 9, "steady": [100 + block]})
    tables = session.tables()
    against = {name: compare_tables(tables, baseline=name)[0] for name in ("slow", "fast")}
    for name in ("steady_latency_ns_p50", "samples_per_s"):
        assert best(against["slow"], against, METRICS[name]) == "fast", name


def test_a_mean_of_ratios_is_geometric() -> None:
    made = [
        versus(
            METRICS["model_bytes"],
            figure(METRICS["model_bytes"], [value], "measured"),
            figure(METRICS["model_bytes"], [1.0], "measured"),
            ([("s", 0)], [("s", 0)]),
            interleaved=False,
        )
        for value in (2.0, 8.0)
    ]
    assert geometric_mean(made).value == pytest.approx(4.0)


def test_an_interval_is_missed_where_there_are_two_processes_and_not_of_facts() -> None:
    two = figure(METRICS["steady_latency_ns_p50"], [100.0, 130.0], "measured")
    assert two.no_interval == "2 processes, and it takes 3: `--processes 5`"
    apart = figure(METRICS["steady_latency_ns_p50"], [1.0, 1000.0, 30.0], "measured")
    assert apart.estimate is not None
    assert (apart.estimate.low, apart.estimate.high) == (None, None)
    assert "the processes disagree" in str(apart.no_interval)
    assert "`--cpus 0`" in str(apart.no_interval)
    fact = Figure(Estimate(5.0, None, None, 2), values=(5.0, 5.0), exact=True)
    assert figure(METRICS["model_bytes"], [5.0, 5.0], "measured") == fact


def test_two_processes_say_why_in_every_format(session: Any) -> None:
    for block in range(2):
        session.add("a", block, samples={"steady": [100_000 + 30_000 * block] * 64})
    comparisons = compare_tables(session.tables())
    why = "no interval (2 processes, and it takes 3: `--processes 5`)"
    assert f"¹ {why}" in lines(render(comparisons, "terminal", width=140))
    assert why.replace("`", "\\`") in render(comparisons, "markdown")
    (row,) = [r for r in csv.DictReader(io.StringIO(render(comparisons, "csv"))) if r["metric"].endswith("ns_p50")]
    assert (row["low"], row["high"], row["interval_reason"]) == ("", "", why[len("no interval (") : -1])
    spec = parse_spec({"columns": ["steady_latency_ns_p50"]}, Path())
    table = paper_table(session.tables(), spec, (), ())
    assert why in render_paper(table, "markdown").replace("\\", "")
    assert why in next(csv.DictReader(io.StringIO(render_paper(table, "csv"))))["reason"]


def test_a_percentile_of_some_processes_is_none(session: Any) -> None:
    """Those that have enough queries, where time is the limit, are the fast ones."""
    for block, count in enumerate((700, 700, 600)):
        session.add("a", block, samples={"steady": [100] * count})
    session.add("b", samples={"steady": [100] * 700})
    (comparison,) = compare_tables(session.tables())
    (row,) = [row for row in comparison.rows if row.metric.name == "steady_latency_ns_p99"]
    assert row.figures[0] == Figure(
        None, reason="p99 takes 662 queries per process, and one had 600: `--min-iterations 662`"
    )
    assert row.figures[1].values == (100.0,)
    assert row.versus == (None, None)
    assert comparison.not_shown == (), "b has it"


def test_what_takes_more_queries_is_named_and_left_out_for_people_alone(session: Any, tmp_path: Path) -> None:
    session.add("a", samples={"steady": [100] * 64})
    session.write(tmp_path)
    (comparison,) = compare_tables(session.tables())
    left_out = "Not shown: latency p99 (p99 takes 662 queries per process, and one had 64: `--min-iterations 662`)."
    assert comparison.not_shown == (left_out,)
    assert left_out not in comparison.notes, "a paper or a figure shows what was asked for"
    for text in (render([comparison], "markdown"), render_record(read_record(tmp_path), "markdown")):
        assert "| latency p90 |" in text
        assert "| latency p99 |" not in text
        assert left_out.replace("`", "\\`") in text
    data = page_data(tmp_path)
    assert "steady_latency_ns_p99" not in data["comparisons"][0]["metrics"]
    assert left_out in data["comparisons"][0]["notes"]
    assert "steady_latency_ns_p99" in render([comparison], "csv")


def test_operators_are_summed_over_processes(session: Any, tmp_path: Path) -> None:
    ids = [session.add("m", block, samples={"steady": [100]}) for block in range(3)]
    ops = [
        {"attempt_id": attempt, "operator": name, "delegate": None, "calls": 2, "total_ns": total}
        for attempt in ids
        for name, total in (("add", 1_000_000), ("mm", 4_000_000))
    ]
    session.write(tmp_path, ops=ops)
    text = lines(render_record(read_record(tmp_path), "terminal", width=140))
    assert "m mm 6 12.00 ms 80.0 %" in text
    assert "m add 6 3.000 ms 20.0 %" in text


def test_runs_say_how_long_they_took(session: Any, tmp_path: Path) -> None:
    session.add("m", samples={"steady": [100]})
    session.write(tmp_path)
    text = lines(render_record(read_record(tmp_path), "terminal", width=140))
    assert "0 m single-stream latency 0 ok 8.0 s 10:00:00" in text
    (run,) = page_data(tmp_path)["runs"]
    assert (run["took_s"], run["started"]) == (8.0, "2026-11-22T10:00:00+00:00")
    assert page_data(tmp_path)["comparisons"][0]["started_ms"] == 1_795_341_600_000


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (
            {"scenario": "server", "rate_queries_per_s": 50.0, "latency_bound_ns": 15_000_000},
            "50 queries/s, p99 within 15 ms",
        ),
        ({"scenario": "server", "latency_bound_ns": 500_000}, "rate searched for, p99 within 0.5 ms"),
        ({"scenario": "multi-stream", "streams": 8}, "8 samples per query"),
        ({"scenario": "sustained", "min_duration_s": 1800.0}, "for 30 min"),
        ({"scenario": "sustained", "min_duration_s": 45.0}, "for 45 s"),
        ({"scenario": "generate", "dram_budget_bytes": 2_500_000}, "2.5 MB for neurons"),
        ({"scenario": "single-stream"}, None),
    ],
)
def test_a_load_in_words(job: dict[str, Any], words: str | None) -> None:
    assert workload_words(read_job(json.dumps(job))) == words


def test_a_flag_says_what_to_do_and_in_a_paper_what_it_is(session: Any) -> None:
    for block in range(5):
        session.add("a", block, samples={"steady": [100]}, flags=["not_pinned", "of_another_version"])
    pinned = "the process was not pinned to CPUs and could migrate"
    assert sentence("not_pinned") == f"{pinned} (`--cpus 0` pins it)"
    assert (meaning("not_pinned"), meaning("of_another_version")) == (pinned, "of_another_version")
    notes = compare_tables(session.tables())[0].notes
    assert f"All 5 latency processes: {pinned} (`--cpus 0` pins it)." in notes
    assert "All 5 latency processes: of_another_version." in notes
    table = paper_table(session.tables(), parse_spec({}, Path()), (), ())
    assert f"All 5 latency processes: {pinned}." in table.notes


def test_every_flag_that_can_be_raised_says_what_to_do() -> None:
    source = Path(conditions.__file__).read_text(encoding="utf-8")
    names = re.findall(r'^        "(\w+)":', source, re.MULTILINE)
    assert {"steal", "load_high", "not_pinned", "out_of_range"} <= set(names)
    for name in [*names, *(f"energy_{tier}" for tier in ("sampled", "external", "estimated"))]:
        assert meaning(name) != name
        assert sentence(name).startswith(f"{meaning(name)} ("), f"{name} does not say what to do"


def test_the_arena_is_known_of_a_latency_process_too(session: Any) -> None:
    session.add("a", samples={"steady": [100]}, scalars={"planned_bytes": 4096})
    (comparison,) = compare_tables(session.tables())
    assert {row.metric.name: row.figures[0].values for row in comparison.rows}["planned_bytes"] == (4096.0,)


def test_the_caption_says_the_fewest_and_the_most_processes(session: Any) -> None:
    for model, processes in (("a", 4), ("b", 2)):
        for block in range(processes):
            session.add(model, block, samples={"steady": [100]})
    assert "2–4 processes per model" in render(compare_tables(session.tables()), "markdown")


def test_a_paper_says_the_fewest_and_the_most_iterations_and_has_the_places_that_its_digits_need(session: Any) -> None:
    for model, duration, count in (("a", 12_345_678, 30), ("b", 1_234_567, 70)):
        session.add(model, samples={"steady": [duration] * count})
    table = paper_table(session.tables(), parse_spec({"columns": ["steady_latency_ns_p50"]}, Path()), (), ())
    assert any("30–70 iterations per process" in note for note in table.notes)
    assert [row.cells[0].text for row in table.measured] == ["12.346", "1.235"]


def test_the_cost_of_a_figure_may_be_better_when_higher(session: Any) -> None:
    for model, duration, loss in (("fast", 100, 1.0), ("slow", 900, 1.1)):
        for block in range(5):
            session.add(model, block, scenario="offline", samples={"batch": [duration] * 9})
        session.add(
            model, measure="quality", scenario="offline", data="x", data_sha256="c" * 64, scalars={"loss_nats": loss}
        )
    (panel,), _ = panels_of(session.tables())
    points, absent = points_of(panel, METRICS["samples_per_s"], METRICS["loss_nats"])
    assert absent == {}
    assert [(point.model, point.standing) for point in points] == [("fast", "front"), ("slow", "dominated")]


def test_a_recorded_perplexity_is_the_exponential_of_the_recorded_loss(session: Any) -> None:
    for model in ("measured", "recorded"):
        session.add(model, samples={"steady": [100]}, recorded_loss_nats=2.0)
    session.add("measured", measure="quality", data="x", data_sha256="c" * 64, scalars={"loss_nats": 1.0})
    (comparison,) = compare_tables(session.tables())
    figures = {row.metric.name: row.figures for row in comparison.rows}
    for name, values in (("loss_nats", (1.0, 2.0)), ("perplexity", (2.71828, 7.38906))):
        assert [one.values[0] for one in figures[name]] == pytest.approx(values), name
        assert [one.kind for one in figures[name]] == ["measured", "recorded"]
