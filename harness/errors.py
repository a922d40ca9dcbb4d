"""Every error a user can meet: one sentence that says what happened, one that says what to do next.

The command line prints them as they are and exits with `exit_code`; a traceback is a defect.
"""

from __future__ import annotations


class HarnessError(Exception):
    """An error with a remedy. `exit_code` follows the command line: 1 a job failed, 2 usage, 3 nothing comparable."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(HarnessError):
    """The request itself cannot be carried out as written."""

    exit_code = 2


class Interrupted(HarnessError):
    """The user stopped it; `hint` says where to find what had ended, where there is something."""

    exit_code = 130


class ModelError(HarnessError):
    """A model file is missing, damaged, or not what its manifest says."""


class DataError(HarnessError):
    """The evaluation text is missing or is not the text that its hash names."""


class WorkerError(HarnessError):
    """A worker process ended without `done`, or reported `error`. `kind` is a short, stable, machine-readable word."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.kind = kind


class StoreError(HarnessError):
    """Results could not be written or read."""


class NothingComparable(HarnessError):
    """There is nothing in the store that may be compared."""

    exit_code = 3
