"""What may be done with a loaded model, most of it in MLPerf's words (arXiv 1911.02549)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """`language_models`: needs the LLM convention. `generates`: a query of a language model is a prompt and the tokens
    after it, not the prompt alone. `repeats`: one process asks many queries. `in_flash`: needs a model whose
    feed-forward weights lie in flash. `summary` is for help texts.

    `queries` are how many a process is asked, at least, where nobody says: as many as the percentiles that always stand
    in its table take by `harness.statistics.early_stopping`. p50 takes 11, p90 64 (MLPerf's single stream), p99 662
    (its multi-stream). A server's 1000 may have two late ones. Of generation, decode has a sample a token, and 30
    answers of 24 tokens are enough for its p99; from flash, 11 of 62. A sustained process is over when its time is.
    """

    name: str
    summary: str
    language_models: bool = False
    generates: bool = False
    repeats: bool = True
    in_flash: bool = False
    queries: int = 30


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "generate",
            "prefill a prompt, then decode token by token with the KV cache",
            language_models=True,
            generates=True,
        ),
        Scenario("single-stream", "one query at a time: latency", queries=64),
        Scenario("multi-stream", "some samples a query, one query at a time: latency of the query", queries=662),
        Scenario("offline", "batches back to back: throughput"),
        Scenario(
            "server", "queries arrive at random: latency at a rate, or the highest rate", generates=True, queries=1000
        ),
        Scenario("sustained", "one query at a time for minutes: what heat does", generates=True, queries=1),
        Scenario("cold-start", "load from storage and infer once, the file dropped from the page cache", repeats=False),
        Scenario(
            "flash",
            "generate, feed-forward weights read from flash",
            language_models=True,
            generates=True,
            in_flash=True,
            queries=11,
        ),
    )
}
