"""What all tests share: a cache folder of their own, and the fakes (`from fakes.target import FakeTarget`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# At the end, so that no folder of tests (`statistics`, `store`) can stand before an installed module.
sys.path.append(str(Path(__file__).parent))

# No deadline: no test asserts a time. The same examples on every run: a suite that fails must fail again.
settings.register_profile("harness", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("harness")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leases, artifacts and data of a test lie in a folder of its own, never in the user's; nor does it see the user's
    devices.
    """
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("HARNESS_CACHE", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.delenv("HARNESS_DEVICES", raising=False)
    return folder


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the sync of every written file: only a power cut would show it, and it takes seconds in all."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not end by itself is not waited for as long as a real one."""
    from harness.targets.transports import local

    monkeypatch.setattr(local, "_GRACE_S", 0.2)
