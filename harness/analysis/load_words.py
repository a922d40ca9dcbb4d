"""What load a job put on its model, in words: its rate and bound, the samples of a query, how long; and how weights
were read from flash.
"""

from __future__ import annotations

import json
from typing import Any


def load_words(job_json: str | None) -> str | None:
    """Such as `50 queries/s, p99 within 15 ms`; None for a scenario that has nothing to say beside its options."""
    job: dict[str, Any] = json.loads(job_json or "{}")
    policy = job.get("policy")
    if policy and str(job.get("model")).endswith(f" {policy}"):
        policy = None  # of an ablation, whose models are one file by the name of each policy
    parts = [
        _rate(job.get("rate_queries_per_s")) if job.get("scenario") == "server" else None,
        f"p99 within {bound / 1e6:g} ms" if (bound := job.get("latency_bound_ns")) else None,
        f"{streams} samples a query" if (streams := job.get("streams")) else None,
        _lasting(float(job["min_duration_s"])) if job.get("scenario") == "sustained" else None,
        f"window of {window} tokens" if (window := job.get("window")) is not None else None,
        f"{depth} reads at once" if (depth := job.get("depth")) is not None else None,
        f"by {reader}" if (reader := job.get("reader")) else None,
        f"policy {policy}" if policy else None,
        f"neurons chosen: {chosen}" if (chosen := job.get("predictor")) else None,
        prompts_words(job) if job.get("scenario") == "flash" else None,
        f"{budget / 1e6:g} MB for neurons" if (budget := job.get("dram_budget_bytes")) else None,
    ]
    return ", ".join(part for part in parts if part) or None


def prompts_words(job: dict[str, Any]) -> str:
    """Where the prompts of the flash scenario come from: which neurons are active depends on it."""
    known = job.get("prompts_sha256")
    return "prompts from the evaluation text" if known else "prompts of random tokens, for want of a text"


def _rate(rate: float | None) -> str:
    return "rate searched for" if rate is None else f"{rate:g} queries/s"


def _lasting(seconds: float) -> str:
    return f"for {seconds / 60:.4g} min" if seconds >= 60 else f"for {seconds:.4g} s"
