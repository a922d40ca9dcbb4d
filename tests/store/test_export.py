"""Exports: the real pyperf loads them, PyTorch's records fit their table, and nothing estimated is unmarked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyperf
import pytest
from click.testing import CliRunner
from report.conftest import Session
from report.conftest import generated as generated

from harness.analysis.comparison import compare_tables
from harness.cli.results import results as command
from harness.errors import NothingComparable, UsageError
from harness.report.export.pyperf import suite_json
from harness.report.export.pytorch import records_json

# Those of clickhouse_db_schema/benchmark.oss_ci_benchmark_v3/schema.sql in pytorch/test-infra that harness fills.
TEXT, TEXTS = str, dict[str, str]
SCHEMA: dict[str, Any] = {
    "benchmark": {"name": TEXT, "mode": TEXT, "dtype": TEXT, "extra_info": TEXTS},
    "model": {"name": TEXT, "type": TEXT, "backend": TEXT, "origins": list, "extra_info": TEXTS},
    "metric": {"name": TEXT, "benchmark_values": list, "extra_info": TEXTS},
}
RUNNER = {"name", "type", "cpu_info", "extra_info"}
DEPENDENCY = {"repo", "branch", "sha", "version", "extra_info"}


def suite(made: Session, folder: Path) -> pyperf.BenchmarkSuite:
    file = folder / "suite.json"
    file.write_text(suite_json(made.tables()))
    return pyperf.BenchmarkSuite.load(str(file))


def test_pyperf_loads_every_process_as_a_run_in_seconds(generated: Session, tmp_path: Path) -> None:
    loaded = suite(generated, tmp_path)
    phases = ("first", "generate", "prefill", "ttft", "decode")
    assert set(loaded.get_benchmark_names()) == {f"{m} {p}" for m in ("gpt-fp32", "gpt-4bit") for p in phases}
    benchmark = loaded.get_benchmark("gpt-fp32 decode")
    assert benchmark.get_unit() == "second"
    mine = [run["attempt_id"] for run in generated.runs if run["model"] == "gpt-fp32" and run["measure"] == "latency"]
    for run, attempt in zip(benchmark.get_runs(), mine, strict=True):
        stored = [row for row in generated.samples if row["attempt_id"] == attempt]
        assert list(run.values) == [row["duration_ns"] / 1e9 for row in stored if row["phase"] == "decode"]
    assert benchmark.get_metadata()["harness_latency_kind"] == "measured"
    warmed = loaded.get_benchmark("gpt-fp32 generate").get_runs()[0]
    assert (len(warmed.warmups), len(warmed.values)) == (4, 22)
    assert benchmark.get_runs()[0].warmups == ()


def test_pyperf_compares_two_exports(generated: Session, tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    file.write_text(suite_json(generated.tables()))
    command = [sys.executable, "-m", "pyperf", "compare_to", str(file), str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "not significant" in ended.stdout


@pytest.mark.parametrize("kind", ["estimated", "emulated"])
def test_what_was_not_measured_is_marked_wherever_it_appears(kind: str, tmp_path: Path) -> None:
    made = Session()
    made.add("net", samples={"steady": [900]}, latency_kind=kind, scalars={"cycles@steady": 5.0}, model_bytes=9)
    assert suite(made, tmp_path).get_benchmark_names() == [f"net steady [{kind}]"]
    found = {
        one["metric"]["name"]: one["metric"]["extra_info"]["kind"] for one in json.loads(records_json(made.tables()))
    }
    assert found[f"steady_latency_ns_p50 [{kind}]"] == kind
    assert found["model_bytes"] == "measured"
    assert all(name.endswith(f" [{kind}]") for name in found if name != "model_bytes")


def test_counts_of_an_emulator_are_marked_and_have_no_durations() -> None:
    made = Session()
    made.add("net", samples={"steady": [900]}, latency_kind=None)
    for row in made.samples:
        row |= {"duration_ns": None, "instructions": 12}
    names = [one["metric"]["name"] for one in json.loads(records_json(made.tables()))]
    assert names == ["steady_instructions [emulated]"]
    with pytest.raises(NothingComparable, match="no durations"):
        suite_json(made.tables())


def test_a_value_that_pyperf_cannot_hold_is_counted(tmp_path: Path) -> None:
    made = Session()
    made.add("net", samples={"steady": [0, 900, 1000]}, flags=["not_pinned"])
    (run,) = suite(made, tmp_path).get_benchmark("net steady").get_runs()
    assert run.values == (900 / 1e9, 1000 / 1e9)
    assert run.get_metadata()["harness_values_not_above_zero"] == 1
    assert run.get_metadata()["harness_flags"] == "not_pinned"


def test_records_have_the_values_of_compare_and_fit_the_table(generated: Session) -> None:
    found = json.loads(records_json(generated.tables()))
    for record in found:
        assert set(record) == {"benchmark", "model", "runners", "dependencies", "metric"}
        for part, fields in SCHEMA.items():
            assert set(record[part]) == set(fields)
            for name, kind in fields.items():
                check_type(record[part][name], kind)
        assert [set(runner) for runner in record["runners"]] == [RUNNER]
        assert all(set(one) <= DEPENDENCY for one in record["dependencies"].values())
        assert all(isinstance(value, float) for value in record["metric"]["benchmark_values"])
        assert record["dependencies"]["executorch"] == {"version": "1.5.0"}
    values = {(one["model"]["name"], one["metric"]["name"]): one["metric"] for one in found}
    (comparison,) = compare_tables(generated.tables(), every_metric=True)
    shown = 0
    for row in comparison.rows:
        for model, figure in zip(comparison.models, row.figures, strict=True):
            kind = "" if figure.kind == "measured" else f" [{figure.kind}]"
            metric = values.pop((model.label, row.metric.name + kind), None)
            assert (metric is None) == (figure.estimate is None)
            if metric is not None:
                shown += 1
                assert metric["benchmark_values"] == list(figure.values)
                assert metric["extra_info"]["unit"] == row.metric.unit
    assert not values
    assert shown > 20


def check_type(value: Any, kind: Any) -> None:
    if kind == TEXTS:
        assert all(isinstance(one, str) for pair in value.items() for one in pair)
    else:
        assert isinstance(value, kind)


def test_a_loss_that_was_only_recorded_is_marked(generated: Session) -> None:
    found = json.loads(records_json(generated.tables()))
    names = {one["metric"]["name"] for one in found if one["model"]["name"] == "gpt-4bit"}
    assert "loss_nats [recorded]" in names
    assert "loss_nats" not in names


def test_sessions_are_exported_one_by_one_and_a_failed_one_is_left_out(generated: Session) -> None:
    failed = Session("failed")
    failed.add("gpt-fp32", status="failed", error_message="no")
    generated.runs += failed.runs
    found = json.loads(records_json(generated.tables()))
    assert {one["benchmark"]["extra_info"]["session_id"] for one in found} == {generated.name}
    with pytest.raises(NothingComparable):
        records_json(failed.tables())


def test_the_command_writes_the_file_or_says_why_not(generated: Session, tmp_path: Path, unsynced: None) -> None:
    generated.write(tmp_path / "results")

    def run(output: Path, fmt: str) -> str:
        arguments = ["export", "--format", fmt, str(output), "--results", str(tmp_path / "results")]
        return CliRunner().invoke(command, arguments, catch_exceptions=False).output

    for fmt in ("pyperf", "pytorch-v3"):
        assert run(tmp_path / fmt, fmt).strip() == str(tmp_path / fmt)
        json.loads((tmp_path / fmt).read_text())
    with pytest.raises(UsageError, match="cannot be written"):
        run(tmp_path / "none" / "x", "pyperf")
