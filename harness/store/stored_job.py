"""The request that a stored run answered, read from its column `job_json`, whatever version of harness wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from harness.job import Job


@dataclass(frozen=True, kw_only=True)
class StoredJob:
    """The fields of a job that analysis reads, with the meaning and units that they have in `harness.job.Job`; None
    where the row has none, since its job had none, an older harness did not know it, or another program wrote it.

    `ablation` is the model of which the run measured one policy, of jobs that have a policy each; `versions_of` that
    which it ran in one of several interpreters. `fields` has every
    field as it was stored, those of later versions included.
    """

    model: str | None = None
    scenario: str | None = None
    min_iterations: int | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    max_tokens: int | None = None
    precision: str | None = None
    inputs_sha256: str | None = None
    input_sizes: tuple[tuple[int, ...], ...] | None = None
    window: int | None = None
    dram_budget_bytes: int | None = None
    policy: str | None = None
    predictor: str | None = None
    reader: str | None = None
    depth: int | None = None
    prompts_sha256: str | None = None
    rate_queries_per_s: float | None = None
    latency_bound_ns: int | None = None
    streams: int | None = None
    resolve: float | None = None
    ablation: str | None = None
    runtime_options: tuple[tuple[str, str], ...] | None = None
    versions_of: str | None = None
    prompts: str | None = None
    prompt_tokens: int | None = None
    end_tokens: tuple[int, ...] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False)


_NAMES = frozenset(StoredJob.__dataclass_fields__) - {"fields"}


def read_job(text: object) -> StoredJob:
    """The job in a row's `job_json`, which is null in results of other programs: nothing is known of such a job."""
    return _read(text) if isinstance(text, str) and text else StoredJob()


def stored(job: Job) -> StoredJob:
    """A job as a later reader of its row will see it."""
    return _read(job.canonical_json())


@lru_cache(maxsize=4096)
def _read(text: str) -> StoredJob:
    fields = json.loads(text)
    known = {name: value for name, value in fields.items() if name in _NAMES and value is not None}
    if "input_sizes" in known:
        known["input_sizes"] = tuple(tuple(sizes) for sizes in known["input_sizes"])
    if "runtime_options" in known:
        known["runtime_options"] = tuple((str(name), str(value)) for name, value in known["runtime_options"])
    return StoredJob(**{"ablation": _older_ablation(fields), **known}, fields=fields)


def _older_ablation(fields: Mapping[str, Any]) -> str | None:
    """The model of an ablation by a harness that had no field for it: the names of its jobs end with the policy."""
    name, policy = str(fields.get("model")), fields.get("policy")
    base = name.removesuffix(f" {policy}")
    return None if policy is None or base == name else base.removesuffix(" +")
