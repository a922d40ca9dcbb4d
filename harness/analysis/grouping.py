"""Which runs belong in one table: the same device, scenario and options, whatever the model, the block or the
day.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from harness.conditions.fields import FIELDS, KEY, Condition, condition_of, option_words
from harness.conditions.shared_options import by_options
from harness.errors import NothingComparable, UsageError
from harness.job import canonical_json
from harness.scenarios.catalogue import SCENARIOS
from harness.store.schemas import RUNS
from harness.store.stored_job import StoredJob, read_job

# How the fingerprint names the version of a runtime.
RUNTIME = "version."
# How the settings of a run name the runtime itself.
RUNTIME_SETTING = "runtime"
YARDSTICK_SETTING = "yardstick"
"""What a runtime says of itself that others are set against and nobody should choose."""

# One row of the `runs` table: columns as in `harness.store.schemas`, None where the table has a null.
Run = dict[str, Any]

_QUALITY_WIDTH = sum(each.decides_quality for each in FIELDS if each.keyed)
# What a job says of its model, its replicate and its quality data, and what it does after all is measured (`peer`); all
# other options must be equal. Those of a runtime sort runs afterwards (`_by_runtime_options`).
_FREE = (
    "model",
    "model_sha256",
    "block",
    "measure",
    "inputs_sha256",
    "reference_sha256",
    "data",
    "data_sha256",
    "peer",
    "method",
    "input_sizes",
    "input_sets",
    "input_limits",
    "resolve",
    "ablation",
)


@dataclass(frozen=True)
class Model:
    """A column: the name it is shown by, and the name and hash in the store."""

    label: str
    name: str
    sha256: str | None


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dictionaries of Python values, with None for every null."""
    columns = {str(name): [_clean(value) for value in frame[name].tolist()] for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def run_records(frame: pd.DataFrame) -> list[Run]:
    """The rows of `runs` in the order they were made, with the integers that pandas turned into floats for a
    null's sake.
    """
    integers = {field.name for field in RUNS if pa.types.is_integer(field.type)}
    rows = records(frame.sort_values(["started_at", "position"], kind="stable"))
    return [
        {key: int(value) if key in integers and value is not None else value for key, value in row.items()}
        for row in rows
    ]


def _clean(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (str, list)):
        return value
    return None if pd.isna(value) else value


def group(runs: Sequence[Run]) -> list[tuple[Condition, list[Run]]]:
    """Runs by condition, in order of first appearance; `runs` in the order they were made.

    Latency runs define the conditions, whatever the number of processes and however long each was to measure: a median
    of more queries is the same figure, and the notes of a comparison say where these differ. Memory and energy runs
    join those with the same scenario and options, quality runs all those of the same device. Quality on two data sets
    makes two tables.
    """
    devices = {run["target"]: run["device"] for run in reversed(runs) if run["device"] is not None}
    runs = [run | {"device": run["device"] or devices.get(run["target"])} for run in runs]
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in (run for run in runs if run["measure"] == "latency"):
        groups.setdefault((*_key(run), _work_of(run)), []).append(run)
    for measure, width in (
        ("memory", len(KEY)),
        ("energy", len(KEY)),
        ("quality", _QUALITY_WIDTH),
        ("describe", _QUALITY_WIDTH),
    ):
        present = list(groups)
        for run in (run for run in runs if run["measure"] == measure):
            joined = [key for key in present if key[:width] == _key(run)[:width] and _meets(run, groups[key][0])]
            if measure == "energy":  # it depends on all that was asked but for how long
                work = lasting(_work_of(run))
                joined = [key for key in joined if lasting(key[-1]) == work]
            for key in joined or [(*_key(run), None)]:
                groups.setdefault(key, []).append(run)
    order = {run["attempt_id"]: index for index, run in enumerate(runs)}
    parts = [
        (replace(condition, runtime_options=option_words(options)), part)
        for members in groups.values()
        for options, alike in _by_runtime_options(sorted(members, key=lambda r: order[r["attempt_id"]]))
        for condition, part in _by_data(alike)
    ]
    return sorted(parts, key=lambda pair: order[pair[1][0]["attempt_id"]])


def models_of(runs: Iterable[Run]) -> list[Model]:
    """The models in order of first appearance. Two files of one name are two models, distinguished by their
    hash.
    """
    hashes: dict[str, list[str]] = {}
    for run in runs:
        known = hashes.setdefault(run["model"], [])
        if run["model_sha256"] is not None and run["model_sha256"] not in known:
            known.append(run["model_sha256"])
    models = []
    for name, known in hashes.items():
        if len(known) < 2:
            models.append(Model(name, name, known[0] if known else None))
        models += [Model(f"{name}@{sha256[:8]}", name, sha256) for sha256 in known if len(known) > 1]
    return models


def is_of(run: Run, model: Model) -> bool:
    """Whether `run` is one of `model`; a run that failed before the file was hashed belongs to its name."""
    return run["model"] == model.name and run["model_sha256"] in (model.sha256, None)


def measured_name(name: str, known: Sequence[str]) -> str:
    """The name in the store that is meant: by itself, as the file or the model that `harness run` was given
    (`baseline.pte`, `baseline` of `baseline-small`), or by its beginning where no other begins so. Raises UsageError.
    """
    for wanted in (name, Path(name).stem):
        candidates = [wanted] if wanted in known else [other for other in known if other.startswith(wanted)]
        if len(candidates) == 1:
            return candidates[0]
    if candidates:
        raise UsageError(f"{name!r} begins several models: {', '.join(candidates)}.", "Write more of the one you mean.")
    raise UsageError(
        f"Not measured here: {name}.",
        f"Models in this selection: {', '.join(known)}. `--session all` takes every session, not the newest alone.",
    )


def choose(models: Sequence[Model], baseline: str | None) -> list[Model]:
    """The models with the baseline first: the one so named, or the first. Raises UsageError if there is none
    so named.
    """
    if baseline is None:
        return list(models)
    if not any(baseline == model.label for model in models):
        baseline = measured_name(baseline, list(dict.fromkeys(model.name for model in models)))
    named = [model for model in models if baseline in (model.label, model.name)]
    return [named[0], *(model for model in models if model is not named[0])]


def different_fields(runs: Iterable[Run]) -> list[str]:
    """Names of the conditions in which these runs differ, each with its values; empty where they may be
    compared.

    Runs of different passes (latency, memory, quality) are not set against each other. A runtime that only
    some of the runs have belongs to the format of their model; two versions of one runtime are a difference, except
    between interpreters that were to be compared. A
    reading that some lack was not taken by the harness that made them: nobody knows of a difference.
    """
    differences: dict[str, None] = {}
    alike: dict[tuple[str, str | None], dict[str, dict[str, str]]] = {}
    for run in runs:
        if run["fingerprint"] is None:
            continue
        fields = flatten(json.loads(run["fingerprint_json"] or "{}"))
        if read_job(run["job_json"]).versions_of is None:
            alike.setdefault((run["measure"], None), {}).setdefault(run["fingerprint"], fields)
            continue
        # Versions are what is compared: one model has the same in all its runs, and all share what else there is.
        others = {name: value for name, value in fields.items() if not name.startswith(RUNTIME)}
        alike.setdefault((run["measure"], run["model"]), {}).setdefault(run["fingerprint"], fields)
        alike.setdefault((run["measure"], None), {}).setdefault(canonical_json(others), others)
    for prints in alike.values():
        if len(prints) < 2:
            continue
        for name in sorted({name for fields in prints.values() for name in fields}):
            values = list(dict.fromkeys(fields[name] for fields in prints.values() if name in fields))
            if len(values) > 1:
                differences[f"{name} ({' / '.join(values)})"] = None
        if all(fields == next(iter(prints.values())) for fields in prints.values()):
            differences["fingerprint (" + " / ".join(key[:12] for key in prints) + ")"] = None
    return list(differences)


def joined_fingerprints(runs: Iterable[Run]) -> dict[str, str]:
    """The fingerprints of these runs, in the order they were made, each with the first of those that differ from it in
    nothing but readings that one of them lacks, since an older harness did not take them. Runtimes must be the same.
    """
    first: list[tuple[str, dict[str, str]]] = []
    joined: dict[str, str] = {}
    for run in runs:
        if (key := run["fingerprint"]) is None or key in joined:
            continue
        fields = flatten(json.loads(run["fingerprint_json"] or "{}"))
        fields |= {"target": str(run["target"]), "device": str(run["device"])}
        for name, known in first:
            apart = fields.keys() ^ known.keys()
            alike = all(fields[field] == known[field] for field in fields.keys() & known.keys())
            if alike and apart and not any(field.startswith(RUNTIME) for field in apart):
                known |= fields
                joined[key] = name
                break
        else:
            first.append((key, fields))
            joined[key] = key
    return joined


def settings_by_model(runs: Sequence[Run], models: Sequence[Model]) -> dict[str, dict[str, str]]:
    """What the runtime of each model ran with in the passes of `runs`, by the label of the model; a setting that was
    not always the same has all its values. Empty for a model whose worker did not say.
    """
    return {
        model.label: {name: " or ".join(values) for name, values in setting_values(runs, model).items()}
        for model in models
    }


def setting_values(runs: Iterable[Run], model: Model) -> dict[str, list[str]]:
    """Every value that each setting had in those of `runs` that are of the model."""
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, value in settings_of(run).items() if is_of(run, model) else ():
            values.setdefault(name, {})[value] = None
    return {name: list(different) for name, different in values.items()}


def runtimes_of(runs: Iterable[Run]) -> tuple[str, ...]:
    """The runtimes of `runs` with their versions, such as `executorch 1.5.0`, sorted."""
    names = {
        f"{name.removeprefix(RUNTIME)} {version}"
        for run in runs
        for name, version in flatten(json.loads(run["fingerprint_json"] or "{}")).items()
        if name.startswith(RUNTIME)
    }
    return tuple(sorted(names))


def check_comparable(condition: Condition, runs: Iterable[Run]) -> None:
    """Raises NothingComparable, naming the fields, if `runs` were measured under different conditions."""
    if different := different_fields(runs):
        raise NothingComparable(
            f"Runs of {condition.scenario} on {condition.target} were made under different conditions: "
            f"{'; '.join(different)}.",
            "Measure the models together in one `harness run`, or compare with --allow-different.",
        )


def distinct(runs: Sequence[Run], column: str) -> tuple[str, ...]:
    """The values of a column as text, in order of first appearance, nulls left out."""
    return tuple(dict.fromkeys(str(run[column]) for run in runs if run[column] is not None))


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested JSON objects as one level with dotted names, values as text."""
    if not isinstance(value, dict):
        return {prefix or "value": value if isinstance(value, str) else json.dumps(value, sort_keys=True)}
    flat: dict[str, str] = {}
    for key in sorted(value):
        flat |= flatten(value[key], f"{prefix}.{key}" if prefix else str(key))
    return flat


def asked_resolution(run: Run) -> float | None:
    """The difference that the blocks of this run's session were to show, 0.05 for 5 %; None where their number was
    fixed.
    """
    return read_job(run["job_json"]).resolve if run["measure"] == "latency" else None


def _key(run: Run) -> tuple[Any, ...]:
    return tuple(run[name] for name in KEY)


def _meets(run: Run, latency: Run) -> bool:
    """Whether memory or quality is of what was timed, such as the precision; a description says nothing of it but the
    model whose versions are compared.
    """
    jobs = [read_job(item["job_json"]) for item in (run, latency)]
    asked = [item.from_job for item in FIELDS if item.decides_quality and item.from_job is not None]
    if run["measure"] == "describe":
        return jobs[0].versions_of in (None, jobs[1].versions_of)
    return all(value(jobs[0]) == value(jobs[1]) for value in asked)


def options_of(job: StoredJob, *, of_runtime: bool = True) -> str:
    """What a job was asked for, but for what belongs to its model, its replicate and its quality data, as JSON; with
    the options of its runtime, or without.
    """
    free = {*_FREE, *(["policy"] if job.ablation is not None else []), *([] if of_runtime else ["runtime_options"])}
    return json.dumps({key: value for key, value in job.fields.items() if key not in free}, sort_keys=True)


def _work_of(run: Run) -> str:
    """What a run was asked for, but for the options of its runtime, and for how long it was to measure where that is
    not the scenario itself.
    """
    options = options_of(read_job(run["job_json"]), of_runtime=False)
    scenario = SCENARIOS.get(run["scenario"])
    return options if scenario is not None and scenario.on_end else canonical_json(lasting(options))


def lasting(options: str | None) -> dict[str, Any]:
    """Options without those that say how long to measure."""
    given: dict[str, Any] = json.loads(options or "{}")
    return {key: value for key, value in given.items() if not key.startswith(("min_", "max_"))}


def settings_of(run: Run) -> dict[str, str]:
    """What the runtime of a run really ran with, by name; empty where its worker did not say, or did not get so far."""
    settings: dict[str, str] = json.loads(run.get("settings_json") or "{}")
    return settings


def _by_runtime_options(members: list[Run]) -> list[tuple[tuple[tuple[str, str], ...], list[Run]]]:
    """Runs by the values of those options of runtimes that any of them set."""
    given = [dict(read_job(run["job_json"]).runtime_options or ()) for run in members]
    named = list(dict.fromkeys(name for options in given for name in options))
    # Behind a value stands what the library made of it: models may differ in that and have the same option.
    values = [
        {name: value.partition(" (")[0] for name, value in settings_of(run).items()} | options
        for run, options in zip(members, given, strict=True)
    ]
    return [(options, [members[number] for number in numbers]) for options, numbers in by_options(values, named)]


def _data(run: Run) -> tuple[str | None, str | None, int | None]:
    """The data set a quality run used: its name, its hash, how many of its tokens."""
    return run["data"], run["data_sha256"], read_job(run["job_json"]).max_tokens


def _by_data(members: list[Run]) -> list[tuple[Condition, list[Run]]]:
    """One condition a data set that quality was measured on; one without data where none was at hand. What a session
    timed belongs to the data that it measured quality on, where it did: it may have been timed on other inputs than
    those of another session.
    """
    timed = {run["model"] for run in members if run["measure"] in ("latency", "memory", "energy")}
    members = [run for run in members if not timed or run["model"] in timed or run["measure"] == "describe"]
    first = next((run for run in members if run["measure"] == "latency"), members[0])
    measured = [run for run in members if run["data_sha256"] is not None or run["data"] is not None]
    others = [run for run in members if run not in measured]
    if not measured:
        return [(condition_of(first), members)]
    data_of: dict[str, set[tuple[str | None, str | None, int | None]]] = {}
    for run in measured:
        data_of.setdefault(run["session_id"], set()).add(_data(run))
    return [
        (
            condition_of(first, data[0], data[1]),
            [run for run in others if data in data_of.get(run["session_id"], {data})]
            + [run for run in measured if _data(run) == data],
        )
        for data in dict.fromkeys(_data(run) for run in measured)
    ]


def at_own_rates(runs: Sequence[Run]) -> bool:
    """Whether each model of these runs was measured at the highest rate of arrivals that it holds itself."""
    jobs = (read_job(run["job_json"]) for run in runs if run["measure"] == "latency" and run["status"] == "ok")
    return any(_takes_a_rate(job.scenario) and job.rate_queries_per_s is None for job in jobs)


def _takes_a_rate(scenario: str | None) -> bool:
    return scenario in SCENARIOS and "rate" in SCENARIOS[scenario].options
