"""Models by name, and the files made from them: built once, cached, rebuilt when anything behind them changed."""

from __future__ import annotations

import fcntl
import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError, UsageError
from harness.folders import cache_folder
from harness.manifest import Manifest, read_manifest, sha256_file, write_manifest
from harness.models.cache import replacing
from harness.models.zoo.recipes import Recipe, packaged
from harness.models.zoo.records import PACKAGED, Record, read_record

if TYPE_CHECKING:
    from harness.models.gpt.network import GPT

Export = Callable[["GPT", Path], None]
FORMATS = ("pte", "pt2")
PLAIN_BITS = {"fp32": 32.0, "int8": 8.0, "int4-channel": 4.0, "int4-group32": 4.5}
"""Bits a weight that was not compressed has in a file. A step of 16 bits for every 32 weights is counted, a step for a
whole channel is not.
"""
EXPORTING_CODE = (
    "architecture.py",
    "codes.py",
    "deployment.py",
    "export.py",
    "gpt.py",
    "packing.py",
    "partitioning.py",
    "quantised_linear.py",
    "shrinking.py",
    "storage.py",
    "tables.py",
    "zoo.py",
)


def names() -> list[str]:
    """Every name that `artifact` takes, aliases last."""
    zoo = packaged()
    return [*zoo.recipes, *zoo.aliases]


def known(name: str) -> bool:
    """Whether `artifact` takes this name."""
    return name in names()


def load(name: str, folder: Path | None = None) -> tuple[GPT, Record]:
    """The model as it ships, in evaluation mode, and how it was trained; dead channels of a compressed one are cut.

    `folder` holds weights of the user's own training; without it they are those that come with harness. Raises
    UsageError for an unknown name and ModelError for missing or damaged weights.
    """
    from harness.models.compress.shrinking import shrink
    from harness.models.zoo import storage

    recipe = packaged().find(name)
    model, record = storage.read(folder or PACKAGED, recipe.name, recipe.architecture)
    return (shrink(model) if record.bits_stored is not None else model), record


def built(name: str, precision: str | None = None, fmt: str = "pte", *, folder: Path | None = None) -> Path | None:
    """The file of a model if it has been made and is current, else None. Arguments and errors as for `artifact`."""
    path, wanted, _ = _wanted(name, precision, fmt, folder)
    return path if _current(path, wanted) else None


def artifact(
    name: str, precision: str | None = None, fmt: str = "pte", *, force: bool = False, folder: Path | None = None
) -> Path:
    """The file of a model, with its manifest beside it; made now if it is absent, stale, damaged, or if `force`.

    A file is current while weights, recipe, precision, the versions of what exports it and the exporting code are those
    that its manifest names. Two processes that ask at once make it once. `folder` as in `load`. Raises UsageError for
    an unknown name, precision or format, ModelError for weights that cannot be used.
    """
    path, wanted, recipe = _wanted(name, precision, fmt, folder)

    def export(model: GPT, made: Path) -> None:
        from harness.models.export.pte import export_pt2, export_pte

        if fmt == "pte":
            export_pte(model, made, wanted["precision"])
        else:
            export_pt2(model, made)

    return _made(path, wanted, recipe, export, force, folder)


def variant(
    name: str, kind: str, export: Export, built_with: dict[str, str], *, force: bool = False, folder: Path | None = None
) -> Path:
    """The program of a model in another form, NAME.KIND.pte, with whatever `export` writes beside it, made when it is
    not current as `artifact` is; `built_with` names what else decides what `export` writes. Errors as for `artifact`.
    """
    path, wanted, recipe = _wanted_variant(name, kind, built_with, folder)
    return _made(path, wanted, recipe, export, force, folder)


def built_variant(name: str, kind: str, built_with: dict[str, str], *, folder: Path | None = None) -> Path | None:
    """The file that `variant` would give, if it is current, else None."""
    path, wanted, _ = _wanted_variant(name, kind, built_with, folder)
    return path if _current(path, wanted) else None


def _wanted_variant(
    name: str, kind: str, built_with: dict[str, str], folder: Path | None, fmt: str = "pte"
) -> tuple[Path, dict[str, Any], Recipe]:
    path, wanted, recipe = _wanted(name, "fp32", "pte", folder)
    stem = path.name.removesuffix(".pte").removesuffix(".fp32")
    wanted |= {"precision": kind, "built_with": wanted["built_with"] | built_with}
    return path.with_name(f"{stem}.{kind}.{fmt}"), wanted, recipe


def static(name: str, channels: str = "padded", *, force: bool = False, folder: Path | None = None) -> Path:
    """The `.pt2` of a model in fixed shapes (`static_shapes`), NAME.static.pt2, or NAME.static-CHANNELS.pt2 where its
    channels are not `padded`. Errors as for `artifact`, and DataError where there is no text to calibrate on.
    """
    path, wanted, recipe = _wanted_static(name, channels, folder)

    def export(_: GPT, made: Path) -> None:
        from harness.models.export.pt2_fixed_shapes import export_static, static_model

        record = read_record(folder or PACKAGED, recipe.name)
        assert record is not None, "its weights have just been loaded"
        export_static(static_model(recipe.name, channels, folder), record.vocabulary, made)

    return _made(path, wanted, recipe, export, force, folder)


def built_static(name: str, channels: str = "padded", *, folder: Path | None = None) -> Path | None:
    """The file that `static` would give, if it is current, else None."""
    path, wanted, _ = _wanted_static(name, channels, folder)
    return path if _current(path, wanted) else None


def cached(name: str, *, force: bool = False, folder: Path | None = None) -> Path:
    """The `.pt2` of a model that generates (`cached`), NAME.cached.pt2. Errors as for `artifact`."""
    path, wanted, recipe = _wanted_cached(name, folder)

    def export(model: GPT, made: Path) -> None:
        from harness.models.export.pt2_generating import export_cached

        export_cached(model, made)

    return _made(path, wanted, recipe, export, force, folder)


def built_cached(name: str, *, folder: Path | None = None) -> Path | None:
    """The file that `cached` would give, if it is current, else None."""
    path, wanted, _ = _wanted_cached(name, folder)
    return path if _current(path, wanted) else None


def _wanted_cached(name: str, folder: Path | None) -> tuple[Path, dict[str, Any], Recipe]:
    code = (files("harness.models") / "cached.py").read_bytes()
    path, wanted, recipe = _wanted_variant(
        name, "cached", {"cached": hashlib.sha256(code).hexdigest()[:12]}, folder, "pt2"
    )
    return path, wanted | {"precision": "fp32"}, recipe


def _wanted_static(name: str, channels: str, folder: Path | None) -> tuple[Path, dict[str, Any], Recipe]:
    code = (files("harness.models") / "static_shapes.py").read_bytes()
    kind = "static" if channels == "padded" else f"static-{channels}"
    path, wanted, recipe = _wanted_variant(
        name, kind, {"static_shapes": hashlib.sha256(code).hexdigest()[:12]}, folder, "pt2"
    )
    return path, wanted | {"precision": "int8"}, recipe


def _made(path: Path, wanted: dict[str, Any], recipe: Recipe, export: Export, force: bool, folder: Path | None) -> Path:
    with _only_one(path):
        if force or not _current(path, wanted):
            model, trained = load(recipe.name, folder)
            with replacing(path.parent) as scratch:
                made = scratch / path.name
                export(model, made)
                write_manifest(made, _manifest(made, recipe, model, trained, wanted))
    return path


def _wanted(name: str, precision: str | None, fmt: str, folder: Path | None) -> tuple[Path, dict[str, Any], Recipe]:
    """Where a file lies, what its manifest must say for it to be current, and its recipe."""
    recipe = packaged().find(name)
    precision = _checked_precision(recipe, precision, fmt)
    record = read_record(folder or PACKAGED, recipe.name)
    path = cache_folder() / "artifacts" / _file_name(recipe, precision, fmt, record if folder else None)
    wanted = {
        "precision": precision,
        "recipe": recipe.as_json(),
        "weights_sha256": record.weights_sha256 if record else None,
        "built_with": _built_with(),
    }
    return path, wanted, recipe


def _checked_precision(recipe: Recipe, precision: str | None, fmt: str) -> str:
    if fmt not in FORMATS:
        raise UsageError(f"There is no format {fmt!r}.", f"Choose one of: {', '.join(FORMATS)}.")
    stored = recipe.stored(precision)
    if fmt == "pt2":
        if precision not in (None, "fp32"):
            raise UsageError("A .pt2 file is float32 only.", "Leave out the precision, or ask for a .pte.")
        return "fp32"
    return stored


def _file_name(recipe: Recipe, precision: str, fmt: str, own: Record | None) -> str:
    """NAME.pte, with the precision where it is not the recipe's, and a hash where the weights are the user's own."""
    parts = [recipe.name]
    if own is not None:
        parts.append(own.weights_sha256[:8])
    if fmt == "pte" and precision != recipe.stored():
        parts.append(precision)
    return ".".join([*parts, fmt])


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold this artifact's lock. The kernel frees it with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _built_with() -> dict[str, str]:
    """The versions that decide what an export writes, our own code's as a hash of it."""
    package = files("harness.models")
    code = hashlib.sha256(b"".join((package / name).read_bytes() for name in EXPORTING_CODE)).hexdigest()[:12]
    return {"code": code} | {name: version(name) for name in ("torch", "executorch", "torchao")}


def _current(path: Path, wanted: dict[str, Any]) -> bool:
    if not path.exists():
        return False
    try:
        manifest = read_manifest(path, sha256_file(path))
    except ModelError:  # damaged, or left by a build that was killed half way: it is made again
        return False
    return manifest is not None and all(getattr(manifest, key) == value for key, value in wanted.items())


def _manifest(path: Path, recipe: Recipe, model: GPT, record: Record, wanted: dict[str, Any]) -> Manifest:
    """What is known of the artifact at `path`. An uncompressed model has the bits that its precision gives it, and
    where that rounds its weights, the loss that was recorded is not the file's.
    """
    own = recipe.stored()
    if record.bits_stored is None:
        rounded = wanted["precision"] != own
    else:  # integers with a step a channel stay what they are in int8; int8 has no step for a group
        rounded = wanted["precision"] == "int8" and own == "int4-group32"
    losses = {"loss": record.validation_loss, "perplexity": math.exp(record.validation_loss)}
    plain_bits = PLAIN_BITS.get(wanted["precision"]) if record.bits_stored is None else None
    return Manifest(
        name=recipe.name,
        method=recipe.method,
        artifact_sha256=sha256_file(path),
        artifact_bytes=path.stat().st_size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        parent=recipe.parent,
        bits_per_weight=record.bits_learned if plain_bits is None else plain_bits,
        bits_per_weight_stored=record.bits_stored if plain_bits is None else plain_bits,
        bits_per_weight_entropy=record.bits_entropy,
        architecture=asdict(model.config),
        layers=record.layers,
        quality={
            **({} if rounded else losses),
            "tokens": record.validation_tokens,
            "context": record.context,
            "data": record.data,
            "data_sha256": record.data_sha256,
            "how": "eager PyTorch, float32, before export; windows of the context that do not overlap",
        },
        tokenizer={"kind": "char", "vocabulary": record.vocabulary},
        **wanted,
    )
