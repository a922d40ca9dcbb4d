"""`harness nightly` as a cron job calls it: real runs of a tiny model, the nights before them copied from the first."""

from __future__ import annotations

import json
import shutil
import signal
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli.driving import Home, finish
from fakes.processes import ends
from models_on_disk import Models

from harness.nightly.artifacts import keep
from harness.store.schemas import TABLES
from harness.store.writer import write_attempt, write_row

# A rerun starts 20 processes and more: those of the native worker begin in milliseconds.
RUNTIME = 'runtime = "native"' if shutil.which("c++") or shutil.which("g++") else ""
CONFIG = f"""
target = "x86"
models = ["model.pte"]
results = "results"
metrics = ["steady_latency_ns_p50", "model_bytes"]
[run]
{RUNTIME}
processes = 1
min-duration = 0
min-iterations = 3
max-warmup = 0
no-memory = true
"""


@pytest.fixture
def farm(home: Home, models: Models) -> Home:
    """A folder with a configuration and its model."""
    (home.folder / "nightly.toml").write_text(CONFIG, encoding="utf-8")
    (home.folder / "model.pte").write_bytes(models.mlp.read_bytes())
    return home


def rows(file: Path) -> list[dict[str, Any]]:
    return pq.ParquetFile(file).read().to_pylist()  # type: ignore[no-any-return]


def pretend(home: Home, days: list[int], good: int, file: Path, speed: float) -> None:
    """Make nights so many `days` ago of the one there is; the first `good` were of `file`, `speed` times as fast."""
    (ended,) = (home.results / "nights").rglob("*2-ended.parquet")
    (run,) = (home.results / "runs").rglob("*.parquet")
    night, attempt = rows(ended)[0], rows(run)[0]
    for old in (home.results / "nights").rglob("*.parquet"):
        old.unlink()
    for number, day in enumerate(days, 1):
        session, fast = uuid.uuid4().hex[:12], number <= good
        started = night["started_at"] - timedelta(days=day)
        mine = attempt | {"attempt_id": uuid.uuid4().hex, "session_id": session, "started_at": started}
        if fast:
            mine["model_sha256"] = keep(home.results, file)
        tables = {"runs": pa.Table.from_pylist([mine], TABLES["runs"])}
        for name in ("samples", "scalars"):
            (path,) = (home.results / name).rglob(run.name)
            copied = [row | {"attempt_id": mine["attempt_id"]} for row in rows(path)]
            for row in copied if fast else ():
                if name == "samples":
                    row["duration_ns"] = int(row["duration_ns"] / speed)
            tables[name] = pa.Table.from_pylist(copied, TABLES[name])
        date = started.date().isoformat()
        write_attempt(home.results, date, "x86", tables)
        row = night | {"number": number, "session_id": session, "started_at": started}
        write_row(home.results, "nights", date, "x86", f"night-{number:06d}-2-ended", row)


def test_a_slower_and_larger_file_is_measured_again_and_stands_until_somebody_resolves_it(
    farm: Home, models: Models
) -> None:
    first = farm.harness("nightly", "nightly.toml")
    assert first.code == 0, first.err
    assert "Night 1 of nightly.toml on x86" in first.out
    assert "No regression is unresolved." in first.out
    # The model was another one, and a hundred times as fast: whatever this machine does, that is a change.
    pretend(farm, [6, 5, 4, 3, 2, 1], 4, models.other, 100)
    model = farm.folder / "model.pte"
    model.write_bytes(model.read_bytes() + bytes(1000))
    ended = farm.harness("nightly", "run", "nightly.toml", "--json", "--summary", "summary.md", "--quiet")
    assert ended.code == 3, ended.err
    made = json.loads(ended.out)["data"]
    assert (made["night"]["number"], made["night"]["status"]) == (7, "complete")
    slower, larger = sorted(made["alerts"], key=lambda alert: alert["change_night"])
    assert (slower["metric"], slower["change_night"]) == ("steady_latency_ns_p50", 5)
    assert slower["rerun_processes"] in (10, 30, 70), "whatever the processes of a night are"
    assert slower["rerun_low"] < slower["rerun_ratio"] < slower["rerun_high"]
    again = {run["model_sha256"] for run in farm.rows() if run["session_id"] in slower["rerun_session_ids"]}
    assert again == {slower["good_sha256"], slower["bad_sha256"]}
    # Both files take the same time; whether the processes happen to decide that is not for a test to demand.
    assert (
        slower["state"]
        == {"no regression": "withdrawn", "regression": "published", "undecided": "provisional"}[
            slower["rerun_decision"]
        ]
    )
    assert (larger["metric"], larger["change_night"], larger["state"]) == ("model_bytes", 7, "published")
    summary = (farm.folder / "summary.md").read_text(encoding="utf-8")
    assert "### Night 7 of nightly.toml on x86" in summary
    assert all(f"| {alert['alert_id']} | {alert['state']} |" in summary for alert in (slower, larger))

    status = farm.harness("nightly", "status", "nightly.toml", "--json")
    assert (status.code, json.loads(status.out)["data"]) == (
        3,
        made | {"notes": json.loads(status.out)["data"]["notes"]},
    )
    for alert in made["standing"]:
        resolved = farm.harness("nightly", "resolve", "nightly.toml", alert[:6], "--reason", "more layers")
        assert resolved.code == 0, resolved.err
    done = farm.harness("nightly", "status", "nightly.toml", "-q")
    assert (done.code, "more layers" in done.out) == (0, True)
    farm.harness("nightly", "resolve", "nightly.toml", larger["alert_id"]).explained(2, "No published alert", "none")


def test_a_run_that_cannot_be_made_is_a_failed_night_and_one_sentence(farm: Home, models: Models) -> None:
    (farm.folder / "model.pte").write_bytes(models.foreign.read_bytes())
    ended = farm.harness("nightly", "nightly.toml", "--json", "-q")
    assert ended.code == 1, ended.err
    made = json.loads(ended.out)["data"]
    assert made["night"]["status"] == "failed"
    assert "AcmeNpuBackend" in made["night"]["reason"]
    assert made["notes"][0].startswith("Night 1 ")
    assert farm.harness("nightly", "status", "nightly.toml").code == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("processes = 1", "processes = 0", "processes"),
        ("processes = 1", "proceses = 1", "proceses"),
        ('"x86"', '"x87"', "x87"),
        ('"model.pte"', '"modle"', "modle"),
    ],
)
def test_a_wrong_configuration_is_one_sentence_and_no_night(farm: Home, old: str, new: str, said: str) -> None:
    (farm.folder / "nightly.toml").write_text(CONFIG.replace(old, new), encoding="utf-8")
    farm.harness("nightly", "nightly.toml").explained(2, said)
    assert not farm.results.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_night_that_is_ended_from_outside_leaves_no_process_and_is_said(farm: Home, number: signal.Signals) -> None:
    (farm.folder / "nightly.toml").write_text(CONFIG.replace("min-duration = 0", "min-duration = 60"))
    night = farm.start("nightly", "nightly.toml")
    child = _child_of(night.pid)
    night.send_signal(number)
    assert finish(night).code == (130 if number == signal.SIGTERM else -number)
    assert ends(child)
    status = farm.harness("nightly", "status", "nightly.toml")
    assert status.code == 0, status.err
    assert "cut in the middle" in status.out


def _child_of(process: int) -> int:
    """The worker of a night that measures for a minute: a child that has lived for longer than one that describes."""
    seen: dict[str, int] = {}
    for _ in range(1000):
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        seen = {child: seen.get(child, 0) + 1 for child in children}
        for child, times in seen.items():
            if times > 30:
                return int(child)
        time.sleep(0.1)
    raise AssertionError("no worker was started")


def test_time_is_set_against_a_reference_that_is_measured_beside(farm: Home, models: Models) -> None:
    named = CONFIG.replace('results = "results"', 'results = "results"\nreference = "reference.pte"')
    (farm.folder / "nightly.toml").write_text(named, encoding="utf-8")
    missing = farm.harness("nightly", "nightly.toml")
    missing.explained(2, "reference.pte is neither a file nor the name of a model")
    (farm.folder / "reference.pte").write_bytes(models.mlp.read_bytes() + b"\0")
    night = farm.harness("nightly", "nightly.toml", "--json")
    assert night.code == 0, night.err
    series = {one["metric"]: one for one in json.loads(night.out)["data"]["series"]}
    assert {one["model"] for one in series.values()} == {"model"}
    assert series["steady_latency_ns_p50"]["kind"].startswith("measured, against ")
    assert series["steady_latency_ns_p50"]["points"][0]["relative"] > 0
    assert series["model_bytes"]["kind"] == "measured"
    shown = farm.harness("nightly", "status", "nightly.toml")
    assert "measured, against " in shown.out
