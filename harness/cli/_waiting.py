"""What is shown on standard error while a command works for longer than a moment: the step, the time, what is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from harness.durations import TaskClock

LOG_EVERY_S = 15.0
"""Between two lines where standard error is no terminal."""


@contextmanager
def waiting(key: str, title: str) -> Iterator[TaskClock]:
    """Within the block, tell the clock that it gives which step begins, and how far that has come.

    A terminal has one line that is always current, and goes at the end; a log gets a line every 15 seconds. Nothing is
    shown before the first step: a command that finds its work done says nothing. `key` names the task among those whose
    durations are recorded.
    """
    clock, console = TaskClock(key), Console(stderr=True, highlight=False)

    def log() -> None:
        if clock.step is not None:
            console.print(f"{title}: {clock.sentence()}", markup=False, soft_wrap=True)

    with _live(clock, title, console) if console.is_terminal else every(LOG_EVERY_S, log):
        yield clock
    clock.finish()


@contextmanager
def _live(clock: TaskClock, title: str, console: Console) -> Iterator[None]:
    spinner = Spinner("dots")

    def current() -> Text:
        if clock.step is None:
            return Text()
        line = f"{spinner.render(time.monotonic())} {title}: {clock.sentence()}"
        return Text(line, no_wrap=True, overflow="ellipsis")  # a second line would stay when the first one goes

    with Live(get_renderable=current, console=console, refresh_per_second=4, transient=True):
        yield


@contextmanager
def every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` in a thread every so many seconds until the block ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            act()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
