"""Real workers, compilers and emulators. What cannot be built here is skipped, with the sentence that a user gets."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from models_on_disk import Models, make_models
from native_bundles import shared_folder

from harness.errors import HarnessError
from harness.targets.native import build
from harness.targets.native.bundle import Bundle
from harness.targets.transports import qemu


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Models:
    return make_models(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))


@pytest.fixture(autouse=True)
def bundles(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one test has built, the next one finds."""
    return shared_folder(cache, tmp_path_factory)


def _built(make: Callable[[], Bundle]) -> Bundle:
    try:
        return make()
    except HarnessError as error:
        pytest.skip(str(error))


@pytest.fixture
def x86(bundles: Path) -> Bundle:
    if platform.machine() != "x86_64":
        pytest.skip("this machine is not x86-64")
    return _built(lambda: build.bundle(build.X86_64))


@pytest.fixture
def arm64(bundles: Path) -> Bundle:
    program = qemu.qemu()
    if program is None or not qemu.takes_plugins(program):
        pytest.skip("qemu-aarch64 with plugins is not installed: `apt-get install qemu-user`")
    return _built(lambda: build.bundle(build.AARCH64))
