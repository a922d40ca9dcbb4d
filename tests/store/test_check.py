"""`harness results check`: what is wrong with a store is said, and only what is damaged is moved, never deleted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from store.test_compact import stored
from store.writers import complete, write

from harness.cli.results import results as command
from harness.errors import NothingComparable, StoreError
from harness.store import check as checking
from harness.store.check import check, quarantine
from harness.store.compact import compact
from harness.store.dataset import read_tables
from harness.store.schemas import SCHEMA_VERSION, VERSION_KEY

pytestmark = pytest.mark.usefixtures("unsynced")


def run(results: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["check", *arguments, "--results", str(results)], catch_exceptions=False)


def file_of(results: Path, table: str, attempt: str) -> Path:
    (path,) = (results / table).rglob(f"{attempt}.parquet")
    return path


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], object], version: int = SCHEMA_VERSION) -> None:
    """Change the rows of a file, as nobody should."""
    table = pq.read_table(path, partitioning=None)
    rows = table.to_pylist()
    change(rows)
    made = pa.Table.from_pylist(rows, table.schema.with_metadata({VERSION_KEY: str(version)}))
    pq.write_table(made, path)


def nothing(rows: list[dict[str, Any]]) -> None:
    return None


def kinds(results: Path) -> list[str]:
    return [finding.kind for finding in check(results).findings]


@pytest.mark.parametrize("compacted", [False, True])
def test_a_sound_store_has_no_findings_and_every_file_was_read(tmp_path: Path, compacted: bool) -> None:
    stored(tmp_path, days=1)
    if compacted:
        compact(tmp_path)
    checked = check(tmp_path)
    assert checked.findings == ()
    assert (checked.files, checked.attempts) == (len(list(tmp_path.rglob("*.parquet"))), 6)
    assert run(tmp_path).exit_code == 0


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_quarantined_with_the_reason_and_the_rest_is_read(tmp_path: Path, keep: float) -> None:
    write(tmp_path, "a1", samples=500)
    write(tmp_path, "a2", samples=500)
    path = file_of(tmp_path, "samples", "a1")
    data = path.read_bytes()[: int(keep * path.stat().st_size)]
    path.write_bytes(data)
    said = run(tmp_path)
    assert said.exit_code == 1
    assert f"damaged: {path} " in said.output
    assert path.exists(), "nothing is moved unless that was asked for"
    found = json.loads(run(tmp_path, "--quarantine", "--json").output)["data"]["findings"]
    moved = tmp_path / "quarantine" / path.relative_to(tmp_path)
    assert [(one["kind"], one["quarantined_to"]) for one in found] == [("damaged", str(moved))]
    assert (moved.read_bytes(), path.exists()) == (data, False)
    reason = json.loads(moved.with_name(moved.name + ".reason.json").read_text())
    assert (reason["from"], reason["kind"]) == (str(path), "damaged")
    assert run(tmp_path).exit_code == 0
    tables = read_tables(tmp_path, "all")
    assert tables.runs["attempt_id"].tolist() == ["a2"], "an attempt without its samples is none"
    assert tables.problems[0].startswith(f"1 attempt left out, the first: {moved} is in quarantine.")


def test_damage_that_only_reading_a_page_shows_is_found(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=2000)
    path = file_of(tmp_path, "samples", "a1")
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(data)
    assert kinds(tmp_path) == ["damaged"]


def test_a_file_of_a_newer_harness_is_no_damage_and_is_never_moved(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=5)
    write(tmp_path, "a2", samples=5)
    path = file_of(tmp_path, "samples", "a1")
    rewrite(path, nothing, SCHEMA_VERSION + 1)
    said = run(tmp_path, "--quarantine")
    assert (said.exit_code, path.exists()) == (1, True)
    assert said.output.startswith("newer: ")
    assert compact(tmp_path).files_after == 1, "runs are merged, samples are left as they are"
    tables = read_tables(tmp_path, "all")
    assert tables.runs["attempt_id"].tolist() == ["a2"]
    assert "Upgrade" in tables.problems[0]


def test_an_attempt_in_two_places_is_doubled_and_read_once(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=5)
    for table in ("runs", "samples"):
        shutil.copytree(tmp_path / table / "date=2026-11-21", tmp_path / table / "date=2026-11-22")
    assert kinds(tmp_path) == ["doubled", "doubled"]
    assert complete(tmp_path) == {"a1"}
    path = next((tmp_path / "runs").rglob("date=2026-11-22/*/a1.parquet"))
    path.unlink()
    shutil.rmtree(tmp_path / "samples" / "date=2026-11-22")
    rewrite(file_of(tmp_path, "runs", "a1"), lambda rows: rows.append(dict(rows[0])))
    assert kinds(tmp_path) == ["doubled"]


def test_a_file_with_the_rows_of_another_attempt_is_said_and_left_out_of_merges(tmp_path: Path) -> None:
    for attempt in ("a1", "a2", "a3"):
        write(tmp_path, attempt, samples=5)
    path = file_of(tmp_path, "samples", "a2")
    rewrite(path, lambda rows: [row.update(attempt_id="other") for row in rows])
    (mislabelled, orphan) = check(tmp_path).findings
    assert (mislabelled.kind, mislabelled.file.path, orphan.kind) == ("mislabelled", str(path), "orphan")
    compact(tmp_path)
    assert path.exists()


def test_an_attempt_that_was_cut_while_it_was_written_is_harmless(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=5)
    write(tmp_path, "a2", samples=5)
    file_of(tmp_path, "runs", "a2").unlink()
    (finding,) = check(tmp_path).findings
    assert (finding.kind, finding.harmless, finding.table) == ("orphan", True, "samples")
    assert run(tmp_path).exit_code == 0


def test_clocks_that_went_backwards_are_said_and_change_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=5)
    runs, samples = (file_of(tmp_path, table, "a1") for table in ("runs", "samples"))
    rewrite(runs, lambda rows: rows[0].update(finished_at=rows[0]["started_at"].replace(year=1999)))
    rewrite(samples, lambda rows: (rows[2].update(start_ns=-7), rows[4].update(duration_ns=-1)))
    first, second = check(tmp_path).findings
    assert (first.kind, second.kind) == ("clock", "clock")
    assert "1 of 1 runs, which end before they begin" in first.what
    assert "backwards at 2 of 5 samples" in second.what
    assert run(tmp_path).exit_code == 0
    assert len(read_tables(tmp_path).samples) == 5


def test_a_damaged_night_is_found_too(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=5)
    night = tmp_path / "nights" / "date=2026-11-21" / "target=x86" / "night-000001-1-started.parquet"
    night.parent.mkdir(parents=True)
    night.write_bytes(b"PAR1")
    assert [(one.table, one.kind) for one in check(tmp_path).findings] == [("nights", "damaged")]


def test_a_store_that_cannot_be_written_keeps_its_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a1", samples=5)
    path = file_of(tmp_path, "samples", "a1")
    path.write_bytes(b"")
    (finding,) = check(tmp_path).findings

    def refuse(*arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(checking, "put_file", refuse)
    with pytest.raises(StoreError, match=r"cannot be moved to quarantine .Read-only file system") as caught:
        quarantine(tmp_path, finding)
    assert "stays where it was" in caught.value.hint
    assert path.exists()


def test_an_empty_folder_has_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(NothingComparable):
        run(tmp_path)
