"""Real workers, compilers and emulators. What cannot be built here is skipped, with the sentence that a user gets."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.phone import TOOLS, Attach, Phone, make_root, make_stand_in
from interfaces_on_disk import make_interfaces
from models_on_disk import Models, make_models
from native_bundles import shared_folder
from native_requests import Worker

from harness.errors import HarnessError
from harness.targets import arm64 as target_module
from harness.targets.native import build
from harness.targets.native.bundle import Bundle
from harness.targets.transports import adb, qemu
from harness.targets.transports.adb import Adb
from harness.targets.transports.local import Local
from harness.targets.transports.remote import Remote


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Models:
    return make_models(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return make_interfaces(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))


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


@pytest.fixture
def worker(x86: Bundle) -> Worker:
    """The native worker on this machine."""
    return Worker(x86, Local())


@pytest.fixture
def emulated(arm64: Bundle) -> Worker:
    """The native worker on an emulated processor."""
    return Worker(arm64, qemu.Qemu("cortex-a76", build.plugin))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An adb server of our own, with keys of its own."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)} not installed: `apt-get install adb mksh toybox`")
    if subprocess.run(["unshare", "--map-root-user", "chroot", "/", "true"], capture_output=True).returncode != 0:
        pytest.skip("this system lets nobody change its root folder: unshare --map-root-user fails")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    found = {"ANDROID_ADB_SERVER_PORT": str(port), "HOME": str(home), "ANDROID_SDK_HOME": str(home)}
    yield found
    subprocess.run(["adb", "kill-server"], env=os.environ | found, capture_output=True, check=False, timeout=30)


@pytest.fixture
def attach(server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attach]:
    """Makes a phone and connects it; all go at the end."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    adb.attached()  # starts the server where no command's pipes can be held by it
    phones: list[Phone] = []

    def make(*options: str, machine: str | None = None) -> Phone:
        root = make_root(tmp_path / f"root{len(phones)}", machine=machine)
        phones.append(Phone(root, *options))
        phones[-1].connect()
        return phones[-1]

    yield make
    for phone in phones:
        phone.vanish()
        subprocess.run(["adb", "disconnect", phone.serial], capture_output=True, check=False, timeout=30)


@pytest.fixture
def phone(attach: Attach) -> Phone:
    return attach()


@pytest.fixture
def device(phone: Phone) -> Remote:
    return Remote(Adb(phone.serial))


@pytest.fixture
def stand_in(attach: Attach, x86: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    """A phone that runs the x86-64 worker, and a target that takes it for its own."""
    bundle = make_stand_in(x86, tmp_path / "bundle")
    monkeypatch.setattr(build, "bundle", lambda machine: bundle)
    monkeypatch.setattr(target_module, "_MACHINE", "x86_64")
    return attach()
