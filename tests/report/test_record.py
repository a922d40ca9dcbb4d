"""`harness report` and `harness compare` over a store on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from harness.analysis.comparison import compare_tables
from harness.cli.compare import compare
from harness.cli.report import report
from harness.errors import NothingComparable, UsageError
from harness.report.record import read_record, render_record
from harness.report.rendering import render
from harness.report.sessions import render_sessions
from harness.store.dataset import read_tables


@pytest.fixture
def results(generated: Any, tmp_path: Path) -> Path:
    failed = generated.add(
        "gpt-4bit",
        7,
        status="failed",
        error_kind="crashed",
        error_message="The worker was killed.",
        stderr_tail="Fatal error: [bold]Segmentation fault[/bold]\n  in kernel\n",
        scenario="generate",
        prompt_tokens=64,
        new_tokens=32,
        threads=2,
        cpus="2,3",
    )
    ids = [run["attempt_id"] for run in generated.runs]
    environment = [
        {"attempt_id": attempt, "moment": moment, "name": "load_average_1min", "value": f"{number}.5"}
        for number, attempt in enumerate(ids)
        for moment in ("before", "after")
    ]
    environment.append({"attempt_id": failed, "moment": "after", "name": "temperature_celsius", "reason": "no sensor"})
    ops = [
        {"attempt_id": ids[0], "operator": name, "calls": 3, "total_ns": time}
        for name, time in (("aten::add", 1_000_000), ("aten::mm", 3_000_000))
    ]
    io = [
        {"attempt_id": attempt, "phase": "load", "asked_bytes": size}
        for attempt, size in zip(ids[:5:2], (1, 9, 2), strict=False)
    ]
    generated.write(tmp_path, environment=environment, ops=ops, io=io)
    return tmp_path


def test_the_record_has_all_parts(results: Path) -> None:
    text = render_record(read_record(results), "terminal", width=110)
    assert "parameters" in text
    assert "Runs (15)" in text
    assert "FAILED: 1 latency process of gpt-4bit: crashed: The worker was killed." in text
    assert "Fatal error: [bold]Segmentation fault[/bold]" in text
    assert "  in kernel" in text
    assert "load_high            2 of 15" in text
    assert "0.5 to 14.5" in text
    assert "unknown: no sensor" in text
    assert text.index("aten::mm") < text.index("aten::add")
    assert "75.0 %" in text


def test_the_record_as_markdown_and_json(results: Path) -> None:
    record = read_record(results)
    markdown = render_record(record, "markdown")
    assert r"\[bold\]Segmentation fault" in markdown
    parsed = json.loads(render_record(record, "json"))["data"]
    assert [run["status"] for run in parsed["runs"]].count("failed") == 1
    assert parsed["runs"][0]["started_at"] == "2026-11-22T10:00:00+00:00"
    assert len(parsed["environment"]) == 31
    assert parsed["ops"][0]["operator"] == "aten::add"


def test_a_session_in_which_all_failed_still_has_a_record(session: Any, tmp_path: Path) -> None:
    session.add("a", status="failed", error_kind="model", error_message="No such operator.", stderr_tail="trace")
    session.write(tmp_path)
    record = read_record(tmp_path)
    assert record.comparisons == ()
    text = render_record(record, "terminal", width=100)
    assert "No process succeeded" in text
    assert "trace" in text
    assert json.loads(render_record(record, "json"))["data"]["why_not"].startswith("No process succeeded")


def test_sessions_are_listed(results: Path) -> None:
    assert json.loads(render_sessions(results, "json"))["data"]["sessions"] == [
        {
            "session": "20261122-100000-abcdef",
            "date": "2026-11-22",
            "targets": ["x86"],
            "models": ["gpt-fp32", "gpt-4bit"],
            "jobs": 15,
            "failed": 1,
        }
    ]
    assert "20261122-100000-abcdef  2026-11-22  x86      gpt-fp32, gpt-4bit  15    1" in render_sessions(
        results, width=100
    )
    assert (
        render_sessions(results, "csv").splitlines()[1]
        == '20261122-100000-abcdef,2026-11-22,x86,"gpt-fp32, gpt-4bit",15,1'
    )


def test_compare_prints_what_the_renderer_makes(results: Path) -> None:
    expected = render(compare_tables(read_tables(results)), "json")
    found = CliRunner().invoke(compare, ["--results", str(results), "--json"])
    assert (found.exit_code, found.output) == (0, expected)


def test_compare_takes_models_a_baseline_and_the_folder_from_the_environment(results: Path) -> None:
    found = CliRunner().invoke(
        compare,
        ["--format", "csv", "--baseline", "gpt-4bit", "gpt-4bit", "gpt-fp32"],
        env={"HARNESS_RESULTS": str(results)},
    )
    assert found.exit_code == 0
    frame = pd.read_csv(io.StringIO(found.output))
    assert set(frame["baseline"]) == {"gpt-4bit"}
    assert set(frame["model"]) == {"gpt-4bit", "gpt-fp32"}


def test_report_prints_the_record_and_the_list(results: Path) -> None:
    runner = CliRunner()
    whole = runner.invoke(report, ["--results", str(results)], env={"COLUMNS": "110"})
    assert whole.exit_code == 0
    assert whole.output == render_record(read_record(results), "terminal", width=110)
    listed = runner.invoke(report, ["--results", str(results), "--list", "--format", "markdown"])
    assert listed.output == render_sessions(results, "markdown")


@pytest.mark.parametrize("command", [compare, report])
def test_an_empty_folder_is_nothing_comparable(command: Any, tmp_path: Path) -> None:
    found = CliRunner().invoke(command, ["--results", str(tmp_path)])
    assert isinstance(found.exception, NothingComparable)
    assert found.exception.exit_code == 3
    assert found.exception.hint


def test_an_unknown_model_is_a_usage_error(results: Path) -> None:
    found = CliRunner().invoke(compare, ["--results", str(results), "nope"])
    assert isinstance(found.exception, UsageError)
    assert "nope" in found.exception.message
