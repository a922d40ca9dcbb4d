"""Bundles: whole, of these sources, for the right machine, or a sentence that says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import HarnessError, UsageError
from harness.targets.arm64 import Arm64
from harness.targets.native import build
from harness.targets.native.bundle import MANIFEST, Bundle, machine_of, read_bundle, write_bundle
from harness.targets.transports import qemu


def _copy(bundle: Bundle, folder: Path) -> Path:
    shutil.copytree(bundle.folder, folder)
    return folder


def test_what_was_built_is_kept(x86: Bundle) -> None:
    before = (x86.folder / MANIFEST).stat().st_mtime_ns
    assert build.bundle(build.X86_64) == x86
    assert (x86.folder / MANIFEST).stat().st_mtime_ns == before


def test_every_file_is_in_the_manifest(x86: Bundle) -> None:
    files = json.loads((x86.folder / MANIFEST).read_text())["files"]
    assert set(files) == {path.name for path in x86.folder.iterdir()} - {MANIFEST}
    assert "runner" in files
    assert machine_of(x86.folder / "runner") == "x86_64"


def test_a_changed_source_or_version_has_another_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = ["true"]
    sources = tmp_path / "native"
    shutil.copytree(build._SOURCES, sources)
    monkeypatch.setattr(build, "_SOURCES", sources)
    keys = [build._key(build.X86_64, command)]
    assert build._key(build.X86_64, command) == keys[0]
    (sources / "steady.h").write_text((sources / "steady.h").read_text().replace("0.015", "0.03"))
    keys.append(build._key(build.X86_64, command))
    monkeypatch.setattr(build, "executorch_version", lambda: "9.9.9")
    keys.append(build._key(build.X86_64, command))
    keys.append(build._key(build.AARCH64, command))
    keys.append(build._key(build.AARCH64, ["false"]))
    assert len(set(keys)) == 5


@pytest.mark.parametrize("damage", ["lost", "cut", "changed"])
def test_a_damaged_bundle_is_not_used(x86: Bundle, tmp_path: Path, damage: str) -> None:
    folder = _copy(x86, tmp_path / "b")
    victim = folder / "libexecutorch.so"
    if damage == "lost":
        victim.unlink()
    else:
        content = victim.read_bytes()
        victim.write_bytes(content[:-1000] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(HarnessError, match=r"damaged: libexecutorch\.so") as caught:
        read_bundle(folder, "x86_64", build.X86_64.rebuild)
    assert "harness targets build native --force" in caught.value.hint


def test_half_a_bundle_is_none(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"bundle\.json cannot be read"):
        read_bundle(tmp_path, "x86_64", "again")
    (tmp_path / MANIFEST).write_text("[]")
    with pytest.raises(HarnessError, match=r"bundle\.json is not a readable list"):
        read_bundle(tmp_path, "x86_64", "again")


def test_an_x86_worker_is_not_run_as_arm64(x86: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    shutil.copy(x86.folder / "runner", folder)
    write_bundle(folder, "aarch64", "k", None)
    with pytest.raises(HarnessError, match="was built for x86_64, not for aarch64"):
        read_bundle(folder, "aarch64", build.AARCH64.rebuild)


def test_without_a_compiler_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(HarnessError, match=r"no C\+\+ compiler for aarch64") as caught:
        build.compiler(build.Machine("aarch64", "arm64", "aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu"))
    assert "g++" in caught.value.hint


def test_without_an_emulator_the_target_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    state = Arm64("qemu").availability()
    assert not state.available
    assert "qemu-aarch64 is not installed" in state.reason
    assert "apt-get install qemu-user" in state.todo


def test_an_emulator_without_plugins_cannot_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / qemu.PROGRAM
    fake.write_text("#!/bin/sh\necho usage: no such option here\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    state = Arm64("qemu").availability()
    assert not state.available
    assert "plugins" in state.reason


@pytest.mark.parametrize("device", ["qemu:cortex-a9", "local:1", "phone", "qemu:max,sme=on"])
def test_a_device_that_there_is_not(device: str) -> None:
    with pytest.raises(UsageError, match="no device") as caught:
        Arm64(device)
    assert "qemu:cortex-a76" in caught.value.hint


def test_a_source_that_does_not_compile_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "broken.c"
    source.write_text("int main( {\n")
    with pytest.raises(HarnessError, match="cannot be compiled") as caught:
        build._compile(["cc", "-c", str(source), "-o", str(tmp_path / "x.o")])
    assert "\n" not in caught.value.message
