"""A run that is ended from outside, and two at once: what had been measured stays, and nothing runs on."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli.driving import QUICK, Home, finish, until_stored, worker_of
from fakes.processes import ends
from models_on_disk import Models
from report.conftest import Session

# Long enough in the worker's loop to be met there, whatever this machine's speed.
LONG = (
    "-t",
    "x86",
    "-n",
    "99",
    "--no-memory",
    "--no-quality",
    "--min-duration",
    "1",
    "--min-iterations",
    "1",
    "--max-warmup",
    "0",
)
SHORT = ("-t", "x86", "-n", "1", "--no-memory", "--no-quality", *QUICK)


def _start(home: Home, models: Models, attempts: int) -> tuple[subprocess.Popen[str], int]:
    """A long run of which so many attempts are stored, and its worker on the next."""
    process = home.start("run", "-m", models.mlp, *LONG)
    until_stored(home, process, attempts)
    return process, worker_of(process)


def _statuses(home: Home) -> list[str]:
    return [run["status"] for run in sorted(home.rows(), key=lambda run: run["position"])]


@pytest.mark.parametrize(("number", "attempts"), [(signal.SIGINT, 1), (signal.SIGTERM, 0)])
def test_an_interrupted_run_keeps_what_had_ended_and_records_what_had_not(
    home: Home, models: Models, number: signal.Signals, attempts: int
) -> None:
    process, worker = _start(home, models, attempts)
    process.send_signal(number)
    ended = finish(process)
    ended.explained(130, "What had ended is in results: `harness report --session ")
    assert ends(worker)
    assert ended.out == ""
    assert _statuses(home) == ["ok"] * attempts + ["interrupted"]
    compared = home.harness("compare")
    assert compared.code == (0 if attempts else 3), compared.err
    assert "interrupted" in home.harness("report").out


def test_a_run_killed_with_9_leaves_no_worker_and_a_sound_store(home: Home, models: Models) -> None:
    process, worker = _start(home, models, 1)
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    assert ends(worker)
    assert _statuses(home) == ["ok"]
    assert home.harness("compare").code == 0
    again = home.harness("run", "-m", models.mlp, *SHORT)
    assert again.code == 0, again.err
    assert _statuses(home).count("ok") == 2


def test_two_runs_at_once_take_turns_and_both_are_stored(home: Home, models: Models) -> None:
    runs = [home.start("run", "-m", model, *SHORT) for model in (models.mlp, models.other)]
    for ended in map(finish, runs):
        assert ended.code == 0, ended.err
    rows = sorted(home.rows(), key=lambda run: run["started_at"])
    assert sorted(run["model"] for run in rows) == ["mlp", "other"]
    assert len({run["session_id"] for run in rows}) == 2
    first, second = rows
    assert first["finished_at"] <= second["started_at"], "they measured each other"


def test_a_run_that_is_stopped_before_there_is_a_row_speaks_of_none(home: Home, models: Models) -> None:
    """It waits for the device, which this test holds."""
    from harness.lease import lease

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(home.folder / "cache"))
        with lease("x86-cpu", 1.0, lambda holder: None):
            process = home.start("run", "-m", models.mlp, *SHORT, "--quiet")
            assert process.stderr is not None
            while "waiting for" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            ended = finish(process)
    assert (ended.code, ended.err.splitlines()[-1], home.rows()) == (130, "harness: interrupted.", [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [("table",), ("report", "--html", "page.html"), ("figure", "pareto")])
def test_a_reader_that_is_stopped_speaks_of_no_results_and_leaves_no_file(
    home: Home, command: tuple[str, ...], number: signal.Signals
) -> None:
    """Whatever it was doing then: importing, reading, computing."""
    session = Session()
    for block in range(2):
        session.add("base", block, samples={"steady": [1_000_000] * 3}, scalars={"loss_nats": 1.5})
    session.write(home.results)
    before = sorted(home.folder.rglob("*"))
    stopped = 0
    for library in ("", "numpy", "pandas", "pyarrow"):
        process = home.start(*command)
        _until_loaded(process, library)
        process.send_signal(number)
        ended = finish(process)
        if ended.code in (0, 3):  # it was quicker; `figure pareto` has too little to draw
            for file in set(home.folder.rglob("*")) - set(before):
                file.unlink()
            continue
        stopped += 1
        assert (ended.code, ended.out, ended.err.strip()) == (130, "", "harness: interrupted."), library
        assert sorted(home.folder.rglob("*")) == before
    assert stopped


def _until_loaded(process: subprocess.Popen[str], library: str) -> None:
    """Until the process hears signals and has loaded a library of that name (any for an empty one), or has ended."""
    folder = Path(f"/proc/{process.pid}")
    while process.poll() is None:
        try:
            caught = int((folder / "status").read_text().partition("SigCgt:")[2].split()[0], 16)
            if caught >> (signal.SIGTERM - 1) & 1 and library in (folder / "maps").read_text():
                return
        except (OSError, IndexError):
            return
        time.sleep(0.005)
