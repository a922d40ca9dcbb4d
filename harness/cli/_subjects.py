"""From what the user named to models that can be measured: files found or built, each described by a worker."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.children import ending_with_us
from harness.cli._evaluation import evaluation
from harness.cli._progress import Reporter
from harness.errors import HarnessError, UsageError
from harness.experiment.plan import Subject
from harness.experiment.session import Session
from harness.outside_files import check_name
from harness.runtime import missing_runtime
from harness.target import Target


def find_artifacts(models: tuple[str, ...], target: Target, reporter: Reporter) -> dict[str, Path]:
    """The file of each model, by path, then by name among those that harness can build; names are made unique.

    Raises UsageError for what is neither a file nor a name, of no format that the target loads, or named in no UTF-8.
    """
    paths = [Path(text) for text in models]
    named = [path for path in paths if not os.path.isfile(path)]
    built = dict(zip(named, _build([zoo_format(path, target) for path in named], reporter), strict=True))
    found: dict[str, Path] = {}
    for path in (built.get(path, path) for path in paths):
        if path.suffix not in target.capabilities.formats:
            lacking = missing_runtime(path.suffix, target.capabilities.runtimes)
            raise UsageError(
                f"Target {target.name} loads {' and '.join(target.capabilities.formats)}, not {path.name}"
                + (f": {lacking.reason}." if lacking else "."),
                lacking.todo if lacking else "Export the model to one of these formats.",
            )
        check_name(path)
        names = itertools.chain([path.stem], (f"{path.stem}#{number}" for number in itertools.count(2)))
        found[next(name for name in names if name not in found)] = path
    return found


def zoo_format(path: Path, target: Target) -> tuple[str, str]:
    """Name and format of a model that harness can build: `selfcomp`, or `selfcomp.pte` in no folder; `static` where the
    target compiles fixed shapes, `cached` where it has torch to generate with and no `.pt2` was asked for.

    Raises UsageError for any other path.
    """
    from harness.models.zoo import known

    suffix = path.suffix if path.suffix in (".pte", ".pt2") else ""
    name = path.name.removesuffix(suffix)
    if path.parent != Path() or not known(name):
        raise UsageError(f"{path} is neither a file nor the name of a model.", "`harness models list` shows the names.")
    if target.capabilities.static_shapes:
        return name, "static"
    if not suffix and target.capabilities.formats[0] == ".pt2" and "generate" in target.capabilities.scenarios:
        return name, "cached"
    return name, (suffix or target.capabilities.formats[0]).removeprefix(".")


def _build(wanted: list[tuple[str, str]], reporter: Reporter) -> list[Path]:
    """The files of these models. Those that are not there yet are built side by side, each in a process of its own:
    the exporter takes a minute and one processor.
    """
    from harness.models.zoo import artifact, built, built_cached, built_static, cached, static

    def ready(name: str, fmt: str) -> Path | None:
        variants = {"static": built_static, "cached": built_cached}
        return variants[fmt](name) if fmt in variants else built(name, fmt=fmt)

    missing = [(name, fmt) for name, fmt in dict.fromkeys(wanted) if ready(name, fmt) is None]
    if missing:
        reporter.note(f"building {', '.join(name for name, _ in missing)}, once: about a minute")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for ended in pool.map(_build_one, missing):
            if ended.returncode != 0:
                what, _, todo = ended.stderr.strip().removeprefix("harness: ").partition("\n")
                raise HarnessError(what, todo)
    variants = {"static": static, "cached": cached}
    return [variants[fmt](name) if fmt in variants else artifact(name, fmt=fmt) for name, fmt in wanted]


def _build_one(model: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "harness", "models", "build", model[0], "--format", model[1]]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=ending_with_us())


def describe_all(
    session: Session, artifacts: dict[str, Path], options: dict[str, Any], reporter: Reporter
) -> dict[str, Subject]:
    """What a worker says of each model, with its manifest and evaluation text; a model that cannot be described is left
    out, its failure recorded and shown.
    """
    subjects = {}
    for (artifact, path), data_file in zip(artifacts.items(), _data_files(artifacts, options), strict=True):
        reporter.note(f"describing {artifact}")
        for method in options.get("methods") or (None,):
            name = artifact if method is None else f"{artifact}:{method}"
            known = session.describe(name, path, data_file=data_file, method=method)
            if known is None:
                reporter.failure(session.failed[-1])
                continue
            subjects[name] = Subject(
                name=name,
                path=path,
                sha256=known.sha256,
                description=known.description,
                manifest=known.manifest,
                data_file=known.data_file,
                fields={} if method is None else {"method": method},
                **evaluation(name, known.description, known.manifest, options, session.scratch),
            )
            if (why := subjects[name].unmeasured_quality) is not None:
                reporter.note(f"{name}: quality is not measured: {why}")
    return subjects


def _data_files(artifacts: dict[str, Path], options: dict[str, Any]) -> Sequence[Path | None]:
    """The file of weights that the user names for each model, None where he names none."""
    given: tuple[Path, ...] = options.get("data_files", ())
    if given and len(given) != len(artifacts):
        raise UsageError(
            f"There are {len(artifacts)} models and {len(given)} files of weights.",
            "Give --data-file once for each --model, in the same order, or not at all.",
        )
    return given or [None] * len(artifacts)
