"""Progress of a run on standard error: a bar for a person, a line a job for a log."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from harness.cli._hints import complete
from harness.cli._waiting import LOG_EVERY_S, every
from harness.durations import in_words
from harness.errors import Interrupted
from harness.experiment.runner import Attempt
from harness.experiment.session import Session
from harness.job import Job


class Reporter:
    """Says what is going on. `quiet` leaves failures only."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._update: Callable[..., None] | None = None
        self._job, self._within, self._job_begun_s = "", "", 0.0

    def note(self, text: str) -> None:
        """A line for a person who waits."""
        if not self._quiet:
            self._console.print(escape(complete(text)), style="dim", soft_wrap=True)

    def waiting(self, device: str, holder: str) -> None:
        """Another run holds the device."""
        self.note(f"waiting for {holder}, which holds {device}")

    def failure(self, attempt: Attempt) -> None:
        """One sentence what happened, one what to do."""
        why = escape(complete(str(attempt.error)))
        self._console.print(f"[red]failed[/red] {escape(_label(attempt.job))}: {why}", soft_wrap=True)

    def within(self, done: int, total: int) -> None:
        """How far a long job has come."""
        if self._update is not None:
            self._within = f" {100 * done // max(total, 1)} %"
            self._update(within=self._within, share=min(1.0, done / max(total, 1)))

    @contextmanager
    def jobs(self, jobs: Sequence[Job]) -> Iterator[Callable[[Attempt | Job], None]]:
        """Within the block, call the function it gives for every job that has ended. `jobs` may grow meanwhile."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[within]}"),
            _Times(),
        )
        person = self._console.is_terminal and not self._quiet
        with (
            Progress(*columns, console=self._console, disable=not person) as bar,
            contextlib.nullcontext() if person or self._quiet else every(LOG_EVERY_S, self._log_job),
        ):
            self._begin_job(jobs[0] if jobs else None)
            task = bar.add_task(escape(self._job), total=len(jobs), within="", share=0.0)
            self._update = update = functools.partial(bar.update, task)
            done, begun = 0, time.monotonic()

            def advance(outcome: Attempt | Job) -> None:
                nonlocal done
                done += 1
                self._begin_job(jobs[done] if done < len(jobs) else None)
                update(completed=done, total=len(jobs), description=escape(self._job) or "done", within="", share=0.0)
                if isinstance(outcome, Job):
                    self.note(f"skipped {_label(outcome)}: this model failed before")
                elif outcome.error is not None:
                    self.failure(outcome)
                elif not person:
                    left_s = (time.monotonic() - begun) / done * (len(jobs) - done)
                    left = f", about {in_words(left_s)} left" if left_s >= 1 else ""
                    self.note(f"[{done}/{len(jobs)}] {_label(outcome.job)}{left}")

            yield advance

    def _begin_job(self, job: Job | None) -> None:
        self._job, self._within, self._job_begun_s = _label(job) if job else "", "", time.monotonic()

    def _log_job(self) -> None:
        """For a log: which job it is, how far it has come where that is known, and how long it has taken."""
        if self._job:
            parts = [self._within.strip(), in_words(time.monotonic() - self._job_begun_s)]
            self.note(f"{self._job}: {', '.join(part for part in parts if part)}")

    def summary(self, session: Session, results: Path) -> None:
        """Where the rows are."""
        failed = f"; {len(session.failed)} failed, {len(session.skipped)} skipped" if session.failed else ""
        again = f"`harness compare --session {session.session_id}` prints the table again"
        if not session.succeeded:
            again = f"`harness report --session {session.session_id}` says more"
        self.note(f"session {session.session_id} is in {results}{failed}; {again}")

    @contextmanager
    def interruptible(self, session: Session, results: Path) -> Iterator[None]:
        """Says within the block where the rows are, if there are some, when the user stops it."""
        try:
            yield
        except KeyboardInterrupt as stopped:
            stored = session.succeeded or session.failed or session.interrupted
            where = f"What had ended is in {results}: `harness report --session {session.session_id}`."
            raise Interrupted("interrupted.", where if stored else "") from stopped


class _Times(ProgressColumn):
    """How long it has taken, and how long it will: `2 min 32 s, about 24 s left`, by what is done until now."""

    def render(self, task: Task) -> Text:
        """One task's."""
        spent_s, done = task.elapsed or 0.0, task.completed + float(task.fields["share"])
        if not done or task.total is None or task.finished:
            return Text(in_words(spent_s))
        left_s = spent_s * (task.total - done) / done
        return Text(f"{in_words(spent_s)}, about {in_words(left_s)} left")


def _label(job: Job) -> str:
    return f"{job.measure} {job.model}" + (f", block {job.block}" if job.measure != "quality" else "")
