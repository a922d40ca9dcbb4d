"""From what the user named to models that can be measured: their files, each described by a worker."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import DataError, UsageError
from harness.experiment.evaluation_text import Known, evaluation, tokenizer_for
from harness.experiment.model_source import ModelSource, Say
from harness.experiment.plan import Subject
from harness.experiment.progress import Describing, Failed, Note, Progress
from harness.experiment.request import NamedModel, RunRequest
from harness.experiment.session import Session
from harness.flash.io.proof import HIDDEN_CACHE
from harness.language.tokenizer import Tokenizer
from harness.language.tokenizer_file import FileTokenizer, read_tokenizer
from harness.outside_files import check_name
from harness.runtime import missing_runtime, unloadable_runtimes
from harness.target import Target


def find_files(models: Sequence[NamedModel], target: Target, source: ModelSource, say: Say) -> dict[str, Path]:
    """The file of each model, by path, then by name among those of `source`. Models that were given no name have that
    of their file, with its ending where files of several formats have that name, made unique by a number.

    Raises UsageError for what is neither a file nor a name, of no format that the target loads, or named in no UTF-8,
    and for a name given twice.
    """
    named = [model.source for model in models if not os.path.isfile(model.source)]
    built = dict(zip(named, source.files(named, target, say), strict=True)) if named else {}
    files: dict[str, Path] = {}
    paths = [built.get(model.source, Path(model.source)) for model in models]
    endings: dict[str, set[str]] = {}
    for model, path in zip(models, paths, strict=True):
        if model.name is None:
            endings.setdefault(path.stem, set()).add(path.suffix)
    for model, path in zip(models, paths, strict=True):
        if path.suffix not in target.capabilities.formats:
            lacking = missing_runtime(path.suffix, target.capabilities.runtimes)
            raise UsageError(
                f"Target {target.name} loads {', '.join(target.capabilities.formats)}, not {path.name}"
                + (f": {lacking.reason}." if lacking else "."),
                lacking.todo
                if lacking
                else " ".join([*unloadable_runtimes(), "Export the model to one of these formats."]),
            )
        check_name(path)
        if model.name is not None:
            if model.name in files:
                raise UsageError(f"Two models are called {model.name}.", "Give each a name of its own.")
            files[model.name] = path
            continue
        own = path.name if len(endings[path.stem]) > 1 else path.stem
        names = itertools.chain([own], (f"{own}#{number}" for number in itertools.count(2)))
        files[next(name for name in names if name not in files)] = path
    return files


def find_files_in_flash(request: RunRequest, target: Target, source: ModelSource, say: Say) -> tuple[NamedModel, ...]:
    """The models of a request as files: names stand for the form whose feed-forward weights lie in flash, built if need
    be: anew, too, where predictors are asked for and there are none.

    Raises UsageError for a name that there is not, HarnessError with the message of a build that failed.
    """
    if any((reading.name, reading.value) == ("hypervisor", "yes") for reading in target.environment()):
        say(HIDDEN_CACHE)
    predictors = request.predictor == "low-rank"
    return tuple(
        model
        if os.path.isfile(model.source)
        else model._replace(
            source=str(source.file_in_flash(model.source, predictors=predictors, text=request.data, say=say))
        )
        for model in request.models
    )


def describe_all(
    session: Session,
    files: Mapping[str, Path],
    interpreters: Mapping[str, Sequence[tuple[str, Path]]],
    request: RunRequest,
    source: ModelSource,
    progress: Progress,
) -> dict[str, Subject]:
    """What a worker says of each model, with its manifest and evaluation text; a model that cannot be described is left
    out, its failure recorded and reported. `interpreters` are, by model, those that it runs in where the user names
    some, each with its versions in words.
    """
    subjects = {}
    named = _each(request.tokenizers, len(files), "tokenizers", "--tokenizer")
    tokenizers: Sequence[FileTokenizer | None] = [read_tokenizer(path) for path in named] or [None] * len(files)
    for (model, path), data_file, given in zip(files.items(), _data_files(files, request), tokenizers, strict=True):
        progress(Describing(model))
        places: Sequence[tuple[str, Path | None]] = interpreters.get(model) or [("", None)]
        for method, (versions, python) in itertools.product(request.methods or (None,), places):
            plain = model if method is None else f"{model}:{method}"
            compared = plain if len(places) > 1 else None
            name = f"{plain} in {versions}" if compared else plain
            fields = {"method": method, "versions_of": compared}
            known = session.describe(
                name, path, data_file=data_file, method=method, python=python, versions_of=compared
            )
            if known is None:
                progress(Failed(session.failed[-1]))
                continue
            subject = Subject(
                name=name,
                path=path,
                sha256=known.sha256,
                description=known.description,
                manifest=known.manifest,
                data_file=known.data_file,
                python=python,
                fields={key: value for key, value in fields.items() if value is not None},
            )
            described = Known(name, path, known.description, known.manifest)
            try:
                tokenizer = _tokenizer(described, given, source, progress)
            except UsageError as error:
                session.refuse(subject, error)
                progress(Failed(session.failed[-1]))
                continue
            text = evaluation(described, tokenizer, request, source, session.scratch)
            subjects[name] = replace(subject, tokenizer=tokenizer, **text)
            if request.quality and (why := subjects[name].unmeasured_quality) is not None:
                progress(Note(f"{name}: quality is not measured: {why}"))
    return subjects


def _tokenizer(model: Known, given: FileTokenizer | None, source: ModelSource, progress: Progress) -> Tokenizer | None:
    """None, with a word to the user, where the file beside a model is no tokenizer: it can be measured without."""
    try:
        return tokenizer_for(model, given, source)
    except DataError as error:
        progress(Note(f"{model.name} is measured without the tokenizer next to it. {error.message}"))
        return None


def _data_files(files: Mapping[str, Path], request: RunRequest) -> Sequence[Path | None]:
    """The file of weights that the user names for each model, None where he names none."""
    if request.data_files and len(request.data_files) != len(files):
        raise UsageError(
            f"There are {len(files)} models and {len(request.data_files)} files of weights.",
            "Give --data-file once for each --model, in the same order, or not at all.",
        )
    return request.data_files or [None] * len(files)


def _each(given: Sequence[Path], models: int, what: str, flag: str) -> Sequence[Path]:
    """One for each model: one that is given alone is that of all."""
    if len(given) not in (0, 1, models):
        raise UsageError(
            f"There are {models} models and {len(given)} {what}.",
            f"Give {flag} once for all models, or once for each --model, in the same order.",
        )
    return list(given) * (models if len(given) == 1 else 1)
