"""A bundle: the native worker with every library that it needs, in one folder, with the sha256 of each file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.manifest import sha256_file
from harness.outside_files import read_json

MANIFEST = "bundle.json"
RUNNER = "runner"
# Numbers of e_machine in an ELF header.
_ELF = {62: "x86_64", 183: "aarch64", 40: "arm", 243: "riscv64"}


@dataclass(frozen=True)
class Bundle:
    """`key` names what it was built from: sources, versions, compiler. `loader` is the dynamic loader that it brings,
    for systems that have another C library; None where the system's own is used.
    """

    folder: Path
    machine: str
    key: str
    loader: str | None

    def command(self, folder: str) -> list[str]:
        """How to start the worker where the bundle lies in `folder`."""
        if self.loader is None:
            return [f"{folder}/{RUNNER}"]
        return [f"{folder}/{self.loader}", "--library-path", folder, f"{folder}/{RUNNER}"]


def write_bundle(folder: Path, machine: str, key: str, loader: str | None) -> None:
    """Write the manifest of what lies in `folder`."""
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    manifest = {"machine": machine, "key": key, "loader": loader, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def read_bundle(folder: Path, machine: str, rebuild: str) -> Bundle:
    """The bundle in `folder`, every file of it checked. Raises HarnessError with `rebuild` as what to do, when a file
    is missing or not what the manifest says, or when the worker is for another machine.
    """
    files, key, loader = read_json(
        folder / MANIFEST,
        lambda manifest: (dict(manifest["files"]), str(manifest["key"]), manifest["loader"]),
        "list of the native worker's files",
        rebuild,
        HarnessError,
    )
    for name, sha256 in ({RUNNER: None} | files).items():
        try:
            digest = sha256_file(folder / Path(name).name)
        except OSError as error:
            raise HarnessError(f"The bundle in {folder} is damaged: {name} is missing.", rebuild) from error
        if name == RUNNER and (built := machine_of(folder / name)) != machine:
            raise HarnessError(f"The worker in {folder} was built for {built}, not for {machine}.", rebuild)
        if sha256 != digest:
            raise HarnessError(f"The bundle in {folder} is damaged: {name} is not what was built.", rebuild)
    return Bundle(folder, machine, key, loader)


def machine_of(executable: Path) -> str:
    """The machine that an executable was built for, by its ELF header."""
    with executable.open("rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return "no machine (it is no executable)"
    number = int.from_bytes(head[18:20], "little")
    return _ELF.get(number, f"machine {number}")
