"""What is known of an artifact beyond its bytes: a JSON file beside it, checked against its sha256.

`model.pte` carries `model.pte.json`. An artifact without a manifest is measured all the same; what only a manifest
can tell (bits a weight, sparsity, how it was trained) is then null.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from harness.errors import ModelError

MANIFEST_VERSION = 1


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, as 64 hexadecimal digits. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A record of one artifact. Losses are nats a token; bits are bits a weight of the layers that were compressed.

    `quality` is what was recorded when the model was made: `loss`, `perplexity`, `tokens`, `context`, `data`,
    `data_sha256`, `how`. `layers` has a row a compressed layer: `layer`, `zero_weights` and `dead_rows` as fractions.
    `tokenizer` is `{"kind": "char", "vocabulary": "..."}` where token i is the i-th character.
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
    architecture: dict[str, Any] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    built_with: dict[str, str] = field(default_factory=dict)
    weights_sha256: str | None = None
    manifest_version: int = MANIFEST_VERSION


def manifest_path(artifact: Path) -> Path:
    """Where the manifest of `artifact` lies, whether or not it exists."""
    return artifact.with_name(artifact.name + ".json")


def write_manifest(artifact: Path, manifest: Manifest) -> None:
    """Write `manifest` beside `artifact`."""
    manifest_path(artifact).write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")


def read_manifest(artifact: Path, sha256: str) -> Manifest | None:
    """The manifest beside `artifact`, or None where there is none.

    Raises ModelError when it is not a manifest of this version, or when it records another file than the one whose
    `sha256` is given: a damaged `.pte` often runs in silence with wrong weights.
    """
    path = manifest_path(artifact)
    if not path.exists():
        return None
    rebuild = (
        f"Build it again (`harness models build NAME --force`), or delete {path.name} to measure the file as unknown."
    )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["manifest_version"] > MANIFEST_VERSION:
            raise ModelError(
                f"{path} was written by a newer harness (manifest version {raw['manifest_version']}).",
                "Upgrade harness.",
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
            if not isinstance(getattr(manifest, name), allowed):
                raise TypeError(f"its `{name}` is a {type(getattr(manifest, name)).__name__}")
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        raise ModelError(f"{path} is not a readable manifest ({error}).", rebuild) from error
    if manifest.artifact_sha256 != sha256:
        raise ModelError(
            f"{artifact} is not the file its manifest describes: its sha256 begins {sha256[:12]}, "
            f"the manifest's {manifest.artifact_sha256[:12]}.",
            rebuild,
        )
    return manifest
