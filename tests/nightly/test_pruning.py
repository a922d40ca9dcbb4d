"""Kept files: those that an alert may still need stay, the others go, and a store that cannot be read loses nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from nightly.farm import Farm, metrics

from harness.errors import StoreError
from harness.nightly import night, pruning
from harness.nightly.artifacts import keep, kept_file
from harness.nightly.pruning import prune
from harness.store.compact import compact

OLD = timedelta(days=40)


def build(farm: Farm, nights: int, first: int = 0) -> None:
    """New bytes every night, none of them slower."""
    farm.config = replace(farm.config, metrics=metrics("steady_latency_ns_p50"))
    for number in range(first, first + nights):
        farm.latency_ns[bytes([number])] = 1e6
        farm.file.write_bytes(bytes([number]))
        farm.quick(1)


def kept(farm: Farm) -> set[bytes]:
    return {path.read_bytes() for path in (farm.config.results / "artifacts").iterdir()}


def age(farm: Farm, now: datetime) -> None:
    """Let nothing have been used for weeks."""
    for path in (farm.config.results / "artifacts").iterdir():
        os.utime(path, times=((now - OLD).timestamp(),) * 2)


def few(monkeypatch: pytest.MonkeyPatch, nights: int = 6) -> None:
    monkeypatch.setattr(pruning, "_NIGHTS", nights)


def test_only_the_files_of_the_last_nights_stay(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    build(farm, 9)
    age(farm, farm.now)
    assert prune(farm.config.results, farm.now) == ["Deleted 3 kept files that no series needs any more, 0.0 MB."]
    assert kept(farm) == {bytes([number]) for number in range(3, 9)}
    assert prune(farm.config.results, farm.now) == []


def test_these_are_34_nights(farm: Farm) -> None:
    """The documented number: twice those of which an alert may be raised."""
    build(farm, 36)
    age(farm, farm.now)
    prune(farm.config.results, farm.now)
    assert kept(farm) == {bytes([number]) for number in range(2, 36)}


def test_a_file_that_comes_back_is_kept_again_and_what_is_in_use_stays(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch)
    build(farm, 9)
    other = farm.folder / "bisected.pte"
    other.write_bytes(b"of a bisection")
    sha256 = keep(farm.config.results, other)
    age(farm, farm.now)
    assert keep(farm.config.results, other) == sha256, "which says that it is in use"
    os.utime(kept_file(farm.config.results, sha256), times=(farm.now.timestamp(),) * 2)
    prune(farm.config.results, farm.now)
    assert b"of a bisection" in kept(farm)
    farm.file.write_bytes(bytes([0]))
    assert bytes([0]) not in kept(farm)
    farm.quick(1)
    assert bytes([0]) in kept(farm)


def test_a_model_that_was_long_not_measured_keeps_its_last_files(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    build(farm, 3)
    farm.file = farm.folder / "other.pte"
    farm.measure = lambda: replace(  # type: ignore[method-assign]
        Farm.measure(farm), session_id=farm.session({"other": farm.file}, 1, quality=False)
    )
    build(farm, 8, first=3)
    age(farm, farm.now)
    prune(farm.config.results, farm.now)
    assert {bytes([number]) for number in range(3)} <= kept(farm)


def test_both_files_of_an_open_alert_stay_however_old(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    farm.quick(8)
    farm.file.write_bytes(b"new")
    (alert,) = (one for one in farm.nights(3).alerts if one.state == "published")
    few(monkeypatch, 1)
    build(farm, 2)
    age(farm, farm.now)
    prune(farm.config.results, farm.now)
    assert kept(farm) == {b"old", b"new", bytes([1])}
    assert {alert.good_sha256, alert.bad_sha256} <= {p.stem for p in (farm.config.results / "artifacts").iterdir()}


def test_where_a_row_cannot_be_read_nothing_is_deleted(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, 1)
    build(farm, 3)
    age(farm, farm.now)
    (row,) = (farm.config.results / "nights").rglob("night-000003-2-*.parquet")
    data = row.read_bytes()
    row.write_bytes(data[:50])
    assert prune(farm.config.results, farm.now) == []
    row.write_bytes(data)
    file = next((farm.config.results / "runs").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:50])
    assert prune(farm.config.results, farm.now) == []
    assert len(kept(farm)) == 3


def test_a_night_ends_with_its_files_merged_and_the_unneeded_gone(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, 3)
    build(farm, 5)
    age(farm, farm.now)
    watched = farm.night()
    assert watched.notes == ("Deleted 3 kept files that no series needs any more, 0.0 MB.",)
    for table in ("runs", "samples", "scalars"):
        assert len(list((farm.config.results / table).rglob("*.parquet"))) == 6, "one a date"
    assert compact(farm.config.results).files_before == 0


def test_what_goes_wrong_with_tidying_is_said_and_the_night_counts(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(results: Path) -> None:
        raise StoreError("The disk is full.", "Free space.")

    monkeypatch.setattr(night, "compact", full)
    watched = farm.night()
    assert watched.notes == ("The disk is full. Free space.",)
    assert watched.last is not None
    assert watched.last.status == "complete"
