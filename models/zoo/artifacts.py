"""Models by name, and the files made from them: built once, cached, rebuilt when anything behind them changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.atomic_files import locked, replacing_files
from harness.code_hash import code_hash
from harness.durations import OnStep, unheard
from harness.errors import ModelError, UsageError
from harness.folders import cache_folder
from harness.manifest import Manifest, read_manifest, sha256_file, write_manifest
from harness.models.recipe import INT4, CompressedRecipe, Recipe
from harness.models.zoo.copying import data_file
from harness.models.zoo.formats import FORMATS
from harness.models.zoo.recipes import packaged
from harness.models.zoo.records import PACKAGED, Record, read_record

if TYPE_CHECKING:
    from harness.flash.io.layout import Dtype
    from harness.models.gpt.network import GPT
    from harness.models.train.data import Corpus

Export = Callable[["GPT", Path], "Mapping[str, Any] | None"]
"""Writes a model to a file. What its check measured, where it says so, is for the manifest."""
EXPORTERS = {fmt: f"harness.models.export.{fmt}" for fmt in FORMATS} | {
    "static": "harness.models.export.pt2_fixed_shapes",
    "cached": "harness.models.export.pt2_generating",
    "flash": "harness.models.export.pte_flash_files",
    "compressed": "harness.models.zoo.compressing",
}
"""The module that writes each kind of file: it and all that it imports decide whether a cached file is current."""
_EVERY_EXPORT = ("harness.models.zoo.loading", "harness.models.zoo.artifact_manifest")
"""What decides that beside the exporter: which weights a file holds, and what its manifest says."""
_GROUPS = "int4-group32"
_FOLLOWED = ("harness.models", "harness.flash", "harness.bound")


@dataclass(frozen=True)
class _Wanted:
    """A file that is asked for: where it lies, what its manifest must say for it to be current, and its recipe."""

    path: Path
    manifest: dict[str, Any]
    recipe: Recipe | CompressedRecipe

    def current(self) -> Path | None:
        """The file, if it has been made and is current."""
        if not self.path.exists():
            return None
        try:
            manifest = read_manifest(self.path, sha256_file(self.path))
        except ModelError:  # damaged, or left by a build that was killed half way: it is made again
            return None
        if manifest is None or not _has_data(self.path, manifest):
            return None
        fits = all(getattr(manifest, key) == value for key, value in self.manifest.items())
        return self.path if fits else None


def names() -> list[str]:
    """Every name that `artifact` takes, aliases last."""
    zoo = packaged()
    return [*zoo.recipes, *zoo.compressed, *zoo.aliases]


def known(name: str) -> bool:
    """Whether `artifact` takes this name."""
    return name in names()


def artifact(
    name: str,
    precision: str | None = None,
    fmt: str = "pte",
    *,
    force: bool = False,
    folder: Path | None = None,
    on_step: OnStep = unheard,
) -> Path:
    """The file of a model, with its manifest beside it; made now if it is absent, stale, damaged, or if `force`.

    A file is current while weights, recipe, precision, the versions of what exports it and the exporting code are those
    that its manifest names. Two processes that ask at once make it once. `folder` holds weights of the user's own
    training; `on_step` hears of each step of making it, and of none where it is current. Raises UsageError for an
    unknown name, precision or format, ModelError for weights that cannot be used.
    """
    if name in packaged().compressed:
        return _made_compressed(_wanted_compressed(name, precision, fmt, folder), force, on_step)
    wanted = _wanted(name, precision, fmt, folder)

    def export(model: GPT, path: Path) -> Mapping[str, Any] | None:
        if fmt == "pte":
            from harness.models.export.pte import export_pte

            export_pte(model, path, wanted.manifest["precision"], on_step)
        elif FORMATS[fmt].runtime is not None:
            return _export_peer(model, path, fmt, wanted, folder, on_step)
        else:
            from harness.models.export.pt2 import export_pt2

            export_pt2(model, path, on_step)
        return None

    return _made(wanted, export, force, folder, on_step)


def built(name: str, precision: str | None = None, fmt: str = "pte", *, folder: Path | None = None) -> Path | None:
    """The file of a model if it has been made and is current, else None. Arguments and errors as for `artifact`."""
    if name in packaged().compressed:
        return _wanted_compressed(name, precision, fmt, folder).current()
    return _wanted(name, precision, fmt, folder).current()


def static(
    name: str,
    channels: str = "padded",
    *,
    force: bool = False,
    folder: Path | None = None,
    on_step: OnStep = unheard,
) -> Path:
    """The `.pt2` of a model in fixed shapes (`export.pt2_fixed_shapes`), NAME.static.pt2, or NAME.static-CHANNELS.pt2
    where its channels are not `padded`. Errors as for `artifact`, and DataError where there is no text to calibrate on.
    """
    wanted = _wanted_static(name, channels, folder)

    def export(_: GPT, path: Path) -> None:
        from harness.models.export.pt2_fixed_shapes import export_static
        from harness.models.zoo.loading import load_for_fixed_shapes

        record = read_record(folder or PACKAGED, wanted.recipe.name)
        assert record is not None, "its weights have just been loaded"
        model = load_for_fixed_shapes(wanted.recipe.name, channels, folder)
        export_static(model, record.tokenizer, path, on_step=on_step)

    return _made(wanted, export, force, folder, on_step)


def built_static(name: str, channels: str = "padded", *, folder: Path | None = None) -> Path | None:
    """The file that `static` would give, if it is current, else None."""
    return _wanted_static(name, channels, folder).current()


def cached(name: str, *, force: bool = False, folder: Path | None = None, on_step: OnStep = unheard) -> Path:
    """The `.pt2` of a model that generates (`export.pt2_generating`), NAME.cached.pt2. Errors as for `artifact`."""

    def export(model: GPT, path: Path) -> None:
        from harness.models.export.pt2_generating import export_cached

        export_cached(model, path, on_step)

    return _made(_wanted_variant(name, "cached", "cached", "fp32", folder), export, force, folder, on_step)


def built_cached(name: str, *, folder: Path | None = None) -> Path | None:
    """The file that `cached` would give, if it is current, else None."""
    return _wanted_variant(name, "cached", "cached", "fp32", folder).current()


def flash(
    name: str,
    corpus: Corpus | None,
    dtype: Dtype = "float16",
    *,
    force: bool = False,
    folder: Path | None = None,
    on_step: OnStep = unheard,
) -> Path:
    """The program of a model whose feed-forward weights lie in files beside it, NAME.flash.pte, or NAME.flash-DTYPE.pte
    (`export.pte_flash_files`); predictors are trained where there is a `corpus`. Errors as for `artifact`, and
    ModelError for a model whose neurons do not rest.
    """

    def export(model: GPT, path: Path) -> None:
        from harness.models.export.pte_flash_files import export_flash_files

        export_flash_files(model, path, dtype, corpus, on_step)

    return _made(_wanted_flash(name, dtype, folder), export, force, folder, on_step)


def built_flash(name: str, dtype: Dtype = "float16", *, folder: Path | None = None) -> Path | None:
    """The file that `flash` would give, if it is current, else None. Whether it has predictors is not asked."""
    return _wanted_flash(name, dtype, folder).current()


def _wanted_static(name: str, channels: str, folder: Path | None) -> _Wanted:
    kind = "static" if channels == "padded" else f"static-{channels}"
    return _wanted_variant(name, "static", kind, "int8", folder)


def _wanted_flash(name: str, dtype: Dtype, folder: Path | None) -> _Wanted:
    kind = "flash" if dtype == "float16" else f"flash-{dtype}"
    return _wanted_variant(name, "flash", kind, kind, folder, ".pte")


def _wanted_variant(
    name: str, exporter: str, kind: str, precision: str, folder: Path | None, ending: str = ".pt2"
) -> _Wanted:
    """A model in another form, in the file NAME.KIND and its ending; `precision` is what its manifest calls it."""
    plain = _wanted(name, "fp32", "pte", folder)
    stem = plain.path.name.removesuffix(".pte").removesuffix(".fp32")
    manifest = plain.manifest | {"precision": precision, "built_with": _built_with(exporter)}
    return _Wanted(plain.path.with_name(f"{stem}.{kind}{ending}"), manifest, plain.recipe)


def _wanted(name: str, precision: str | None, fmt: str, folder: Path | None) -> _Wanted:
    recipe = packaged().find(name)
    precision = _checked_precision(recipe, precision, fmt)
    record = read_record(folder or PACKAGED, recipe.name)
    manifest = {
        "precision": precision,
        "recipe": recipe.as_json(),
        "weights_sha256": record.weights_sha256 if record else None,
        "built_with": _built_with(fmt),
    }
    file_name = _file_name(recipe, precision, fmt, record if folder else None)
    return _Wanted(cache_folder() / "artifacts" / file_name, manifest, recipe)


def _wanted_compressed(name: str, precision: str | None, fmt: str, folder: Path | None) -> _Wanted:
    """A model of the zoo that a method makes of another, NAME.pte; the method decides the precision."""
    from harness.models.compress.method import source_module

    recipe = packaged().compressed[name]
    if fmt != "pte":
        raise UsageError(f"{name} is made as a .pte alone.", "Ask for a .pte, or for its parent.")
    if precision is not None:
        raise UsageError(f"Its method decides in what precision {name} is stored.", "Leave out the precision.")
    if folder is not None:
        raise UsageError(f"{name} is made of the weights that come with harness.", "Leave out --weights.")
    record = read_record(PACKAGED, recipe.parent if recipe.training is None else name)
    manifest = {
        "recipe": recipe.as_json(),
        "weights_sha256": record.weights_sha256 if record else None,
        "built_with": _built_with("compressed", source_module(recipe.method)),
    }
    return _Wanted(cache_folder() / "artifacts" / f"{name}.pte", manifest, recipe)


def _made_compressed(wanted: _Wanted, force: bool, on_step: OnStep) -> Path:
    recipe = wanted.recipe
    assert isinstance(recipe, CompressedRecipe)
    with locked(wanted.path.with_name(f".{wanted.path.name}.lock")):
        if force or wanted.current() is None:
            from harness.models.zoo.compressing import build_file, compressed_recipe

            compressed, _, parent = compressed_recipe(recipe, on_step)
            with replacing_files(wanted.path.parent, last=wanted.path.name) as scratch:
                path = scratch / wanted.path.name
                manifest = build_file(path, recipe.name, compressed, parent, on_step)
                write_manifest(path, replace(manifest, **wanted.manifest))
    return wanted.path


def _checked_precision(recipe: Recipe, precision: str | None, fmt: str) -> str:
    if fmt not in FORMATS:
        raise UsageError(f"There is no format {fmt!r}.", f"Choose one of: {', '.join(FORMATS)}.")
    if FORMATS[fmt].int4_in_groups:
        return _peer_precision(recipe, precision, fmt)
    if fmt == "openvino" and precision == INT4 and recipe.stored() not in (recipe.stored(INT4), _GROUPS):
        return _GROUPS  # what OpenVINO's own compression makes of weights that were not trained for it
    stored = recipe.stored(precision)
    if fmt == "pt2":
        if precision not in (None, "fp32"):
            raise UsageError("A .pt2 file is float32 only.", "Leave out the precision, or ask for a .pte.")
        return "fp32"
    return stored


def _peer_precision(recipe: Recipe, precision: str | None, fmt: str) -> str:
    """What a file of another runtime is made in: of int4 it has steps for groups of weights alone, which hold a model
    that was trained with steps for channels as it is.
    """
    if precision == "int4-channel":
        raise UsageError(
            f"{FORMATS[fmt].runtime} has no int4 with a step for each channel.", f"Ask for int4: it is {_GROUPS} there."
        )
    asked = precision or recipe.precision
    return _GROUPS if asked in (INT4, _GROUPS) else recipe.stored(asked)


def _file_name(recipe: Recipe, precision: str, fmt: str, own: Record | None) -> str:
    """NAME.pte, with the precision where it is not the recipe's, and a hash where the weights are the user's own."""
    parts = [recipe.name]
    if own is not None:
        parts.append(own.weights_sha256[:8])
    usual = _peer_precision(recipe, None, fmt) if FORMATS[fmt].int4_in_groups else recipe.stored()
    if fmt != "pt2" and precision != usual:
        parts.append(precision)
    return ".".join(parts) + FORMATS[fmt].suffix


def _built_with(exporter: str, *more_code: str) -> dict[str, str]:
    """The versions that decide what an exporter writes, our own code's as a hash of it."""
    code = code_hash((EXPORTERS[exporter], *_EVERY_EXPORT, *more_code), _FOLLOWED)
    fmt = FORMATS.get(exporter) or FORMATS["pte"]
    try:
        return {"code": code} | {name: version(name) for name in fmt.packages}
    except PackageNotFoundError as error:
        raise UsageError(
            f"A {fmt.suffix} file is made with {error.name}, which is not installed.",
            f"Run `pip install 'edge-harness[{exporter}]'`.",
        ) from error


def _export_peer(
    model: GPT, path: Path, fmt: str, wanted: _Wanted, folder: Path | None, on_step: OnStep
) -> Mapping[str, Any]:
    """Write a file of another runtime, checked on the text that validates the model: by `export_FORMAT` of its module
    in `EXPORTERS`.
    """
    import torch

    from harness.models.train.data import validation_tokens

    record = read_record(folder or PACKAGED, wanted.recipe.name)
    assert record is not None, "its weights have just been loaded"
    tokens = torch.from_numpy(validation_tokens(record.tokenizer))
    export = getattr(import_module(EXPORTERS[fmt]), f"export_{fmt}")
    checked: Mapping[str, Any] = export(model, path, wanted.manifest["precision"], tokens, on_step)
    return checked


def _has_data(path: Path, manifest: Manifest) -> bool:
    """Whether the file of weights that belongs to the one at `path` is there, if there is to be one, and undamaged."""
    weights = data_file(path)
    if manifest.data_sha256 is None:
        return True
    return weights is not None and weights.exists() and sha256_file(weights) == manifest.data_sha256


def _made(wanted: _Wanted, export: Export, force: bool, folder: Path | None, on_step: OnStep) -> Path:
    assert isinstance(wanted.recipe, Recipe)
    with locked(wanted.path.with_name(f".{wanted.path.name}.lock")):
        if force or wanted.current() is None:
            on_step("reading the weights")
            from harness.models.zoo.artifact_manifest import artifact_manifest
            from harness.models.zoo.loading import load

            model, record = load(wanted.recipe.name, folder)
            with replacing_files(wanted.path.parent) as scratch:
                path = scratch / wanted.path.name
                checked = export(model, path) or {}
                manifest = artifact_manifest(path, wanted.recipe, model, record, wanted.manifest)
                write_manifest(path, replace(manifest, quality={**manifest.quality, **checked}))
    return wanted.path
