"""Compaction: no row lost, none doubled, nothing unreadable, wherever it is cut and whoever reads meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from report.conftest import Session
from store.writers import complete, write

from harness.cli.results import results as command
from harness.errors import StoreError
from harness.store import compact as compaction
from harness.store import dataset
from harness.store.check import check
from harness.store.compact import compact, plan
from harness.store.dataset import read_table, read_tables
from harness.store.schemas import TABLES, VERSION_KEY

pytestmark = pytest.mark.usefixtures("unsynced")

WRITERS = Path(__file__).with_name("writers.py")
# A hundred: HARNESS_TEST_KILLS=100 pytest tests/store/test_compact.py
KILLS = int(os.environ.get("HARNESS_TEST_KILLS", "8"))
START = datetime(2026, 11, 20, tzinfo=UTC)


def stored(results: Path, days: int = 2, attempts: int = 3, first: int = 0) -> None:
    """Attempts on two targets and several days, with rows in every table."""
    for day in range(days):
        for target in ("x86", "arm64"):
            made = Session(f"s{first}-{day}-{target}")
            for number in range(attempts):
                when = START + timedelta(days=day, minutes=number)
                made.add(
                    "model",
                    first + number,
                    samples={"warmup": [9, 8], "steady": list(range(1, 5 + number))},
                    scalars={"load_ns": 7, "loss_nats": "no text"},
                    target=target,
                    date=when.date().isoformat(),
                    started_at=when,
                )
            ids = [run["attempt_id"] for run in made.runs]
            io = [{"attempt_id": one, "phase": "steady", "read_bytes": 5} for one in ids]
            made.write(results, io=io, environment=[{"attempt_id": one, "name": "n"} for one in ids])


def rows(results: Path) -> dict[str, pd.DataFrame]:
    """Every row of every table, in an order that does not depend on files."""
    return {name: ordered(read_table(results, name)) for name in TABLES}


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.assign(**{name: frame[name].astype(str) for name in ("attempt_id", "phase") if name in frame})
    if "flags" in frame:
        frame["flags"] = frame["flags"].astype(str)
    return frame.sort_values("attempt_id", kind="stable").reset_index(drop=True)


def check_same(results: Path, before: dict[str, pd.DataFrame]) -> None:
    for name, frame in rows(results).items():
        pd.testing.assert_frame_equal(frame, before[name])


def data_files(results: Path) -> list[Path]:
    return sorted(path for path in results.rglob("*.parquet") if path.name[0] not in "._")


def test_every_row_is_read_as_before_from_one_file_a_table_date_and_target(tmp_path: Path) -> None:
    stored(tmp_path)
    before, files = rows(tmp_path), data_files(tmp_path)
    done = compact(tmp_path)
    check_same(tmp_path, before)
    left = data_files(tmp_path)
    assert (done.files_before, done.files_after) == (len(files), len(left))
    assert len(left) == 5 * 2 * 2
    assert done.bytes_after == sum(path.stat().st_size for path in left) < done.bytes_before
    assert compact(tmp_path).files_before == 0, "there is nothing left to merge"
    tables = read_tables(tmp_path, "s0-1-arm64", ("io",))
    assert len(tables.runs) == 3
    assert set(tables.samples["attempt_id"]) == set(tables.others["io"]["attempt_id"]) == set(tables.runs["attempt_id"])
    assert check(tmp_path).findings == ()


def test_the_same_again_with_new_attempts_beside_the_merged_ones(tmp_path: Path) -> None:
    stored(tmp_path)
    compact(tmp_path)
    stored(tmp_path, first=10)
    before = rows(tmp_path)
    compact(tmp_path)
    check_same(tmp_path, before)
    assert len(data_files(tmp_path)) == 5 * 2 * 2


def test_other_programs_read_a_merged_file_by_itself(tmp_path: Path) -> None:
    stored(tmp_path, days=1)
    compact(tmp_path)
    (path,) = (tmp_path / "samples").glob("*/target=x86/*.parquet")
    table = pq.read_table(path, partitioning=None)
    assert table.schema.names == TABLES["samples"].names
    assert int(table.schema.metadata[VERSION_KEY]) == 1


@settings(max_examples=6)
@given(cut=st.integers(0, 60), whole=st.booleans())
def test_cut_anywhere_it_is_read_as_before_and_finished_later(
    tmp_path_factory: pytest.TempPathFactory, cut: int, whole: bool
) -> None:
    """Cut after so many writes and deletions, as a kill does; with an older merge among the files, or without."""
    folder = tmp_path_factory.mktemp("cut")
    stored(folder, days=1)
    if whole:
        compact(folder)
        stored(folder, days=1, first=10)
    before = rows(folder)
    steps = 0

    def counted(original):  # type: ignore[no-untyped-def]
        def step(*args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal steps
            steps += 1
            if steps > cut:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name in ("write_file", "delete"):
            patch.setattr(compaction, name, counted(getattr(compaction, name)))
        with suppress(KeyboardInterrupt):
            compact(folder)
    check_same(folder, before)
    assert all(finding.harmless for finding in check(folder).findings)
    compact(folder)
    check_same(folder, before)
    assert len(data_files(folder)) == 5 * 2


def test_two_compactions_that_overlap_leave_each_attempt_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is between its writes and its deletions when the second, of more attempts, runs from end to end."""
    stored(tmp_path, days=1)
    original, ran = compaction.delete, []

    def delete(results: Path, path: str) -> None:
        if not ran:
            ran.append(path)
            stored(tmp_path, days=1, first=10)
            compact(tmp_path)
        original(results, path)

    monkeypatch.setattr(compaction, "delete", delete)
    compact(tmp_path)
    monkeypatch.undo()
    assert len(complete_ids(tmp_path)) == 12
    compact(tmp_path)
    assert len(complete_ids(tmp_path)) == 12
    assert len(data_files(tmp_path)) == 5 * 2


def complete_ids(results: Path) -> list[str]:
    runs, samples = read_table(results, "runs"), read_table(results, "samples")
    assert not runs["attempt_id"].duplicated().any()
    assert not samples.duplicated(["attempt_id", "phase", "iteration"]).any()
    assert set(runs["attempt_id"]) == set(samples["attempt_id"])
    return list(runs["attempt_id"])


def test_merges_of_unlike_attempts_are_read_each_attempt_once(tmp_path: Path) -> None:
    """As two machines leave them that compact one store: {a, b} and {b, c}, and b beside them."""
    for attempt in "abc":
        write(tmp_path / attempt, attempt, samples=50)
    for name, members in (("one", "ab"), ("two", "bc")):
        for attempt in members:
            copy(tmp_path / attempt, tmp_path / name)
        compact(tmp_path / name)
    for source in ("one", "two", "b"):
        copy(tmp_path / source, tmp_path / "all")
    assert complete(tmp_path / "all") == {"a", "b", "c"}
    assert read_tables(tmp_path / "all", "s").runs["attempt_id"].nunique() == 3
    compact(tmp_path / "all")
    assert complete(tmp_path / "all") == {"a", "b", "c"}
    assert len(data_files(tmp_path / "all")) == 2


def copy(source: Path, target: Path) -> None:
    for path in data_files(source):
        to = target / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())


def test_what_is_being_written_and_what_is_damaged_is_left_alone(tmp_path: Path) -> None:
    for attempt in ("a1", "a2", "half", "bad"):
        write(tmp_path, attempt, samples=500)
    (path,) = (tmp_path / "runs").rglob("half.parquet")
    run = path.read_bytes()
    path.unlink()
    (bad,) = (tmp_path / "samples").rglob("bad.parquet")
    bad.write_bytes(bad.read_bytes()[:-9])
    done = compact(tmp_path)
    assert [damage.file.path for damage in done.left] == [str(bad)]
    assert bad.exists()
    assert complete_of(tmp_path) == {"a1", "a2"}
    path.write_bytes(run)  # its writer comes to its end
    assert complete_of(tmp_path) == {"a1", "a2", "half"}


def complete_of(results: Path) -> set[str]:
    """Those that can be read, where one cannot."""
    tables = read_tables(results, "all")
    assert len(tables.problems) == 1
    counts = tables.samples.groupby("attempt_id", observed=True).size()
    assert (counts == 500).all()
    assert set(counts.index) == set(tables.runs["attempt_id"])
    return set(counts.index)


def test_a_reader_that_meets_the_deletions_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path)
    before = len(read_tables(tmp_path, "all").samples)
    original, met = dataset.read_files, []

    def read_files(results: Path, table: str, files: object, *more: object) -> object:
        if table == "samples" and not met:
            met.append(table)
            compact(tmp_path)
        return original(results, table, files, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "read_files", read_files)
    monkeypatch.setattr(dataset, "_PAUSE_S", 0.0)
    assert len(read_tables(tmp_path, "all").samples) == before
    assert met


def test_files_that_never_stop_vanishing_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError(2, "No such file", "x.parquet")

    monkeypatch.setattr(dataset, "read_files", gone)
    monkeypatch.setattr(dataset, "_PAUSE_S", 0.0)
    with pytest.raises(StoreError, match="vanish while they are read"):
        read_tables(tmp_path)


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, WRITERS, "compacted", tmp_path, str(KILLS)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    acknowledged = ended.stdout.split()
    assert len(acknowledged) >= 3 * KILLS
    assert {*acknowledged, "before"} <= complete(tmp_path)
    compact(tmp_path)
    assert {*acknowledged, "before"} <= complete(tmp_path)
    assert not [finding for finding in check(tmp_path).findings if not finding.harmless]


def test_a_writer_a_compactor_and_a_reader_at_once(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, WRITERS, "beside", tmp_path, "60"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert complete(tmp_path) == {"before", *ended.stdout.split()}


def test_a_full_disk_while_compacting_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path)
    before = rows(tmp_path)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="cannot be compacted") as caught:
        compact(tmp_path)
    assert "No row is lost" in caught.value.hint
    monkeypatch.undo()
    check_same(tmp_path, before)
    assert len(data_files(tmp_path)) == len(list(tmp_path.rglob("*.parquet*"))), "a temporary file is left"


def test_the_command_says_what_it_would_do_and_what_it_did(tmp_path: Path) -> None:
    stored(tmp_path)
    files = data_files(tmp_path)
    merges, _ = plan(tmp_path)

    def run(*arguments: str) -> str:
        return CliRunner().invoke(command, [*arguments, "--results", str(tmp_path)], catch_exceptions=False).output

    assert f"{len(files)} files would become {len(merges)}" in run("compact", "--dry-run")
    assert data_files(tmp_path) == files
    said = json.loads(run("compact", "--json"))["data"]
    assert (said["files_before"], said["files_after"], said["left"]) == (len(files), len(merges), [])
    assert "Nothing to compact" in run("compact")
