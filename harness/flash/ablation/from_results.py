"""The ablation of a language model, from the processes of a session: a row per model and policy.

One value per process, the median over its decoded tokens; the interval is Student's t over processes. Only processes
that ended well count: one of which the kernel fetched less than was asked for did not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.flash.ablation.policies import Policy, named
from harness.flash.ablation.summary import Summary
from harness.flash.io.proof import Proof, prove
from harness.statistics.ratio import paired_ratio
from harness.statistics.summary import Estimate, log_mean
from harness.store.dataset import read_tables
from harness.store.stored_job import StoredJob, read_job

Values = dict[int, float]  # by block
_LOSSES = ("whole_loss_nats", "loss_nats", "argmax_agreement", "predicted_tokens")
_PREDICTED = ("predictor_active", "predictor_missed", "predictor_predicted", "predictor_false_alarms")
# Where each estimate of a summary comes from.
_PHASES = {
    "throughput": "decode_read",
    "io": "decode_io",
    "reader": "decode_read",
    "mem": "decode_mem",
    "compute": "decode_compute",
    "token": "decode",
}


@dataclass(frozen=True)
class Ablation:
    """Of one `model` in one `session`. `job` are the fields that all rows have in common; `agreement` is the least
    share of tokens, over all processes, that are those of the whole model, None where only reads were made again;
    `quality` is empty where it was not measured, and has what predictors missed only where there were some. `virtual`:
    the device was a virtual machine, below which caches cannot be seen.
    """

    model: str
    session: str
    job: dict[str, object]
    processes: int
    rows: tuple[Summary, ...]
    agreement: float | None
    quality: dict[str, float]
    virtual: bool


def read_ablation(results: Path, session: str) -> list[Ablation]:
    """The ablations of a session, one a model file, its policies in the order of the first block. Raises as
    `read_tables`.
    """
    tables = read_tables(results, session, ("io",))
    runs = tables.runs[tables.runs["scenario"] == "flash"].set_index("attempt_id")
    jobs = {str(attempt): read_job(text) for attempt, text in runs["job_json"].items()}
    runs = runs.assign(policy=[str(job.policy) for job in jobs.values()])
    return [
        _ablation(group, tables.samples, tables.scalars, tables.others["io"], jobs)
        for _, group in runs.groupby(["session_id", "model_sha256"], sort=False)
    ]


class _Stored:
    """What the processes of one policy stored, by attempt: `ids` are those that count, by block."""

    def __init__(self, ids: Mapping[int, str], samples: pd.DataFrame, scalars: pd.DataFrame) -> None:
        self._ids = ids
        self._scalars = scalars.dropna(subset="value").set_index(["attempt_id", "name"])["value"]
        own_samples = samples[samples["attempt_id"].isin(list(ids.values()))]
        self._durations = own_samples.groupby(["attempt_id", "phase"], observed=True)["duration_ns"]

    def total(self, name: str) -> float:
        """Of a scalar over all processes."""
        return sum(float(self._scalars[attempt, name]) for attempt in self._ids.values())

    def tokens(self) -> int:
        """That were decoded in all processes."""
        return sum(int(self._durations.size()[attempt, "decode_read"]) for attempt in self._ids.values())

    def known(self, phase: str) -> bool:
        """Whether it was timed at all."""
        counts = self._durations.count()
        return all(counts.get((attempt, phase), 0) > 0 for attempt in self._ids.values())

    def mean(self, name: str) -> float | None:
        """Of a scalar over the processes that have it; None where none has."""
        values = [float(self._scalars[a, name]) for a in self._ids.values() if (a, name) in self._scalars.index]
        return sum(values) / len(values) if values else None

    def medians(self, phase: str) -> Values:
        """The median duration a process, where it is known and something."""
        medians = self._durations.median()
        return self._positive(lambda attempt: float(medians.get((attempt, phase), 0.0)))

    def rates(self) -> Values:
        """Bytes a second while the reader was busy, of processes that read."""

        def rate(attempt: str) -> float:
            busy_ns = float(self._durations.sum()[attempt, "decode_read"])
            return float(self._scalars[attempt, "decode_flash_bytes"]) / busy_ns * 1e9 if busy_ns else 0.0

        return self._positive(rate)

    def _positive(self, value: Callable[[str], float]) -> Values:
        by_block = {block: value(attempt) for block, attempt in self._ids.items()}
        return {block: number for block, number in by_block.items() if number > 0}


def _ablation(
    runs: pd.DataFrame,
    samples: pd.DataFrame,
    scalars: pd.DataFrame,
    io: pd.DataFrame,
    jobs: Mapping[str, StoredJob],
) -> Ablation:
    latency = runs[runs["measure"] == "latency"]
    rows: list[Summary] = []
    first: Values = {}
    for policy, members in latency.groupby("policy", sort=False):
        good = members[members["status"] == "ok"]
        stored = _Stored({int(block): str(a) for a, block in good["block"].items()}, samples, scalars)
        first = first if rows else stored.medians("decode_io")
        proofs = tuple(_proof(row, io) for _, row in members.reset_index().iterrows())
        rows.append(_summary(named(str(policy)), stored, first, proofs))
    values = scalars.dropna(subset="value").set_index(["attempt_id", "name"])["value"]
    by_attempt: dict[tuple[str, str], float] = dict(zip(values.index.tolist(), values.tolist(), strict=True))
    counted = [str(attempt) for attempt in latency[latency["status"] == "ok"].index]
    agreement = [
        by_attempt[attempt, "token_agreement"] for attempt in counted if (attempt, "token_agreement") in by_attempt
    ]
    judged = [str(attempt) for attempt in runs[(runs["measure"] == "quality") & (runs["status"] == "ok")].index]
    judged = [attempt for attempt in judged if (attempt, "loss_nats") in by_attempt][:1]
    job = jobs[str(latency.index[0])]
    return Ablation(
        job.ablation or str(latency["model"].iloc[0]),
        str(latency["session_id"].iloc[0]),
        {name: value for name, value in job.fields.items() if name not in ("policy", "block", "model", "ablation")},
        int(latency["block"].nunique()),
        tuple(rows),
        min(agreement, default=None),
        {name: by_attempt[a, name] for a in judged for name in (*_LOSSES, *_PREDICTED) if (a, name) in by_attempt},
        json.loads(latency["fingerprint_json"].iloc[0]).get("hypervisor") == "yes",
    )


def _summary(policy: Policy, stored: _Stored, first: Values, proofs: tuple[Proof, ...]) -> Summary:
    waits, count, tokens = stored.medians("decode_io"), sum(proof.valid for proof in proofs), stored.tokens()
    active = stored.total("decode_active_neurons")
    return Summary(
        policy=policy.name,
        dram_bytes=round(stored.total("dram_bytes") / count) if count else 0,
        flash_bytes=stored.total("decode_flash_bytes") / tokens if tokens else 0.0,
        hit_rate=stored.total("decode_hits") / active if active and policy.window else None,
        throughput=_estimate(stored.rates()),
        io=_estimate(waits),
        reader=_estimate(stored.medians("decode_read")),
        mem=_estimate(stored.medians("decode_mem")),
        compute=_estimate(stored.medians("decode_compute")),
        token=_estimate(stored.medians("decode")),
        speed_up=paired_ratio(first, waits) if set(first) & set(waits) else None,
        proofs=proofs,
        unmeasured=tuple(name for name, phase in _PHASES.items() if not stored.known(phase)),
        peer_ratio=stored.mean("peer_ratio"),
    )


def _proof(row: pd.Series[Any], io: pd.DataFrame) -> Proof:
    reads = io[(io["attempt_id"] == row["attempt_id"]) & (io["phase"] == "generate")]
    if row["status"] != "ok" or reads.empty:
        return Proof(0, None, False, str(row["error_message"] or row["status"]).rstrip("."))
    asked, read = (reads[name].iloc[0] for name in ("asked_bytes", "read_bytes"))
    return prove(0, None if pd.isna(read) else int(read), int(asked))


def _estimate(values: Values) -> Estimate | None:
    return log_mean([*values.values()]) if values else None
