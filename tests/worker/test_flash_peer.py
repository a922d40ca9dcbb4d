"""fio is asked for reads like those that were made, once, and where it is not the result says why."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fakes.jobs import make_job

from harness.errors import HarnessError
from harness.flash.io.proof import Proof
from harness.job import Job
from harness.protocol import Scalar
from harness.scenarios.queries import Series
from harness.worker.flash import peer as flash_peer

FILE = SimpleNamespace(path=Path("some.neurons"))


def query(reads: int = 400, size: int = 4096) -> Any:
    """400 reads of 4 KiB in 40 ms: 10,000 a second."""
    totals = {"decode_flash_bytes": reads * size, "decode_flash_reads": reads}
    return SimpleNamespace(totals=lambda: totals, phases={"decode_read": Series([0, 1], [10_000_000, 30_000_000])})


def job(**changes: Any) -> Job:
    return make_job(**{"scenario": "flash", "depth": 32, "peer": True} | changes)


def found(
    monkeypatch: pytest.MonkeyPatch, valid: bool = True, asked: Any = None, kind: Any = "threads", **changes: Any
) -> tuple[dict[str, Scalar], dict[str, Any]]:
    """The scalars, and what `compare` was asked."""
    seen: dict[str, Any] = {}

    def compare(kind: str, path: Path, **options: Any) -> Any:
        seen.update(options, kind=kind, path=path)
        if changes.get("error"):
            raise HarnessError("fio failed.", "Leave out the peer.")
        one = SimpleNamespace(value=0.9)
        return SimpleNamespace(
            ratio=one,
            fio_bytes_per_s=SimpleNamespace(value=5e8),
            proof=Proof(1, 1, valid, None if valid else "of 1 bytes asked for, 0 came from the device"),
        )

    monkeypatch.setattr(flash_peer, "compare", compare)
    monkeypatch.setattr(flash_peer, "fio_version", lambda: None if changes.get("missing") else "fio-3")
    fields = {name: value for name, value in changes.items() if name not in ("error", "missing")}
    scalars = flash_peer.peer(job(**fields), kind, cast(Any, FILE), asked or query())
    return {scalar.name: scalar for scalar in scalars}, seen


def test_fio_is_asked_for_reads_of_the_mean_size_and_the_depth_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    scalars, seen = found(monkeypatch, asked=query(size=4300))
    assert {name: scalar.value for name, scalar in scalars.items()} == {
        "peer_ratio": 0.9,
        "peer_read_bytes": 4096,
        "peer_bytes_per_s": 5e8,
    }
    assert (seen["size_bytes"], seen["depth"], seen["kind"], seen["path"]) == (4096, 32, "threads", FILE.path)
    assert seen["reads"] == 2000, "a fifth of a second"


def test_so_few_reads_fill_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, asked=query(reads=4))[1]["reads"] == 4 * 32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peer": None}, "was not asked"),
        ({"block": 1}, "after the first process alone"),
        ({"kind": "mmap"}, "fio reads past the page cache, and mmap does not"),
        ({"asked": query(reads=0)}, "nothing was read"),
        ({"missing": True}, "fio is not installed"),
        ({"error": True}, "fio failed"),
        ({"valid": False}, "0 came from the device"),
    ],
)
def test_without_fio_there_is_a_reason(changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scalars, _ = found(monkeypatch, **changes)
    assert list(scalars) == ["peer_ratio"]
    assert scalars["peer_ratio"].value is None
    assert words in (scalars["peer_ratio"].reason or "")
