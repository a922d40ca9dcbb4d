"""Two models measured once; then everything that can be asked of the stored session."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli.driving import HARNESS, QUICK, Ended, Home
from models_on_disk import Models

from harness.manifest import sha256_file

# A file name that is a shell command, an HTML tag, rich markup and Markdown, all in one.
ODD = "[bold]x; rm -rf $HOME `id` <script>|y"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:  # one for the whole file
    return Home(tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="module")
def ran(home: Home, models: Models) -> Ended:
    shutil.copy(models.other, home.folder / f"{ODD}.pte")
    return home.harness("run", "-t", "x86", "-m", models.mlp, "-m", f"{ODD}.pte", "-n", 2, "--no-memory", *QUICK)


def _json(ended: Ended) -> Any:
    assert ended.code == 0, ended.err
    return json.loads(ended.out)["data"]


def _metrics(comparison: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    return {row["metric"]: {figure["model"]: figure for figure in row["models"]} for row in comparison["metrics"]}


def test_run_prints_a_table_and_keeps_its_rows(ran: Ended, home: Home, models: Models) -> None:
    assert ran.code == 0, ran.err
    assert "mlp" in ran.out
    assert all(word in ran.out for word in ODD.split())  # a long heading may break between words
    assert "latency p50" in ran.out
    assert "4 interleaved processes" in ran.out or "2 interleaved processes per model" in ran.out
    assert "harness compare --session" in ran.err
    runs = home.rows()
    assert [(run["measure"], run["model"], run["block"]) for run in sorted(runs, key=lambda run: run["position"])] == [
        ("latency", "mlp", 0),
        ("latency", ODD, 0),
        ("latency", ODD, 1),
        ("latency", "mlp", 1),
        ("quality", "mlp", 0),
        ("quality", ODD, 0),
    ]
    assert {run["status"] for run in runs} == {"ok"}
    assert {run["model_sha256"] for run in runs} == {sha256_file(models.mlp), sha256_file(models.other)}
    assert {run["model_bytes"] for run in runs} == {models.mlp.stat().st_size}
    assert len({run["attempt_id"] for run in runs}) == 6
    assert len({run["session_id"] for run in runs}) == 1
    assert len({run["job_id"] for run in runs}) == 6
    assert len({run["series_id"] for run in runs}) == 4


def test_every_sample_of_every_process_is_stored(ran: Ended, home: Home) -> None:
    timed = {run["attempt_id"] for run in home.rows() if run["measure"] == "latency"}
    phases: dict[str, list[str]] = {}
    for row in home.rows("samples"):
        assert row["duration_ns"] > 0
        phases.setdefault(row["attempt_id"], []).append(row["phase"])
    assert set(phases) == timed
    for names in phases.values():
        assert (names.count("first"), names.count("steady")) == (1, 3)
        assert names.count("warmup") >= 1
    environment = home.rows("environment")
    assert {row["moment"] for row in environment} == {"before", "after"}
    assert all(row["value"] is not None or row["reason"] for row in environment)


def test_nothing_else_is_left_in_the_folder(ran: Ended, home: Home) -> None:
    assert {path.name for path in home.folder.iterdir()} == {"results", "cache", f"{ODD}.pte"}
    assert not [path for path in home.results.rglob("*") if path.is_file() and path.suffix != ".parquet"]


def test_compare_prints_the_very_table_that_run_printed(ran: Ended, home: Home) -> None:
    session = home.rows()[0]["session_id"]
    for arguments in ((), ("--session", session[:6])):
        again = home.harness("compare", *arguments)
        assert again.code == 0
        assert again.out == ran.out


def test_json_has_the_figures_and_what_they_were_made_of(ran: Ended, home: Home) -> None:
    (comparison,) = _json(home.harness("compare", "--json"))["comparisons"]
    assert [model["model"] for model in comparison["models"]] == ["mlp", ODD]
    assert comparison["baseline"] == "mlp"
    assert comparison["interleaved"] is True
    metrics = _metrics(comparison)
    for model in ("mlp", ODD):
        latency = metrics["steady_latency_ns_p50"][model]
        assert len(latency["values"]) == 2
        assert min(latency["values"]) <= latency["value"] <= max(latency["values"])
        assert (latency["low"], latency["high"]) == (None, None)
        assert latency["interval_reason"] == "2 processes, and it takes 3: `--processes 5`"
    assert metrics["max_abs_difference"]["mlp"]["value"] is None
    assert 0 < metrics["max_abs_difference"][ODD]["value"] < 1
    assert 0 < metrics["argmax_agreement"][ODD]["value"] <= 1
    versus = metrics["steady_latency_ns_p50"][ODD]["versus_baseline"]
    assert versus["paired"] is True
    assert versus["value"] > 0
    assert (versus["low"], versus["reason"]) == (None, latency["interval_reason"])


def test_json_names_the_versions_of_the_runtimes(ran: Ended, home: Home) -> None:
    (comparison,) = _json(home.harness("compare", "--json"))["comparisons"]
    assert {"executorch", "torch", "python"} <= comparison["versions"].keys()
    assert f"executorch {comparison['versions']['executorch']}" in ran.out


def test_csv_has_one_row_a_model_and_metric(ran: Ended, home: Home) -> None:
    rows = list(csv.DictReader(io.StringIO(home.harness("compare", "--format", "csv").out)))
    keys = [(row["model"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {model for model, _ in keys} == {"mlp", ODD}
    size = next(row for row in rows if row["metric"] == "model_bytes" and row["model"] == ODD)
    assert float(size["value"]) == float(home.rows()[0]["model_bytes"])


def test_markdown_shows_odd_names_and_does_not_obey_them(ran: Ended, home: Home) -> None:
    text = home.harness("compare", "--format", "markdown").out
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1, "a table with unequal rows"


def test_report_has_every_run_its_flags_and_the_environment(ran: Ended, home: Home) -> None:
    text = home.harness("report").out
    assert ran.out.splitlines()[0] in text
    assert "Runs (6)" in text
    assert "cpu_model" in text
    record = _json(home.harness("report", "--json"))
    assert len(record["runs"]) == 6
    assert record["why_not"] is None
    assert len(record["environment"]) == len(home.rows("environment"))
    assert all(isinstance(run["flags"], list) for run in record["runs"])
    rows = list(csv.DictReader(io.StringIO(home.harness("report", "--format", "csv").out)))
    assert {"load_method_ns", "prefill_tokens_per_s"} & {row["metric"] for row in rows} == {"load_method_ns"}
    assert home.harness("report", "--format", "markdown").out.count("\n### ") >= 2


def test_the_list_of_sessions_names_this_one(ran: Ended, home: Home) -> None:
    session = home.rows()[0]["session_id"]
    assert session in home.harness("report", "--list").out
    (row,) = _json(home.harness("report", "--list", "--json"))["sessions"]
    assert (row["session"], row["models"], row["jobs"], row["failed"]) == (session, ["mlp", ODD], 6, 0)


def test_models_and_baseline_can_be_chosen_by_name(ran: Ended, home: Home) -> None:
    (alone,) = _json(home.harness("compare", "mlp", "--json"))["comparisons"]
    assert [model["model"] for model in alone["models"]] == ["mlp"]
    (turned,) = _json(home.harness("compare", "--baseline", ODD, "--json"))["comparisons"]
    assert [model["model"] for model in turned["models"]] == [ODD, "mlp"]
    home.harness("compare", "nobody").explained(2, "nobody", "mlp")
    home.harness("compare", "--session", "zzz").explained(3, "zzz", "harness report --list")


def test_a_reader_that_stops_reading_is_no_error(ran: Ended, home: Home) -> None:
    process = home.start("report", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) in (0, 1)


def test_what_cannot_be_read_is_left_out_with_a_sentence(ran: Ended, home: Home, tmp_path: Path) -> None:
    copy = tmp_path / "results"
    shutil.copytree(home.results, copy)
    file = next((copy / "runs").rglob("*.parquet"))
    table = pq.ParquetFile(file).read()
    pq.write_table(table.replace_schema_metadata({"harness.schema_version": "99"}), file)
    assert_left_out(home.harness("compare", "--results", copy), file.name, "schema 99", "Upgrade")
    pq.write_table(pa.table({"a": [1]}), file)
    for command in ("report", "compare"):
        assert_left_out(home.harness(command, "--results", copy), file.name, "is not a table of harness")
    file.write_bytes(b"PAR1 rubbish")
    assert_left_out(home.harness("report", "--list", "--results", copy), file.name)
    for other in copy.rglob("*.parquet"):
        other.write_bytes(b"PAR1 rubbish")
    home.harness("compare", "--results", copy).explained(1, ".parquet", "Move it out")


def assert_left_out(ended: Ended, *words: str) -> None:
    """What can be read is shown, and a note says what cannot."""
    assert ended.code == 0
    text = "".join(ended.out.split())
    for word in ("WARNING: 1 attempt left out", *words):
        assert "".join(word.split()) in text


def test_the_table_is_printed_for_a_pipe_without_colour_and_fits_its_width(ran: Ended, home: Home) -> None:
    assert "\x1b" not in ran.out
    narrow = subprocess.run(
        [HARNESS, "compare"],
        cwd=home.folder,
        env=home.environment() | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert max(map(len, narrow.stdout.splitlines())) <= 80
