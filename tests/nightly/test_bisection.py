"""The first slower version, found in few steps whatever the history, through git where there is one."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, UsageError
from harness.nightly.artifacts import keep, kept_file
from harness.nightly.bisection import Bisection, Candidate, bisect
from harness.nightly.history import commit_of, content, revisions
from harness.nightly.verdict import Verdict

GOOD = Candidate("good", "", "0")


def search(
    later: list[str], slow: set[str], broken: Collection[str] = (), undecided: Collection[str] = ()
) -> tuple[Bisection, list[str]]:
    """`later` are the files of the versions; gives the result and what was measured."""
    measured: list[str] = []

    def measure(candidate: Candidate) -> Verdict:
        measured.append(candidate.sha256)
        if candidate.sha256 in broken:
            raise HarnessError("It is broken.")
        if candidate.sha256 in undecided:
            return Verdict(1.03, 0.99, 1.07, 70, decision="undecided")
        ratio = 1.2 if candidate.sha256 in slow else 1.0
        decision = "regression" if ratio > 1 else "no regression"
        return Verdict(ratio, ratio - 0.01, ratio + 0.01, 10, decision=decision)

    candidates = [Candidate(f"c{number}", "", sha256) for number, sha256 in enumerate(later)]
    return bisect(GOOD, candidates, measure), measured


@given(st.integers(1, 60), st.data())
def test_the_first_slower_version_is_found_in_logarithmically_many_runs(count: int, data: st.DataObject) -> None:
    files = [str(data.draw(st.integers(number // 2, number))) for number in range(1, count + 1)]
    files = sorted(files, key=int)
    first = data.draw(st.integers(0, count - 1))
    slow = set(files[first:]) - {"0"}
    found, measured = search(files, slow)
    if files[-1] not in slow:
        assert found.first is None
    else:
        assert found.first is not None
        assert found.first.label == f"c{next(number for number, name in enumerate(files) if name in slow)}"
    assert len(measured) == len(set(measured)), "equal files are measured once"
    assert len(measured) <= 2 + math.ceil(math.log2(count))
    assert "0" not in measured, "the good file needs no measuring"


def test_a_version_that_cannot_be_measured_is_passed_over_and_said() -> None:
    found, _ = search(list("123456"), set("456"), {"3"})
    assert found.first is not None
    assert found.first.sha256 == "4"
    assert [one.sha256 for one in found.unsure] == ["3"]


def test_a_version_that_stays_undecided_is_no_good_one() -> None:
    found, _ = search(list("123456"), set("456"), undecided={"3"})
    assert found.first is not None
    assert found.first.sha256 == "4"
    assert [one.sha256 for one in found.unsure] == ["3"], "it may be the first slower one"
    last, measured = search(list("123"), set(), undecided={"3"})
    assert (last.first, measured) == (None, ["3"])
    assert last.steps[-1].slower is None
    assert "3" in measured
    after, measured = search(list("12345678"), set("2345678"), {"4"})
    assert after.first is not None
    assert (after.first.sha256, after.unsure) == ("2", ()), "what lies after the first slower one leaves no doubt"
    assert "4" in measured
    nothing, _ = search(list("12"), {"2"}, {"2"})
    assert nothing.first is None
    assert nothing.steps[-1].slower is None


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Commits v0 to v4 of a.pte, with one of another file and one that takes it away in between."""
    git(tmp_path, "init", "-q", "-b", "main")
    for number, data in enumerate((b"\x000", b"\x001", None, b"\x001", b"\r\n\x004")):
        if data is None:
            git(tmp_path, "rm", "-q", "a.pte")
        else:
            (tmp_path / "a.pte").write_bytes(data)
            git(tmp_path, "add", "a.pte")
        git(tmp_path, "commit", "-q", "-m", f"v{number} of it")
        git(tmp_path, "tag", f"v{number}")
    (tmp_path / "other").write_text("o")
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "-q", "-m", "another file")
    return tmp_path


def test_the_versions_of_a_file_are_those_of_the_commits_that_changed_it(repository: Path) -> None:
    good, bad = (commit_of(repository, name) for name in ("v0", "main"))
    listed = revisions(repository, good, bad, "a.pte")
    assert [one.subject for one in listed] == ["v1 of it", "v2 of it", "v3 of it", "v4 of it", "another file"]
    found = [content(repository, one, "a.pte") for one in listed]
    assert found == [b"\x001", None, b"\x001", b"\r\n\x004", b"\r\n\x004"]


def test_a_branch_that_was_merged_is_one_change(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "side")
    for number in range(2):
        (repository / "a.pte").write_bytes(bytes([number]))
        git(repository, "commit", "-q", "-a", "-m", f"side {number}")
    git(repository, "checkout", "-q", "main")
    (repository / "third").write_text("t")
    git(repository, "add", "third")
    git(repository, "commit", "-q", "-m", "meanwhile")
    git(repository, "merge", "-q", "--no-ff", "-m", "the merge", "side")
    listed = revisions(repository, commit_of(repository, "v4"), commit_of(repository, "main"), "a.pte")
    assert [one.subject for one in listed] == ["the merge"]


@pytest.mark.parametrize("name", ["nothing", "--help", "", "v0:a.pte"])
def test_what_is_no_commit_is_said(repository: Path, name: str) -> None:
    with pytest.raises(UsageError, match="neither a file nor a commit"):
        commit_of(repository, name)


def test_wrong_order_no_repository_and_a_pointer_are_said(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    good, bad = (commit_of(repository, name) for name in ("v0", "v1"))
    with pytest.raises(UsageError, match="no ancestor"):
        revisions(repository, bad, good, "a.pte")
    with pytest.raises(UsageError, match="no git repository"):
        commit_of(tmp_path_factory.mktemp("bare"), "main")
    (repository / "p.pte").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    git(repository, "add", "p.pte")
    git(repository, "commit", "-q", "-m", "pointer")
    with pytest.raises(UsageError, match="pointer of Git LFS"):
        content(repository, commit_of(repository, "main"), "p.pte")


def test_a_kept_file_outlives_its_source_and_is_kept_once(tmp_path: Path) -> None:
    source = tmp_path / "model.pte"
    source.write_bytes(b"first")
    sha256 = keep(tmp_path / "results", source)
    kept = kept_file(tmp_path / "results", sha256)
    written = kept.stat().st_ino
    with source.open("r+b") as file:  # in place, as `cp` does
        file.write(b"other")
    assert kept.read_bytes() == b"first"
    assert keep(tmp_path / "results", kept) == sha256
    assert kept.stat().st_ino == written, "it was written again"
    assert [path.name for path in kept.parent.iterdir()] == [f"{sha256}.pte"]
