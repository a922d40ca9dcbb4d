"""A job: what one worker process is asked to do, written so that the same request always has the same name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from harness.errors import UsageError

_LATER = (
    "runtime",
    "precision",
    "window",
    "dram_budget_bytes",
    "policy",
    "predictor",
    "reader",
    "depth",
    "peer",
    "prompts_sha256",
    "rate_queries_per_s",
    "latency_bound_ns",
    "streams",
    "method",
    "input_sizes",
    "input_sets",
    "input_limits",
    "resolve",
    "ablation",
    "labels_sha256",
    "runtime_options",
    "versions_of",
    "prompts",
    "end_tokens",
)
MEASURES = ("latency", "memory", "energy", "quality", "profile", "describe", "reads")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One worker process. Every field is part of its identity; where files lie is not (see `Files`).

    `measure` names the pass: timing, memory, quality and operators never share a process. `runtime` is the one that was
    asked for, None for the target's own; `precision` what the target is to compute in, None for the file's own.
    `block` numbers the interleaved block, which makes each job one replicate. `min_*` and `max_*` say how long to warm
    up and to measure (iterations, seconds, tokens of the evaluation). Fields that a scenario does not use are None, so
    that they cannot tell equal jobs apart.

    Of the flash scenario: the tokens of its `window`, bytes for neurons in DRAM, the `policy` by which weights are
    read, how the neurons to be read are chosen (`predictor`), what reads and how much at once (`reader`, `depth`),
    whether fio is its `peer`, and the text that prompts come from; elsewhere `prompts_sha256` is of the prompts. Of
    server: the rate of arrivals, None to search for the highest, and the bound of its p99. Of multi-stream: the samples
    of a query, its `streams`.

    `method` is the one that runs, None for `forward` or the only one. `batch` is the samples of one execute, None where
    that is not known. `input_sizes` are those of made inputs where they are other than the file declares. Of quality by
    outputs: the number of different inputs, `input_sets`, and what the integers of each must stay below,
    `input_limits`, the same for all models that are compared. `resolve` is the difference, 0.05 for 5 %, that a
    comparison is to show: blocks like this one's are added until it does, and intervals allow for that. `ablation` is
    the model that an ablation is of: this job measures one policy of it, under a name that says both. With
    `labels_sha256`, the given inputs are samples with the classes that they belong to, and the timed ones the first
    batch of them. `runtime_options` are pairs of a name and a value, sorted, of options that the runtime declares
    (`harness.runtime.RuntimeOption`); None where all have their defaults. `versions_of` is the model that is run in
    several interpreters: this job runs it in one of them, under a name that says which versions that has. `prompts`
    says where those of a language model come from, None where they are random. What it generates ends after
    `new_tokens`, or with one of `end_tokens`: none where the model has none, None where prompts are not a user's.
    """

    target: str
    model: str
    model_sha256: str
    scenario: str
    measure: str = "latency"
    block: int = 0
    threads: int = 1
    cpus: tuple[int, ...] | None = None
    runtime: str | None = None
    precision: str | None = None
    compile: bool = False
    batch: int | None = 1
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    min_iterations: int = 30
    min_duration_s: float = 1.0
    max_duration_s: float = 60.0
    max_warmup_s: float = 2.0
    max_tokens: int | None = None
    seed: int = 0
    inputs_sha256: str | None = None
    data: str | None = None
    data_sha256: str | None = None
    reference_sha256: str | None = None
    window: int | None = None
    dram_budget_bytes: int | None = None
    policy: str | None = None
    predictor: str | None = None
    reader: str | None = None
    depth: int | None = None
    peer: bool | None = None
    prompts_sha256: str | None = None
    rate_queries_per_s: float | None = None
    latency_bound_ns: int | None = None
    streams: int | None = None
    method: str | None = None
    input_sizes: tuple[tuple[int, ...], ...] | None = None
    input_sets: int | None = None
    input_limits: tuple[int | None, ...] | None = None
    resolve: float | None = None
    ablation: str | None = None
    labels_sha256: str | None = None
    runtime_options: tuple[tuple[str, str], ...] | None = None
    versions_of: str | None = None
    prompts: str | None = None
    end_tokens: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """1 and 1.0 are equal, so they must be written alike."""
        for name in ("min_duration_s", "max_duration_s", "max_warmup_s", "rate_queries_per_s"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def job_id(self) -> str:
        """sha256 of the canonical JSON of every field: equal requests have equal ids, on any machine."""
        return _digest(_facts(self))

    @property
    def series_id(self) -> str:
        """The id shared by the replicates of one configuration: `job_id` without the block."""
        return _digest({key: value for key, value in _facts(self).items() if key != "block"})

    def canonical_json(self) -> str:
        """Sorted keys, no spaces: byte-identical for equal jobs."""
        return canonical_json(_facts(self))


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where a worker finds and leaves things: paths on the machine it runs on; no part of a job's identity.

    `data` is the file of the weights where they are not in the program (`.ptd`). `inputs` are those that a user gives
    (`harness.worker.given_inputs`), for the native worker a `.safetensors` of `set0_arg0`, `set0_arg1`, ...; `tokens`
    is an int64 `.npy`; `labels` are the classes of the given inputs (`harness.worker.labelled`); `output` is a folder.
    `prompts` is an int64 `.npy` [prompts, tokens] of those that are asked in turn. `neurons` and `reads` are for a
    worker without the engine: the file that lies in flash, and what the engine reads of it
    (`harness.flash.language_model.recording`). `python` is the interpreter that the worker is to run in, None for this
    one; the worker is not told.
    """

    model: str
    data: str | None = None
    inputs: str | None = None
    tokens: str | None = None
    labels: str | None = None
    output: str | None = None
    neurons: str | None = None
    reads: str | None = None
    prompts: str | None = None
    python: str | None = None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; tuples become lists. Raises ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def request_json(job: Job, files: Files) -> str:
    """The one line a worker reads from its standard input."""
    of_worker = {name: path for name, path in asdict(files).items() if name != "python"}
    return canonical_json({"protocol": 1, "job": _facts(job), "files": of_worker})


def parse_request(line: str) -> tuple[Job, Files]:
    """The inverse of `request_json`. Raises UsageError for anything else, naming unknown fields."""
    try:
        raw = json.loads(line)
        job, files = dict(raw["job"]), dict(raw["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"The worker was given no job ({error}).", "A worker is started by `harness run`.") from error
    for given, known in ((job, {f.name for f in fields(Job)}), (files, {f.name for f in fields(Files)})):
        if unknown := sorted(set(given) - known):
            raise UsageError(
                f"The job has unknown fields: {', '.join(unknown)}.", "Use one version of harness on both sides."
            )
    try:
        for name in ("cpus", "input_limits", "end_tokens"):
            if job.get(name) is not None:
                job[name] = tuple(job[name])
        if job.get("input_sizes") is not None:
            job["input_sizes"] = tuple(tuple(sizes) for sizes in job["input_sizes"])
        if job.get("runtime_options") is not None:
            job["runtime_options"] = tuple((str(name), str(value)) for name, value in job["runtime_options"])
        return Job(**job), Files(**files)
    except (TypeError, ValueError) as error:
        raise UsageError(f"The job lacks a field ({error}).", "Use one version of harness on both sides.") from error


def _facts(job: Job) -> dict[str, Any]:
    """Every field; those that came later only where they say something, so that jobs from before them
    keep their ids.
    """
    return {key: value for key, value in asdict(job).items() if key not in _LATER or value is not None}


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()
