"""One run at a time on a device."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import lease as module
from harness.errors import HarnessError
from harness.lease import lease

HOLDER = """
import sys
from harness.lease import lease
with lease(sys.argv[1], 0, print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.01)


@contextmanager
def holder(device: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a device until its standard input is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, device], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def nobody(name: str) -> None:
    pytest.fail(f"waited for {name}")


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.parametrize("end", [let_go, subprocess.Popen.kill], ids=["ends", "is killed"])
def test_a_second_process_waits_for_the_first_and_is_told_which_it_is(
    end: Callable[[subprocess.Popen[str]], None],
) -> None:
    told = []
    with holder("cpu") as process:

        def on_wait(name: str) -> None:
            told.append(name)
            end(process)

        with lease("cpu", 20, on_wait):
            assert told == [f"process {process.pid}"]


def test_patience_ends_in_a_sentence() -> None:
    told: list[str] = []
    with holder("cpu") as process, pytest.raises(HarnessError) as caught, lease("cpu", 0.05, told.append):
        pytest.fail("both hold it")
    assert caught.value.message == f"The device cpu is still held by process {process.pid} after 0.05 s."
    assert "--lease-timeout" in caught.value.hint
    assert told == [f"process {process.pid}"]


def test_a_free_device_is_taken_at_once_and_again() -> None:
    for _ in range(2):
        with lease("cpu", 0, nobody):
            pass


def test_a_block_that_fails_lets_go() -> None:
    with pytest.raises(ZeroDivisionError), lease("cpu", 0, nobody):
        _ = 1 / 0
    with lease("cpu", 0, nobody):
        pass


def test_two_devices_are_held_at_once() -> None:
    with lease("cpu", 0, nobody), lease("cuda:0", 0, nobody):
        pass


def test_even_the_same_process_cannot_hold_a_device_twice() -> None:
    with (
        lease("cpu", 0, nobody),
        pytest.raises(HarnessError, match=f"process {os.getpid()}"),
        lease("cpu", 0, lambda _: None),
    ):
        pytest.fail("held twice")


def test_leases_lie_in_the_cache_whatever_a_device_is_called(cache: Path) -> None:
    with lease("../usb/1 0", 0, nobody):
        assert [path.parent for path in cache.rglob("*.lock")] == [cache / "leases"]


def test_a_device_that_nobody_names_is_held_by_another_process(cache: Path) -> None:
    """Between its lock and its name there is a moment in which a holder has none."""
    told: list[str] = []
    with holder("cpu"):
        (cache / "leases" / "cpu.lock").write_text("")
        with pytest.raises(HarnessError), lease("cpu", 0, told.append):
            pytest.fail("both hold it")
    assert told == ["another process"]
