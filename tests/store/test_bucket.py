"""A store in a bucket, on a real S3 server on loopback: the same rows, and nothing lost when the endpoint dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from store.bucket import folder, serving
from store.test_compact import check_same, rows, stored
from store.writers import complete, write

from harness.cli.compare import compare
from harness.cli.results import results as command
from harness.errors import NothingComparable, StoreError, UsageError
from harness.nightly.artifacts import keep
from harness.nightly.config import parse_config
from harness.store import place
from harness.store.check import check, quarantine
from harness.store.compact import compact
from harness.store.dataset import read_table, read_tables
from harness.store.place import file_system, list_files, results_folder
from harness.store.spool import spool_of
from harness.store.writer import prepare

pytestmark = pytest.mark.usefixtures("unsynced")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_rows_are_those_of_a_folder_and_so_they_are_when_compacted(tmp_path: Path, port: int) -> None:
    bucket = folder(port, "rows")
    prepare(bucket)
    for results in (bucket, tmp_path):
        stored(results, days=1, attempts=2)
    before = rows(tmp_path)
    check_same(bucket, before)
    done, there = compact(bucket), compact(tmp_path)
    assert (done.files_before, done.files_after) == (there.files_before, there.files_after)
    check_same(bucket, before)
    assert list_files(bucket, "samples") == list_files(tmp_path, "samples")
    assert check(bucket).findings == ()
    said = CliRunner().invoke(compare, ["--results", str(bucket)], catch_exceptions=False)
    assert (said.exit_code, "latency p50" in said.output) == (0, True)
    assert "Nothing to compact" in CliRunner().invoke(command, ["compact", "--results", str(bucket)]).output


def test_a_damaged_object_is_named_and_quarantined(port: int) -> None:
    bucket = folder(port, "damaged")
    write(bucket, "a1", samples=5)
    write(bucket, "a2", samples=5)
    files, root = file_system(bucket)
    path = f"{root}/samples/date=2026-11-21/target=x86/a1.parquet"
    with files.open_output_stream(path) as stream:
        stream.write(b"PAR1 and no more")
    assert path in read_tables(bucket, "all").problems[0]
    (finding,) = check(bucket).findings
    assert quarantine(bucket, finding) == path.replace("/samples/", "/quarantine/samples/")
    assert [one.kind for one in check(bucket).findings] == []
    assert complete_but_for_one(bucket) == {"a2"}


def complete_but_for_one(results: Path) -> set[str]:
    tables = read_tables(results, "all")
    assert "is in quarantine" in tables.problems[0]
    return set(tables.runs["attempt_id"])


def test_many_partitions_are_found_in_one_listing(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = folder(port, "many")
    write(bucket, "a1", samples=5)
    few = list_files(bucket, "samples", [("2026-11-21", "x86"), ("2026-11-22", "x86")])
    monkeypatch.setattr(place, "_FEW", 1)
    assert list_files(bucket, "samples", [("2026-11-21", "x86"), ("2026-11-22", "x86")]) == few != []
    assert list_files(bucket, "samples", [("2026-11-22", "x86"), ("2026-11-23", "x86")]) == []


def test_an_empty_bucket_has_nothing_to_compare_and_says_so_with_its_name(port: int) -> None:
    with pytest.raises(NothingComparable, match=r"There are no results in s3://bench/empty\?"):
        read_tables(folder(port, "empty"))


def test_an_endpoint_that_dies_is_one_sentence_and_its_rows_are_kept_and_delivered_later() -> None:
    with serving() as port:
        bucket = folder(port, "dying")
        prepare(bucket)
        write(bucket, "a1", samples=40)
    with pytest.raises(StoreError, match=r"cannot be written to s3://bench/dying.*NETWORK_CONNECTION") as caught:
        write(bucket, "a2", samples=40)
    spool = spool_of(bucket)
    assert str(spool) in caught.value.message
    assert complete(spool) == {"a2"}, "it is a store like any other"
    with pytest.raises(StoreError, match=r"s3://bench/dying.* cannot be reached .NETWORK_CONNECTION during"):
        read_tables(bucket)
    with serving(port):
        prepare(bucket)
        assert complete(bucket) >= {"a2"}
        assert list(spool.rglob("*.parquet")) == []
        write(bucket, "a3", samples=40)
        assert complete(bucket) >= {"a2", "a3"}


def test_it_dies_in_the_middle_of_an_attempt_and_no_half_of_it_is_seen(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The samples arrive, the row in `runs` does not."""
    from harness.store import writer

    bucket = folder(port, "half")
    write(bucket, "a1", samples=40)
    original, put = writer.put_file, []

    def dies(results: Path, path: str, data: bytes) -> None:
        if results == bucket:
            put.append(path)
            if path.startswith("runs/"):
                raise OSError("AWS Error NETWORK_CONNECTION during PutObject operation: gone")
        original(results, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "put_file", dies)
        with pytest.raises(StoreError, match="NETWORK_CONNECTION during PutObject"):
            write(bucket, "a2", samples=40)
    assert [path.split("/")[0] for path in put] == ["samples", "runs"]
    assert complete(bucket) == {"a1"}
    assert [one.kind for one in check(bucket).findings] == ["orphan"]
    prepare(bucket)
    assert complete(bucket) == {"a1", "a2"}


def test_what_needs_a_folder_of_this_machine_says_so(tmp_path: Path, port: int) -> None:
    (tmp_path / "m.pte").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"needs a folder of this machine, and s3://bench/keep is none"):
        keep(results_folder("s3://bench/keep?scheme=http"), tmp_path / "m.pte")
    config = {"target": "x86", "models": ["m.pte"], "results": "s3://bench/nights"}
    with pytest.raises(UsageError, match=r"n.toml keeps its nights in s3://bench/nights, but"):
        parse_config(config, tmp_path / "n.toml", "0")
    assert not (Path.cwd() / "s3:").exists()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://", "names no bucket"),
        ("s3://?scheme=http", "names no bucket"),
        ("s3://key:secret@bench/x", "has credentials in it"),
        ("s3://bench/x?nonsense=1", "no bucket that can be opened"),
    ],
)
def test_a_wrong_uri_is_one_sentence(uri: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_table(results_folder(uri), "runs")
    assert "secret" not in str(caught.value)
