"""The real `harness` executable, as a user's shell starts it, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

HARNESS = str(Path(sys.executable).with_name("harness"))
# As little as can be measured, and nothing that depends on how fast this machine is.
QUICK = ("--min-duration", "0", "--min-iterations", "3", "--max-warmup", "0")
PATIENCE_S = 180.0


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def explained(self, code: int, *words: str) -> None:
        """It ended with `code` and one sentence what happened, with `words` in it, and one what to do; no traceback."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err + self.out
        said = self.err.strip()
        assert said, "not a word"
        assert said.endswith((".", ").", "`).")), said
        for word in words:
            assert word in said, said


@dataclass(frozen=True)
class Home:
    """A folder with results and a cache, and the commands run in it."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """A command in the background. SIGINT reaches it even where the test runner itself ignores it."""
        return subprocess.Popen(
            [HARNESS, *map(str, arguments)],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=self.environment(),
            preexec_fn=_hear_interrupts,
        )

    def harness(self, *arguments: object) -> Ended:
        """A command, to its end."""
        return finish(self.start(*arguments))

    def environment(self) -> dict[str, str]:
        """Nothing of the user's own settings; a wide page, so that no name is folded."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
        return kept | {"HARNESS_CACHE": str(self.folder / "cache"), "COLUMNS": "200", "NO_COLOR": "1"}

    def rows(self, table: str = "runs") -> list[dict[str, Any]]:
        """The rows of a table as any Parquet reader sees them, in no order."""
        files = [file for file in (self.results / table).rglob("*.parquet") if not file.name.startswith(".")]
        return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for its end."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Ended(process.returncode, out, err)


def worker_of(process: subprocess.Popen[str]) -> int:
    """The process id of the worker that `process` has started; waits until there is one that has begun to work."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                command = stat.with_name("cmdline").read_bytes()
                maps = stat.with_name("maps").read_text() if parent == process.pid else ""
            except (OSError, ValueError, IndexError):
                continue
            if parent == process.pid and b"harness.worker" in command and "libtorch" in maps:
                return int(stat.parent.name)
        time.sleep(0.02)
    raise AssertionError("no worker was started")


def until_stored(home: Home, process: subprocess.Popen[str], attempts: int) -> None:
    """Wait until that many attempts are in the store."""
    deadline = time.monotonic() + PATIENCE_S
    while len(list(home.results.glob("runs/*/*/[!.]*.parquet"))) < attempts:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
