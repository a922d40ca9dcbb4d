"""The versions of one file in a git repository, read through git itself; nothing is checked out."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError

_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Revision:
    """A commit and the first line of its message."""

    commit: str
    subject: str


def commit_of(repository: Path, name: str) -> Revision:
    """The commit that a branch, tag or hash names. Raises UsageError."""
    commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit is None:
        raise UsageError(
            f"{name!r} is neither a file nor a commit of {repository}.", "Give two files, or two commits and --file."
        )
    return _described(repository, commit.decode().strip())


def revisions(repository: Path, good: Revision, bad: Revision, file: str) -> list[Revision]:
    """The commits after `good` up to `bad` on its main line that changed `file`, the oldest first, and `bad`.

    The main line is that of first parents: a branch that was merged is one change. Raises UsageError where `good` does
    not lead to `bad`.
    """
    if _git(repository, "merge-base", "--is-ancestor", good.commit, bad.commit) is None:
        raise UsageError(
            f"{good.commit[:12]} is no ancestor of {bad.commit[:12]}.", "Give the good commit first, then a later one."
        )
    span = f"{good.commit}..{bad.commit}"
    listed = _git(repository, "rev-list", "--first-parent", "--reverse", "--end-of-options", span, "--", file) or b""
    changes = [_described(repository, commit) for commit in listed.decode().split()]
    return changes if changes and changes[-1] == bad else [*changes, bad]


def content(repository: Path, revision: Revision, file: str) -> bytes | None:
    """The file's bytes at a commit, as a checkout would have them; None where it has no such file. Raises UsageError
    where git has only a pointer to them.
    """
    data = _git(repository, "cat-file", "--filters", f"{revision.commit}:{file}")
    if data is not None and data.startswith(_POINTER):
        raise UsageError(
            f"{file} at {revision.commit[:12]} is only a pointer of Git LFS.", "Install git-lfs, then `git lfs fetch`."
        )
    return data


def _described(repository: Path, commit: str) -> Revision:
    subject = _git(repository, "show", "--no-patch", "--format=%s", commit) or b""
    return Revision(commit, subject.decode(errors="replace").strip())


def _git(repository: Path, *arguments: str) -> bytes | None:
    """What git prints; None where it refuses. Raises UsageError where there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    except OSError as error:
        raise UsageError(f"git cannot be started ({error.strerror}).", "Install it, or give two files.") from error
    if b"not a git repository" in done.stderr or b"cannot change to" in done.stderr:
        raise UsageError(f"{repository} is no git repository.", "Name one with --repository, or give two files.")
    return done.stdout if done.returncode == 0 else None
