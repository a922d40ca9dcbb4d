"""What may be done with a loaded model, most of it in MLPerf's words (arXiv 1911.02549). Imports nothing heavy: the
command line reads it for its help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scenario:
    """`summary` is for help texts.

    language_models: it needs the LLM convention.
    generates: a query of a language model is a prompt and the tokens after it, not the prompt alone.
    repeats: one process asks many queries.
    in_flash: it needs a model whose feed-forward weights lie in flash.
    cold: the file is dropped from the page cache before it is loaded.
    on_end: a process asks for minutes on end, so that processes of several models cannot alternate, and one is enough.
    queries: how many a process is asked, at least, where nobody says. As many as the percentiles that always stand in
        its table take by `harness.statistics.early_stopping`: p50 takes 11, p90 64 (MLPerf's single stream), p99 662
        (its multi-stream). A server's 1000 may have two late ones. Of generation, decode has a sample a token, and 30
        answers of 24 tokens are enough for its p99; from flash, 11 of 62. On end, a process is over when its time is.
    processes: how many of each model, where nobody says and what is measured varies.
    phases: those of the samples that a process leaves after its warm-up, where durations are measured.
    phase: that of a query of a model that generates nothing.
    options: those that belong to this scenario alone, with what they are where nobody says; None: nothing.
    """

    name: str
    summary: str
    phases: tuple[str, ...]
    language_models: bool = False
    generates: bool = False
    repeats: bool = True
    in_flash: bool = False
    cold: bool = False
    on_end: bool = False
    queries: int = 30
    processes: int = 5
    phase: str = "steady"
    options: Mapping[str, str | None] = field(default_factory=dict, hash=False)

    def default(self, option: str) -> str:
        """What an option of this scenario is where nobody says. Raises KeyError where it is nothing."""
        if (text := self.options[option]) is None:
            raise KeyError(option)
        return text


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "generate",
            "prefill a prompt, then decode token by token with the KV cache",
            ("ttft", "prefill", "decode", "generate"),
            language_models=True,
            generates=True,
        ),
        Scenario("single-stream", "one query at a time: latency", ("steady",), queries=64),
        Scenario(
            "multi-stream",
            "some samples a query, one query at a time: latency of the query",
            ("multi_stream",),
            queries=662,
            options={"streams": "8"},  # MLPerf's
        ),
        Scenario("offline", "batches back to back: throughput", ("batch",), phase="batch"),
        Scenario(
            "server",
            "queries arrive at random: latency at a rate, or the highest rate",
            ("server", "server_service"),
            generates=True,
            queries=1000,
            options={"rate": None, "latency_bound": None},
        ),
        Scenario(
            "sustained",
            "one query at a time for minutes: what heat does",
            ("sustained",),
            generates=True,
            on_end=True,
            queries=1,
            processes=1,
            phase="sustained",
            options={"duration": "30m"},
        ),
        Scenario(
            "cold-start",
            "load from storage and infer once, the file dropped from the page cache",
            (),
            repeats=False,
            cold=True,
        ),
        Scenario(
            "flash",
            "generate, feed-forward weights read from flash",
            ("prefill", "decode", "decode_io", "decode_mem", "decode_compute", "decode_read", "generate"),
            language_models=True,
            generates=True,
            in_flash=True,
            queries=11,
            options={
                "window": "5",
                "depth": "32",
                "policy": "bundling",
                "reader": "threads",
                "predictor": "exact",
                "dram_budget": None,
                "peer": None,
                "ablate": None,
            },
        ),
    )
}


def default_scenario(*, language_model: bool, in_flash: bool) -> str:
    """The name of the first scenario that is made for such a model."""
    return next(
        name
        for name, scenario in SCENARIOS.items()
        if (scenario.language_models, scenario.in_flash) == (language_model, in_flash)
    )


def owner_of(option: str) -> str | None:
    """The scenario that an option belongs to; None for one that every scenario has."""
    return next((name for name, scenario in SCENARIOS.items() if option in scenario.options), None)
