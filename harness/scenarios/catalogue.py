"""What may be done with a loaded model, most of it in MLPerf's words (arXiv 1911.02549)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """`language_models`: needs the LLM convention. `generates`: a query of a language model is a prompt and the tokens
    after it, not the prompt alone. `repeats`: one process asks many queries. `in_flash`: needs a model whose
    feed-forward weights lie in flash. `summary` is for help texts.
    """

    name: str
    summary: str
    language_models: bool = False
    generates: bool = False
    repeats: bool = True
    in_flash: bool = False


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "generate",
            "prefill a prompt, then decode token by token with the KV cache",
            language_models=True,
            generates=True,
        ),
        Scenario("single-stream", "one query at a time: latency"),
        Scenario("multi-stream", "some samples a query, one query at a time: latency of the query"),
        Scenario("offline", "batches back to back: throughput"),
        Scenario("server", "queries arrive at random: latency at a rate, or the highest rate", generates=True),
        Scenario("sustained", "one query at a time for minutes: what heat does", generates=True),
        Scenario("cold-start", "load from storage and infer once, the file dropped from the page cache", repeats=False),
        Scenario(
            "flash",
            "generate, feed-forward weights read from flash",
            language_models=True,
            generates=True,
            in_flash=True,
        ),
    )
}
