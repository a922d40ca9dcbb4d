"""Programs that were lowered once, in the cache folder: by model, what they are lowered for, versions and our code.

Lowering traces a program anew for each of many passes and takes minutes; what is asked of it afterwards takes a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.atomic_files import locked, replacing_files
from harness.code_hash import code_hash
from harness.folders import cache_folder
from harness.protocol import Describe

FAKE_QUANT, _FACTS, _DESCRIPTION = "fake_quant.pt2", "facts.json", "description.json"
FOLLOWED = ("harness.targets", "harness.worker", "harness.made_inputs")
"""Whose code decides what a lowered program is: the last two make the inputs that its ranges are found on."""
DESCRIBING = ("harness.targets.simulated.description", "harness.targets.simulated.programs")


@dataclass(frozen=True)
class CachedProgram:
    """A lowered program in `folder`, and what was found out when it was made: `facts`, any JSON."""

    folder: Path
    facts: dict[str, Any]

    @property
    def fake_quant(self) -> Path:
        """The program that evaluations run, as torch.export saved it."""
        return self.folder / FAKE_QUANT


def cached_program(folder: Path, make: Callable[[Path], Mapping[str, Any]]) -> CachedProgram:
    """What lies in `folder`; `make` leaves its files in a scratch folder and returns the facts, if nothing lies there.

    Two workers that ask at once make it once. Errors are those of `make`.
    """
    with locked(folder / ".lock"):
        if not (folder / _FACTS).exists():
            # `facts.json` says that the rest is there, so it comes last.
            with replacing_files(folder, last=_FACTS) as scratch:
                facts = make(scratch)
                (scratch / _FACTS).write_text(json.dumps(facts))
    return CachedProgram(folder, json.loads((folder / _FACTS).read_text()))


def folder_for(kind: str, code: tuple[str, ...], versions: Mapping[str, str], *parts: str) -> Path:
    """The folder of what `kind` makes of `parts`: another one for other versions, and where the modules `code`, or what
    they import, changed.
    """
    key = json.dumps([*parts, dict(versions), code_hash(code, FOLLOWED)]).encode()
    return cache_folder() / kind / hashlib.sha256(key).hexdigest()[:24]


def describe(path: Path, sha256: str) -> Describe:
    """What a `.pt2` says of itself, read once a file. `sha256` names its content. Raises ModelError."""
    file = folder_for("simulated", DESCRIBING, {"torch": version("torch")}, sha256) / _DESCRIPTION
    if not file.exists():
        from harness.targets.simulated.description import describe_archive
        from harness.targets.simulated.programs import read_archive

        described = describe_archive(read_archive(path))
        with replacing_files(file.parent) as scratch:
            (scratch / file.name).write_text(json.dumps(asdict(described)))
    return Describe(**json.loads(file.read_text()))
