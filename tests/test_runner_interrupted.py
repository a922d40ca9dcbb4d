"""Ctrl-C while a job runs: a row, and no process is left behind."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.attempts import attempt, row_of
from fakes.processes import ends, pid_in
from fakes.target import GOOD, HANG, HELLO, samples, say

from harness.protocol import Progress
from harness.targets.transports.local import LocalProcess

pytestmark = pytest.mark.usefixtures("little_grace")


def interrupt(done: int, total: int) -> None:
    raise KeyboardInterrupt


@contextmanager
def default_ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt here, whoever runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_the_worker_works_is_an_interrupted_row_and_a_dead_worker(tmp_path: Path) -> None:
    made = attempt(
        [HELLO, {"spawn": str(tmp_path / "pid")}, samples(5), say(Progress(done=1, total=2)), HANG],
        on_progress=interrupt,
    )
    assert made.interrupted
    assert row_of(made)["error_kind"] == "interrupted"
    assert made.tables["samples"]["duration_ns"].to_pylist() == [5]
    assert ends(pid_in(tmp_path / "pid"))


def test_a_real_signal_while_waiting_does_the_same() -> None:
    with default_ctrl_c():
        made = attempt([HELLO, samples(5), {"interrupt": "SIGINT"}, HANG])
    assert made.status == "interrupted"


@pytest.mark.parametrize("last", [HANG, {"print": "rubbish\n"}, say(Progress(done=1, total=2))])
def test_nobody_waits_for_a_worker_that_is_given_up(monkeypatch: pytest.MonkeyPatch, last: dict[str, Any]) -> None:
    monkeypatch.setattr(LocalProcess, "close", lambda self: pytest.fail("waited"))
    made = attempt([HELLO, last, HANG], timeout_s=0.2 if last is HANG else 20.0, on_progress=interrupt)
    assert made.status in ("failed", "interrupted")


@pytest.mark.parametrize("last", ["close", "stderr_tail"])
def test_ctrl_c_after_the_last_word_loses_no_row(monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    original: Callable[[LocalProcess], Any] = getattr(LocalProcess, last)
    calls: list[int] = []

    def interrupted_once(self: LocalProcess) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(LocalProcess, last, interrupted_once)
    try:
        assert attempt([*GOOD, HANG]).interrupted
    except KeyboardInterrupt:  # would end pytest itself
        pytest.fail("no row was made")
