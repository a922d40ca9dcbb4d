"""A worker at the other end of a client (`adb shell`, `ssh`), and the shell lines that keep it on a leash.

Neither client says reliably how a command ended: `adb shell` may return 0 without a word when its stream breaks, and
`ssh` leaves a process running when it is killed. So every line that harness sends ends with a mark on standard error,
and a worker lives only as long as somebody holds its standard input.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from harness.errors import WorkerError
from harness.targets.transports.local import LocalProcess

_MARK = "harness-exit"
_TIMES = r"\d+m[\d.,]+s[ \t]+\d+m[\d.,]+s"
_END = re.compile(rf"\s*((?:{_TIMES}\s+)*){_MARK} (\d+)\s*\Z")
# The codes of a shell that could not start a program.
_NOT_STARTED = (126, 127)


def marked(script: str) -> str:
    """`script` with its mark: the seconds of processor that it took, and its exit code."""
    return f"(\n{script}\n); code=$?; times >&2; echo {_MARK} $code >&2; exit $code"


def ending(stderr: str) -> tuple[int, float] | None:
    """Exit code and seconds of processor of a marked script; None if it did not get to its end."""
    mark = _END.search(stderr)
    if mark is None:
        return None
    parts = re.findall(r"(\d+)m([\d.,]+)s", mark.group(1))
    return int(mark.group(2)), sum(60 * int(m) + float(s.replace(",", ".")) for m, s in parts)


def without_mark(stderr: str) -> str:
    """Standard error without the mark."""
    return _END.sub("", stderr)


def worker_script(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Shell lines that start `command` with the first line of standard input, and kill it when that input ends before
    it does. The watching is done by the shell's own `read`, so that nothing else is left when the worker has ended.
    """
    words = shlex.join([*(f"{name}={value}" for name, value in environment.items()), *command])
    return (
        "exec 3<&0\n"
        "IFS= read -r request <&3 || exit 1\n"
        f"printf '%s\\n' \"$request\" | exec env {words} 3<&- &\n"
        "worker=$!\n"
        '{ while read -r _ <&3; do :; done; kill -9 "$worker"; } >/dev/null 2>&1 &\n'
        "watch=$!\n"
        'wait "$worker"; code=$?\n'
        # Not to be caught: Android's shell (mksh) loses the other signals to a child that it has just forked.
        'kill -9 "$watch" 2>/dev/null\n'
        "exit $code"
    )


class RemoteProcess:
    """A `WorkerProcess`. `explain` makes the error when the client ended without the mark; `spent` is told the seconds
    of processor that the worker took.
    """

    def __init__(
        self, client: LocalProcess, explain: Callable[[str], WorkerError], spent: Callable[[float], None]
    ) -> None:
        self._client, self._explain, self._spent = client, explain, spent
        self._code: int | None = None
        self._ended = False

    def lines(self, timeout_s: float) -> Iterator[str]:
        """As `WorkerProcess.lines`. Raises WorkerError `device` when the device went away in the middle."""
        yield from self._client.lines(timeout_s)
        # A reader that has heard the last word is gone by now.
        code = self.close()
        if code is None:
            raise self._explain(without_mark(self._client.stderr_tail()))
        if code in _NOT_STARTED:
            why = (without_mark(self._client.stderr_tail()).strip().splitlines() or ["no reason given"])[-1]
            raise WorkerError(
                "device",
                f"The device cannot start the worker ({why.rstrip('.')}).",
                "It must run 64-bit Arm programs, and allow them in the folder where harness keeps its files.",
            )

    def close(self) -> int | None:
        """As `WorkerProcess.close`; None when the device went away."""
        if not self._ended:
            self._client.close()
            self._end()
        return self._code

    def kill(self) -> int | None:
        """As `WorkerProcess.kill`: on the device, the end of its input ends the worker."""
        if not self._ended:
            self._client.kill()
            self._end()
        return -9 if self._code is None else self._code

    def stderr_tail(self) -> str:
        """As `WorkerProcess.stderr_tail`."""
        return without_mark(self._client.stderr_tail())

    def _end(self) -> None:
        self._ended = True
        if (end := ending(self._client.stderr_tail())) is not None:
            self._spent(end[1])
            self._code = 128 - end[0] if end[0] > 128 else end[0]
