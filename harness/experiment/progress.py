"""What a run tells whoever waits for it: events, given to one function. `str(event)` is a sentence, so that
`harness.run(..., progress=print)` shows how a run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.experiment.runner import Attempt
from harness.job import Job


@dataclass(frozen=True)
class Note:
    """A sentence for a person who waits."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Waiting:
    """Nothing goes on until something outside happens: which, as a sentence. Shown also where no progress is: a person
    may have to do something.
    """

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Describing:
    """A worker is asked what a model takes and gives."""

    model: str

    def __str__(self) -> str:
        return f"describing {self.model}"


@dataclass(frozen=True)
class Measuring:
    """The jobs begin. `jobs` are all of them in their order; blocks may be added to them meanwhile."""

    jobs: Sequence[Job]

    def __str__(self) -> str:
        return f"measuring: {len(self.jobs)} processes, one after the other"


@dataclass(frozen=True)
class Working:
    """How far the job in hand has come: `done` of `total`, in units of its own."""

    done: int
    total: int

    def __str__(self) -> str:
        return f"{100 * self.done // max(self.total, 1)} % of this process"


@dataclass(frozen=True)
class Ended:
    """A job has ended: `attempt`, or None where it was skipped since its model failed before. `done` jobs of `total`
    are over.
    """

    job: Job
    attempt: Attempt | None
    done: int
    total: int

    def __str__(self) -> str:
        if self.attempt is None:
            return f"skipped {job_label(self.job)}: this model failed before"
        if self.attempt.error is not None:
            return str(Failed(self.attempt))
        return f"[{self.done}/{self.total}] {job_label(self.job)}"


@dataclass(frozen=True)
class Failed:
    """A model could not be described, or not asked to do what was wanted."""

    attempt: Attempt

    def __str__(self) -> str:
        return f"failed {job_label(self.attempt.job)}: {self.attempt.error}"


Event = Note | Waiting | Describing | Measuring | Working | Ended | Failed
Progress = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Tell nobody."""


def job_label(job: Job) -> str:
    """`latency baseline, block 3`"""
    return f"{job.measure} {job.model}" + (f", block {job.block}" if job.measure != "quality" else "")
