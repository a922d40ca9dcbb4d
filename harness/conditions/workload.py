"""What a job asked of its model beyond the options that every job has, in words: its rate and bound, the samples of a
query, how long; and how weights were read from flash.
"""

from __future__ import annotations

from harness.scenarios.catalogue import SCENARIOS
from harness.store.stored_job import StoredJob


def workload_words(job: StoredJob) -> str | None:
    """Such as `50 queries/s, p99 within 15 ms`; None for a scenario that has nothing to say besides its options."""
    scenario = SCENARIOS.get(job.scenario or "")
    options = scenario.options if scenario else {}
    lasting = job.min_duration_s if "duration" in options else None
    parts = [
        _rate(job.rate_queries_per_s) if "rate" in options else None,
        f"p99 within {job.latency_bound_ns / 1e6:g} ms" if job.latency_bound_ns else None,
        f"{job.streams} samples per query" if job.streams else None,
        _lasting(lasting) if lasting is not None else None,
        f"window of {job.window} tokens" if job.window is not None else None,
        f"{job.depth} reads at once" if job.depth is not None else None,
        f"by {job.reader}" if job.reader else None,
        f"policy {job.policy}" if job.policy and job.ablation is None else None,
        f"neurons chosen: {job.predictor}" if job.predictor else None,
        prompts_words(job.prompts_sha256) if scenario and scenario.in_flash else None,
        f"{job.dram_budget_bytes / 1e6:g} MB for neurons" if job.dram_budget_bytes else None,
    ]
    return ", ".join(part for part in parts if part) or None


def prompts_words(text_sha256: object) -> str:
    """Where the prompts of the flash scenario come from: which neurons are active depends on it."""
    return "prompts from the evaluation text" if text_sha256 else "prompts of random tokens, as there is no text"


def _rate(rate: float | None) -> str:
    return "rate searched for" if rate is None else f"{rate:g} queries/s"


def _lasting(seconds: float) -> str:
    return f"for {seconds / 60:.4g} min" if seconds >= 60 else f"for {seconds:.4g} s"
