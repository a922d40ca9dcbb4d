"""Programs that were lowered once: kept by model, phase, kind of accelerator, versions and our own code.

Lowering traces the program anew for each of a hundred passes and takes minutes; Vela takes a second. So the TOSA
program is kept, with the fake-quantised one for evaluations and what certification said, and is never made twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.folders import cache_folder
from harness.protocol import Describe
from harness.targets.npu.configuration import Configuration

TOSA, FAKE_QUANT, _FACTS, _DESCRIPTION = "model.tosa", "fake_quant.pt2", "facts.json", "description.json"
_CODE = ("certification.py", "description.py", "lowering.py", "prepared.py", "programs.py")
PACKAGES = ("executorch", "ethos-u-vela", "tosa-tools", "torch", "torchao")


@dataclass(frozen=True)
class Prepared:
    """A lowered program in `folder`. `facts` has the scalars of certification, `text` (whether ranges come from real
    text) and `lowering_cpu_s`.
    """

    folder: Path
    facts: dict[str, Any]

    @property
    def tosa(self) -> Path:
        return self.folder / TOSA

    @property
    def fake_quant(self) -> Path:
        return self.folder / FAKE_QUANT


def versions() -> dict[str, str]:
    """What decides the outcome, without importing any of it."""
    return {name: version(name) for name in PACKAGES}


def describe(path: Path, sha256: str) -> Describe:
    """What a `.pt2` says of itself, read once a file. `sha256` names its content. Raises ModelError."""
    kept = _folder(sha256) / _DESCRIPTION
    if not kept.exists():
        from harness.targets.npu.description import describe_archive
        from harness.targets.npu.programs import read_archive

        described = describe_archive(read_archive(path))
        with _making(kept.parent) as scratch:
            (scratch / kept.name).write_text(json.dumps(asdict(described)))
    return Describe(**json.loads(kept.read_text()))


def prepared(path: Path, sha256: str, phase: str, configuration: Configuration) -> Prepared:
    """The lowered program of a phase, made now where it is not there yet. Errors as for `lowering.lower`."""
    folder = _folder(sha256, phase, configuration.tosa)
    with _only_one(folder):
        if not (folder / _FACTS).exists():
            _prepare(path, phase, configuration, folder)
    return Prepared(folder, json.loads((folder / _FACTS).read_text()))


def _prepare(path: Path, phase: str, configuration: Configuration, folder: Path) -> None:
    import torch

    from harness.targets.npu.certification import certify
    from harness.targets.npu.lowering import lower
    from harness.targets.npu.programs import program, read_archive

    begin = time.process_time()
    chosen = program(path, read_archive(path), phase)
    lowered = lower(chosen, configuration)
    spent = time.process_time() - begin
    facts = certify(lowered, chosen.held_out) | {"text": chosen.text, "lowering_cpu_s": spent}
    with _making(folder) as scratch:
        torch.export.save(lowered.fake_quant, scratch / FAKE_QUANT)
        (scratch / TOSA).write_bytes(lowered.tosa)
        (scratch / _FACTS).write_text(json.dumps(facts))


def _folder(*of: str) -> Path:
    """Where what was made of these lies."""
    here = Path(__file__).parent
    code = b"".join((here / name).read_bytes() for name in _CODE)
    key = json.dumps([*of, versions(), hashlib.sha256(code).hexdigest()]).encode()
    return cache_folder() / "npu" / hashlib.sha256(key).hexdigest()[:24]


@contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """A scratch folder whose files get into `folder` when the body ends well, in the order of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as scratch:
        yield Path(scratch)
        # `facts.json` says that the rest is there, so it comes last.
        for file in sorted(Path(scratch).iterdir(), key=lambda each: each.name == _FACTS):
            file.replace(folder / file.name)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two workers that ask at once lower once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
