"""Which of the kept files no series needs any more: a store of years must not hold every model that was ever built."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from harness.errors import NothingComparable
from harness.nightly.detection import NEAR
from harness.nightly.ledger import read_ledger
from harness.nightly.nights import RECENT
from harness.store.dataset import read_runs

# An alert is raised of the last `RECENT` points of a series, against a file of the `NEAR` and one before them. A series
# may lack some of its model's nights: it has as many again.
_NIGHTS = 2 * (RECENT + NEAR + 1)
# A bisection keeps its files here too, and is not in the ledger: what was used of late is left.
_UNUSED_S = 14 * 86_400.0
_OPEN = ("provisional", "published")


def prune(results: Path, now: datetime) -> list[str]:
    """Delete the kept files that no open alert names, that are of none of the last 34 nights of any configuration, and
    that nothing has used for a fortnight; a sentence where there were some. Raises StoreError.

    Where a row of the store cannot be read, nothing is deleted: it may name a file.
    """
    needed = _needed(results)
    if needed is None:
        return []
    freed = count = 0
    for file in sorted((results / "artifacts").glob("[!.]*.*")):
        with suppress(OSError):
            state = file.stat()
            if file.stem not in needed and now.timestamp() - state.st_mtime > _UNUSED_S:
                file.unlink()
                freed, count = freed + state.st_size, count + 1
    files = "1 kept file" if count == 1 else f"{count} kept files"
    return [f"Deleted {files} that no series needs any more, {freed / 1e6:.1f} MB."] if count else []


def _needed(results: Path) -> set[str] | None:
    """By their sha256; None where that is not known."""
    nights, unread = read_ledger(results, "nights")
    alerts, more = read_ledger(results, "alerts")
    try:
        runs = read_runs(results)
    except NothingComparable:
        return None
    if unread or more or runs.problems:
        return None
    newest = {row["alert_id"]: row for row in sorted(alerts, key=lambda row: int(row["row"]))}
    needed = {row[name] for row in newest.values() if row["state"] in _OPEN for name in ("good_sha256", "bad_sha256")}
    files: dict[str, list[tuple[str, str]]] = {}
    for session, model, sha256 in zip(*(runs.runs[name] for name in _COLUMNS), strict=True):
        files.setdefault(session, []).append((model, sha256))
    series: dict[tuple[str, str, str], dict[int, set[str]]] = {}
    for night in nights:
        for model, sha256 in files.get(night["session_id"], ()):
            of_model = series.setdefault((night["config"], night["target"], model), {})
            of_model.setdefault(night["number"], set()).add(sha256)
    return needed.union(*_last(series.values()))


_COLUMNS = ("session_id", "model", "model_sha256")


def _last(series: Iterable[dict[int, set[str]]]) -> Iterable[set[str]]:
    for nights in series:
        yield from (nights[number] for number in sorted(nights)[-_NIGHTS:])
