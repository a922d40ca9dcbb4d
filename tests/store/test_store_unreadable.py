"""What cannot be read is named in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store.attempts import write

from harness.errors import StoreError
from harness.store.dataset import read_tables
from harness.store.schemas import SCHEMA_VERSION, VERSION_KEY

pytestmark = pytest.mark.usefixtures("unsynced")


def rewrite(results: Path, table: str, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Put another table in the place of an attempt's."""
    (path,) = (results / table).rglob("*.parquet")
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)
    return path


def versioned(version: bytes) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({VERSION_KEY: version})


@pytest.mark.parametrize("table", ["runs", "samples", "scalars"])
def test_results_of_a_newer_harness_are_named_with_both_versions(tmp_path: Path, table: str) -> None:
    write(tmp_path, "a1")
    path = rewrite(tmp_path, table, versioned(str(SCHEMA_VERSION + 1).encode()))
    with pytest.raises(StoreError) as caught:
        read_tables(tmp_path)
    assert str(path) in caught.value.message
    assert f"schema {SCHEMA_VERSION + 1}" in caught.value.message
    assert f"up to {SCHEMA_VERSION}" in caught.value.message
    assert "Upgrade" in caught.value.hint


@pytest.mark.parametrize(
    "change", [versioned(b"new"), lambda table: table.replace_schema_metadata(None)], ids=["garbled", "none"]
)
def test_a_table_without_a_version_is_not_of_harness(tmp_path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    write(tmp_path, "a1")
    path = rewrite(tmp_path, "runs", change)
    with pytest.raises(StoreError, match="is not a table of harness") as caught:
        read_tables(tmp_path)
    assert str(path) in caught.value.message


def test_a_column_of_another_type_is_refused_in_a_sentence(tmp_path: Path) -> None:
    write(tmp_path, "a1")
    rewrite(
        tmp_path,
        "runs",
        lambda table: table.set_column(table.schema.get_field_index("session_id"), "session_id", pa.array([{"a": 1}])),
    )
    with pytest.raises(StoreError):
        read_tables(tmp_path)


@pytest.mark.parametrize("table", ["runs", "samples"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.99])
def test_a_file_cut_short_is_named(tmp_path: Path, table: str, keep: float) -> None:
    write(tmp_path, "a1")
    (path,) = (tmp_path / table).rglob("*.parquet")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(StoreError) as caught:
        read_tables(tmp_path)
    assert str(path) in caught.value.message
    assert "Move it out" in caught.value.hint


def test_a_file_damaged_in_the_middle_is_refused_in_a_sentence(tmp_path: Path) -> None:
    write(tmp_path, "a1", samples=2000)
    (path,) = (tmp_path / "samples").rglob("*.parquet")
    data = bytearray(path.read_bytes())
    for at in range(4, 400):
        data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        read_tables(tmp_path)
