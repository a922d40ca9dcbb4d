"""What is known of an artifact beyond its bytes: a JSON file beside it, checked against its sha256.

`model.pte` carries `model.pte.json`. An artifact without a manifest is measured all the same; what only a manifest
can tell (bits a weight, sparsity, how it was trained) is then null.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from harness.errors import ModelError
from harness.outside_files import read_json

MANIFEST_VERSION = 1
_COUNT = range(1 << 63)  # what a column of the store holds
_MOST_BITS = 64.0
_GREATEST_LOSS = 700.0  # nats a token; a perplexity is the exponential of it


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, as 64 hexadecimal digits. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A record of one artifact. Losses are nats a token; bits are bits a weight of the layers that were compressed.

    `quality` is what was recorded when the model was made: `loss`, `perplexity`, `tokens`, `context`, `data`,
    `data_sha256`, `how`. `layers` has a row a compressed layer: `layer`, `zero_weights` and `dead_rows` as fractions.
    `family` is the kind of its method, None of one that was not compressed; `weights_bytes` is what its weights take at
    rest: those of compressed layers in the bits that they are stored in, all others in float32. `compression` says
    how a trained model was compressed (`harness.models.compress.apply.CompressionRecord`).
    `tokenizer` is `{"kind": "char", "vocabulary": "..."}` where token i is the i-th character, or `{"kind": "bpe",
    "tokenizer_json": "..."}` with the text of a `tokenizer.json` of Hugging Face. `data_sha256` is that of the
    file next to the artifact that has its weights, where they are not in it; `artifact_bytes` is then of both.
    """

    name: str
    method: str
    artifact_sha256: str
    artifact_bytes: int
    precision: str
    parameters: int
    parent: str | None = None
    bits_per_weight: float | None = None
    bits_per_weight_stored: float | None = None
    bits_per_weight_entropy: float | None = None
    weights_bytes: int | None = None
    family: str | None = None
    architecture: dict[str, Any] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    compression: dict[str, Any] = field(default_factory=dict)
    built_with: dict[str, str] = field(default_factory=dict)
    weights_sha256: str | None = None
    data_sha256: str | None = None
    manifest_version: int = MANIFEST_VERSION


def manifest_path(artifact: Path) -> Path:
    """Where the manifest of `artifact` lies, whether or not it exists."""
    return artifact.with_name(artifact.name + ".json")


def write_manifest(artifact: Path, manifest: Manifest) -> None:
    """Write `manifest` beside `artifact`."""
    manifest_path(artifact).write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")


def read_manifest(artifact: Path, sha256: str, data_file: Path | None = None) -> Manifest | None:
    """The manifest beside `artifact`, or None where there is none.

    Raises ModelError when it is not a manifest of this version, or when it records another file than the one whose
    `sha256` is given, or other weights than those in `data_file`: a damaged `.pte` often runs in silence with wrong
    weights.
    """
    path = manifest_path(artifact)
    if not os.path.exists(path):  # nor has it one where the name of the file leaves no room for the ending
        return None
    rebuild = (
        f"Build it again (`harness models build NAME --force`), or delete {path.name} to measure the file as unknown."
    )
    manifest = read_json(path, lambda raw: _parse(raw, path), "manifest", rebuild, ModelError)
    if manifest.artifact_sha256 != sha256:
        raise ModelError(
            f"{artifact} is not the file its manifest describes: its sha256 begins {sha256[:12]}, "
            f"the manifest's {manifest.artifact_sha256[:12]}.",
            rebuild,
        )
    if data_file is not None and manifest.data_sha256 not in (None, sha256_file(data_file)):
        raise ModelError(f"{data_file} is not the file of weights that the manifest of {artifact} describes.", rebuild)
    return manifest


def _parse(raw: Any, path: Path) -> Manifest:
    """The manifest in the JSON of a file. Raises ModelError for one of a newer harness, and what wrong values raise."""
    if raw["manifest_version"] > MANIFEST_VERSION:
        raise ModelError(
            f"{path} was written by a newer harness (manifest version {raw['manifest_version']}).", "Upgrade harness."
        )
    known = {f.name for f in fields(Manifest)}
    manifest = Manifest(**{key: value for key, value in raw.items() if key in known})
    for name, kind in get_type_hints(Manifest).items():
        allowed = (
            tuple(get_origin(part) or part for part in get_args(kind))
            if isinstance(kind, UnionType)
            else (get_origin(kind) or kind,)
        )
        allowed += (int,) if float in allowed else ()
        value = getattr(manifest, name)
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise TypeError(f"its `{name}` is a {type(value).__name__}")
    _check_values(manifest)
    return manifest


def _check_values(manifest: Manifest) -> None:
    """Raises ValueError or TypeError for a number that is none of its kind, or that the store has no room for."""
    for name in ("artifact_bytes", "parameters", "weights_bytes"):
        if getattr(manifest, name) is not None and getattr(manifest, name) not in _COUNT:
            raise ValueError(f"its `{name}` is {getattr(manifest, name)}, which is no count")
    for name in ("bits_per_weight", "bits_per_weight_stored", "bits_per_weight_entropy"):
        bits = getattr(manifest, name)
        if bits is not None and not 0 <= bits <= _MOST_BITS:
            raise ValueError(f"its `{name}` is {bits}, which is no number of bits a weight")
    loss = manifest.quality.get("loss")
    if loss is not None and (isinstance(loss, bool) or not isinstance(loss, int | float)):
        raise TypeError(f"its `quality.loss` is {loss!r}, not a number")
    if loss is not None and not 0 <= loss <= _GREATEST_LOSS:
        raise ValueError(f"its `quality.loss` is {loss}, which is no loss in nats a token")
    for name in ("vocabulary", "tokenizer_json"):
        if not isinstance(manifest.tokenizer.get(name), str | None):
            raise TypeError(f"its `tokenizer.{name}` is not a text")
