"""From what the user named to models that can be measured: files found or built, each described by a worker."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from harness.cli._evaluation import evaluation
from harness.cli._progress import Reporter
from harness.errors import UsageError
from harness.plan import Subject
from harness.session import Session
from harness.target import Target


def find_artifacts(models: tuple[str, ...], target: Target, reporter: Reporter) -> dict[str, Path]:
    """The file of each model, by path, then by name among the zoo's artifacts (built if need be); names are made
    unique.
    """
    found: dict[str, Path] = {}
    for text in models:
        path = Path(text)
        if not path.is_file():
            path = _built(text, path, target.capabilities.formats, reporter)
        if path.suffix not in target.capabilities.formats:
            raise UsageError(
                f"Target {target.name} loads {' and '.join(target.capabilities.formats)}, not {path.name}.",
                "Export the model to one of these formats.",
            )
        names = itertools.chain([path.stem], (f"{path.stem}#{number}" for number in itertools.count(2)))
        found[next(name for name in names if name not in found)] = path
    return found


def _built(text: str, path: Path, formats: tuple[str, ...], reporter: Reporter) -> Path:
    from harness.models.zoo import artifact, known

    suffix = path.suffix if path.suffix in (".pte", ".pt2") else ""
    name = path.name.removesuffix(suffix)
    if path.parent != Path() or not known(name):
        raise UsageError(f"{text} is neither a file nor the name of a model.", "`harness models list` shows the names.")
    reporter.note(f"looking up {name} among the built models; the first time it is built, which takes half a minute")
    return artifact(name, fmt=(suffix or formats[0]).removeprefix("."))


def describe_all(
    session: Session, artifacts: dict[str, Path], options: dict[str, Any], reporter: Reporter
) -> dict[str, Subject]:
    """What a worker says of each model, with its manifest and evaluation text; a model that cannot be described is left
    out, its failure recorded and shown.
    """
    subjects = {}
    for name, path in artifacts.items():
        reporter.note(f"describing {name}")
        known = session.describe(name, path)
        if known is None:
            reporter.failure(session.failed[-1])
            continue
        sha256, description, manifest = known
        subjects[name] = Subject(
            name=name,
            path=path,
            sha256=sha256,
            description=description,
            manifest=manifest,
            **evaluation(name, description, manifest, options, session.scratch),
        )
        if (why := subjects[name].unmeasured_quality) is not None:
            reporter.note(f"{name}: quality is not measured: {why}")
    return subjects
