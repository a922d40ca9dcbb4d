"""The versions that a bisection may measure: two files, or the commits of a repository that have another file."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import UsageError
from harness.nightly.artifacts import keep
from harness.nightly.bisection import Candidate
from harness.nightly.history import Revision, commit_of, content, revisions
from harness.scratch import ScratchFolder


def candidates(
    good: str, bad: str, file: str | None, repository: Path, results: Path
) -> tuple[Candidate, list[Candidate]]:
    """The good version and those after it, their files kept by hash. Raises UsageError, ModelError, StoreError."""
    if file is None:
        if missing := next((name for name in (good, bad) if not os.path.isfile(name)), None):
            raise UsageError(f"There is no file {missing}.", "Give two files, or two commits and --file.")
        good_version, bad_version = (Candidate(name, "", keep(results, Path(name))) for name in (good, bad))
        return good_version, [bad_version]

    def candidate(revision: Revision) -> Candidate | None:
        data = content(repository, revision, file)
        if data is None:
            return None
        with ScratchFolder() as scratch:
            path = Path(scratch) / Path(file).name
            path.write_bytes(data)
            return Candidate(revision.commit[:12], revision.subject, keep(results, path))

    start, end = (commit_of(repository, name) for name in (good, bad))
    first = candidate(start)
    later = [candidate(revision) for revision in revisions(repository, start, end, file)]
    if first is None or later[-1] is None:
        lacking = start if first is None else end
        raise UsageError(f"{lacking.commit[:12]} has no file {file}.", "Give its path from the top of the repository.")
    return first, [version for version in later if version is not None]
