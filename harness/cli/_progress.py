"""Progress of a run on standard error: a bar for a person, a line a job for a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from harness.cli._hints import complete
from harness.cli._waiting import LOG_EVERY_S, every
from harness.durations import in_words
from harness.experiment.progress import Describing, Ended, Event, Failed, Measuring, Note, Waiting, Working, job_label
from harness.experiment.run import Outcome
from harness.experiment.runner import Attempt
from harness.job import Job


class Reporter:
    """Says what is going on, event by event; within a `with` block it may show a bar. `quiet` leaves failures, and
    what is waited for.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._jobs: Sequence[Job] = ()
        self._begun_s = self._job_begun_s = 0.0
        self._job, self._within = "", ""
        self._log = ExitStack()

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, event: Event) -> None:
        """Tell a person."""
        if isinstance(event, Note | Describing):
            self.note(str(event))
        elif isinstance(event, Waiting):
            self._line(event.text)
        elif isinstance(event, Measuring):
            self._begin(event.jobs)
        elif isinstance(event, Working):
            self._within = f" {100 * event.done // max(event.total, 1)} %"
            if self._bar is not None:
                share = min(1.0, event.done / max(event.total, 1))
                self._bar.update(self._task, within=self._within, share=share)
        elif isinstance(event, Ended):
            self._ended(event)
        elif isinstance(event, Failed):
            self._failure(event.attempt)

    def note(self, text: str) -> None:
        """A line for a person who waits."""
        if not self._quiet:
            self._line(text)

    def waiting(self, device: str, holder: str) -> None:
        """Another run holds the device; shown in any case."""
        self._line(f"waiting for {holder}, which holds {device}")

    def _line(self, text: str) -> None:
        self._console.print(escape(complete(text)), style="dim", soft_wrap=True)

    def summary(self, outcome: Outcome) -> None:
        """Where the rows are."""
        failed = f"; {len(outcome.failures)} failed, {outcome.skipped} skipped" if outcome.failures else ""
        again = f"`harness compare --session {outcome.session_id}` prints the table again"
        if not outcome.succeeded:
            again = f"`harness report --session {outcome.session_id}` says more"
        self.note(f"session {outcome.session_id} is in {outcome.results}{failed}; {again}")

    def _begin(self, jobs: Sequence[Job]) -> None:
        self._jobs, self._begun_s = jobs, time.monotonic()
        self._begin_job(jobs[0] if jobs else None)
        if self._quiet:
            return
        if not self._console.is_terminal:
            self._log.enter_context(every(LOG_EVERY_S, self._log_job))
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[within]}"),
            _Times(),
        )
        self._bar = Progress(*columns, console=self._console)
        self._task = self._bar.add_task(escape(self._job), total=len(jobs), within="", share=0.0)
        self._bar.start()

    def _ended(self, event: Ended) -> None:
        self._begin_job(self._jobs[event.done] if event.done < event.total else None)
        if self._bar is not None:
            following = escape(self._job) or "done"
            self._bar.update(
                self._task, completed=event.done, total=event.total, description=following, within="", share=0.0
            )
        if event.attempt is None:
            self.note(str(event))
        elif event.attempt.error is not None:
            self._failure(event.attempt)
        elif self._bar is None:
            left_s = (time.monotonic() - self._begun_s) / event.done * (event.total - event.done)
            left = f", about {in_words(left_s)} left" if left_s >= 1 else ""
            self.note(f"{event}{left}")
        if event.done == event.total:
            self._stop()

    def _begin_job(self, job: Job | None) -> None:
        self._job, self._within, self._job_begun_s = job_label(job) if job else "", "", time.monotonic()

    def _log_job(self) -> None:
        """For a log: which job it is, how far it has come where that is known, and how long it has taken."""
        if self._job:
            parts = [self._within.strip(), in_words(time.monotonic() - self._job_begun_s)]
            self.note(f"{self._job}: {', '.join(part for part in parts if part)}")

    def _failure(self, attempt: Attempt) -> None:
        """One sentence what happened, one what to do."""
        why = escape(complete(str(attempt.error)))
        self._console.print(f"[red]failed[/red] {escape(job_label(attempt.job))}: {why}", soft_wrap=True)

    def _stop(self) -> None:
        self._log.close()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class _Times(ProgressColumn):
    """How long it has taken, and how long it will: `2 min 32 s, about 24 s left`, by what is done until now."""

    def render(self, task: Task) -> Text:
        """One task's."""
        spent_s, done = task.elapsed or 0.0, task.completed + float(task.fields["share"])
        if not done or task.total is None or task.finished:
            return Text(in_words(spent_s))
        left_s = spent_s * (task.total - done) / done
        return Text(f"{in_words(spent_s)}, about {in_words(left_s)} left")
