"""The shell lines that keep a worker on a leash, in the shells that devices have; no device is needed."""

from __future__ import annotations

import select
import shutil
import subprocess

import pytest

from harness.targets.transports.remote_process import ending, marked, worker_script

PATIENCE_S = 60.0


@pytest.mark.parametrize("shell", ["sh", "bash", "mksh"])
def test_what_watches_a_worker_ends_with_it_however_soon_that_is(shell: str) -> None:
    """Standard input stays open, as a client holds it. mksh lost one signal in a hundred to a watcher just forked."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = marked(worker_script(["sh", "-c", "exit 5"], {}))
    for _ in range(600 if shell == "mksh" else 20):
        with subprocess.Popen(
            [shell, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(b"request\n")
            process.stdin.flush()
            ended, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
            process.stdin.close()  # which ends a watcher that was left
            assert ended, "something still holds the worker's output"
            assert process.stdout.read() == b""
            end = ending(process.stderr.read().decode())
            assert end is not None
            assert end[0] == 5
