"""The models of the zoo that share a parent, built and measured in sessions of comparable length, each next to that
parent. What is there already is read from the results themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.api.building import Note, find_or_build
from harness.api.sharding import shards
from harness.api.zoo import Zoo, zoo_format
from harness.api.zoo_selection import Selection
from harness.errors import HarnessError, UsageError
from harness.experiment import run as experiment
from harness.experiment.plan import MEMORY_PROCESSES
from harness.experiment.progress import Progress
from harness.experiment.request import NamedModel, RunRequest
from harness.experiment.run import Outcome, available_target
from harness.experiment.sweeps import filled_in
from harness.manifest import sha256_file
from harness.models.zoo.artifacts import built
from harness.store.dataset import read_table
from harness.target import Target


@dataclass(frozen=True)
class Shard:
    """The models of one session beside the parent. `session_id` is the session that it goes on with, None of a new
    one.
    """

    models: tuple[str, ...]
    session_id: str | None = None


@dataclass(frozen=True)
class Built:
    """The files that were built or found, by model, and of every other model why there is none."""

    files: Mapping[str, Path]
    failed: Mapping[str, str]


@dataclass(frozen=True)
class Expected:
    """What a run would do: `to_build`, the `shards`, how many `processes` they start, and how long these measure at
    least; `estimated_s` is how long such processes took before, None where a pass was not made of these models.
    """

    to_build: tuple[str, ...]
    shards: tuple[Shard, ...]
    processes: int
    measuring_s_at_least: float
    estimated_s: float | None


def build(names: Sequence[str], target: Target, note: Note) -> Built:
    """Every model as a file that `target` loads. One that cannot be built does not end the others."""

    def one(name: str) -> Path | str:
        try:
            (path,) = find_or_build([zoo_format(Path(name), target)], note)
        except HarnessError as error:
            note(f"{name} cannot be built: {error}")
            return str(error)
        return path

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = dict(zip(names, pool.map(one, names), strict=True))
    return Built(
        {name: path for name, path in made.items() if isinstance(path, Path)},
        {name: why for name, why in made.items() if isinstance(why, str)},
    )


def found(names: Sequence[str], target: Target) -> dict[str, Path]:
    """The files of those that are built already."""
    paths = {}
    for name in names:
        try:
            path = built(*_name_and_format(name, target))
        except UsageError:  # the target takes no file of it: building it says so
            path = None
        if path is not None:
            paths[name] = path
    return paths


def plan(
    parent: str, names: Sequence[str], files: Mapping[str, Path], per_session: int, results: Path | None, target: Target
) -> list[Shard]:
    """The sessions in which `names` are measured. With `results`, models that a session there measured next to
    `parent`, from the same files and on the same device, stay in it, and all others are cut into new ones.

    Raises UsageError for no room for a model, StoreError for results that cannot be read.
    """
    if per_session < 1:
        raise UsageError(f"A session of {per_session} models measures nothing.", "Give --per-session 1 or more.")
    earlier: list[Shard] = []
    if results is not None and parent in files:
        earlier = _earlier(parent, names, files, results, target)
    there = {name for shard in earlier for name in shard.models}
    left = [name for name in names if name not in there]
    return [*earlier, *(Shard(tuple(part)) for part in shards(left, per_session))]


def expect(
    parent: str,
    selection: Selection,
    per_session: int,
    results: Path,
    options: Mapping[str, Any],
    *,
    resume: bool,
) -> Expected:
    """What `run` would do; nothing is built, measured or stored. Raises as `plan` and `available_target` do."""
    request = _request([NamedModel(parent)], options)
    target = available_target(request)
    names = selection.buildable
    files = found([parent, *names], target)
    planned = plan(parent, names, files, per_session, results if resume else None, target)
    request = filled_in(request, target)
    assert request.processes is not None
    assert request.min_duration_s is not None
    count = len(names) + len(planned)
    memory = min(request.processes, MEMORY_PROCESSES) if target.capabilities.memory and request.memory else 0
    passes = {"latency": request.processes, "memory": memory, "quality": int(request.quality)}
    return Expected(
        tuple(name for name in (parent, *names) if name not in files),
        tuple(planned),
        count * sum(passes.values()),
        count * request.processes * request.min_duration_s,
        _estimated_s(results, target, [parent, *names], {name: n * count for name, n in passes.items() if n}),
    )


def run(
    parent: str,
    planned: Sequence[Shard],
    files: Mapping[str, Path],
    results: Path,
    options: Mapping[str, Any],
    progress: Callable[[Shard, int], Progress],
) -> Iterator[tuple[Shard, Outcome]]:
    """Measure the shards one after the other, `parent` first in each; `progress` gives what hears of a shard and of its
    number, from 1. Raises what `harness.experiment.run.run` does.
    """
    for number, shard in enumerate(planned, 1):
        models = [NamedModel(str(files[name]), name) for name in (parent, *shard.models)]
        request = _request(models, {**options, "skip_existing": shard.session_id is not None})
        yield shard, experiment.run(request, results, Zoo(), progress(shard, number))


def _request(models: Sequence[NamedModel], options: Mapping[str, Any]) -> RunRequest:
    return RunRequest(models=tuple(models), **options)


def _name_and_format(name: str, target: Target) -> tuple[str, str | None, str]:
    """The arguments of `built`. Raises UsageError for a form that has a finder of its own."""
    known, fmt = zoo_format(Path(name), target)
    if fmt in ("static", "cached"):
        raise UsageError(f"{name} is built in another form there.")
    return known, None, fmt


def _earlier(
    parent: str, names: Sequence[str], files: Mapping[str, Path], results: Path, target: Target
) -> list[Shard]:
    """The sessions of `results` that measured some of `names` next to `parent`, each with those that no newer one has,
    in the order in which they were begun.
    """
    runs = _runs(results, target)
    hashes = {name: sha256_file(path) for name, path in files.items() if name in (parent, *names)}
    runs = runs[runs["model_sha256"] == runs["model"].map(hashes)]
    sessions = runs.groupby("session_id")["started_at"].min().sort_values(ascending=False).index
    of_session = {str(session): set(runs[runs["session_id"] == session]["model"]) for session in sessions}
    taken: set[str] = set()
    kept: list[Shard] = []
    for session, models in of_session.items():
        own = tuple(name for name in names if name in models and name not in taken)
        if parent in models and own:
            kept.append(Shard(own, session))
            taken.update(own)
    return kept[::-1]


def _runs(results: Path, target: Target) -> pd.DataFrame:
    """The runs that ended well on this device and were more than a look at a model."""
    runs = read_table(results, "runs")
    well = (runs["status"] == "ok") & (runs["measure"] != "describe")
    return runs[well & (runs["target"] == target.name) & (runs["device"] == target.device())]


def _estimated_s(results: Path, target: Target, names: Sequence[str], passes: Mapping[str, int]) -> float | None:
    """How long so many processes of each pass take, by the mean of those of these models in `results`."""
    runs = _runs(results, target)
    runs = runs[runs["model"].isin(list(names))]
    total = 0.0
    for measure, count in passes.items():
        own = runs[runs["measure"] == measure]
        if own.empty:
            return None
        total += count * float((own["finished_at"] - own["started_at"]).dt.total_seconds().mean())
    return total
