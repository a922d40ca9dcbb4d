"""What was made of a model once: kept by model, what it was made for, versions and our own code.

Lowering traces a program anew for each of many passes and takes minutes; what is asked of it afterwards takes a second.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.folders import cache_folder
from harness.protocol import Describe

FAKE_QUANT, _FACTS, _DESCRIPTION = "fake_quant.pt2", "facts.json", "description.json"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Kept:
    """A lowered program in `folder`, and what was found out when it was made: `facts`, any JSON."""

    folder: Path
    facts: dict[str, Any]

    @property
    def fake_quant(self) -> Path:
        """The program that evaluations run, as torch.export saved it."""
        return self.folder / FAKE_QUANT


def kept(folder: Path, make: Callable[[Path], Mapping[str, Any]]) -> Kept:
    """What lies in `folder`; `make` leaves its files in a scratch folder and returns the facts, if nothing lies there.

    Two workers that ask at once make it once. Errors are those of `make`.
    """
    with _only_one(folder):
        if not (folder / _FACTS).exists():
            with _making(folder) as scratch:
                facts = make(scratch)
                (scratch / _FACTS).write_text(json.dumps(facts))
    return Kept(folder, json.loads((folder / _FACTS).read_text()))


def folder_of(kind: str, code: Sequence[Path], versions: Mapping[str, str], *of: str) -> Path:
    """Where what `kind` made `of` these lies: another folder for other versions, and for other files of code."""
    content = b"".join(file.read_bytes() for file in (*code, *sorted(_HERE.glob("*.py"))))
    key = json.dumps([*of, dict(versions), hashlib.sha256(content).hexdigest()]).encode()
    return cache_folder() / kind / hashlib.sha256(key).hexdigest()[:24]


def describe(path: Path, sha256: str) -> Describe:
    """What a `.pt2` says of itself, read once a file. `sha256` names its content. Raises ModelError."""
    file = folder_of("simulated", (), {"torch": version("torch")}, sha256) / _DESCRIPTION
    if not file.exists():
        from harness.targets.simulated.description import describe_archive
        from harness.targets.simulated.programs import read_archive

        described = describe_archive(read_archive(path))
        with _making(file.parent) as scratch:
            (scratch / file.name).write_text(json.dumps(asdict(described)))
    return Describe(**json.loads(file.read_text()))


@contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """A scratch folder whose files get into `folder` when the body ends well, the facts last."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as scratch:
        yield Path(scratch)
        # `facts.json` says that the rest is there, so it comes last.
        for file in sorted(Path(scratch).iterdir(), key=lambda each: each.name == _FACTS):
            file.replace(folder / file.name)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
