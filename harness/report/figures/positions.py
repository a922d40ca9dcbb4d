"""The latency of a decoded token against its position: attention over a long context is another work than over a short
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.grouping import distinct, is_of
from harness.report.figures.latencies import timed_runs, timed_samples
from harness.report.figures.panels import Panel
from harness.statistics.summary import Estimate, log_mean

FEWEST_QUERIES = 3
"""Of so many queries a process must have a token at a position, or the position is left out."""


@dataclass(frozen=True)
class Positions:
    """One model: `positions` [n] are how many tokens stood before the decoded one, `curves` [processes, n] the median
    over the queries of each process in ns, `queries` their number in each. `kind` is measured, emulated or estimated.
    """

    model: str
    kind: str
    positions: NDArray[np.int64]
    curves: NDArray[np.float64]
    queries: tuple[int, ...]

    def estimates(self) -> list[Estimate]:
        """The mean over the processes at each position, with its interval."""
        return [log_mean(values.tolist()) for values in self.curves.T]

    def growth(self) -> float:
        """How many times as long a token takes in the last tenth of the positions as in the first."""
        tenth = max(1, len(self.positions) // 10)
        means = np.exp(np.log(self.curves).mean(0))
        return float(means[-tenth:].mean() / means[:tenth].mean())


def positions_of(panel: Panel) -> tuple[list[Positions], dict[str, str]]:
    """The models of a panel in their order, and why the others are not among them."""
    samples = timed_samples(panel)
    by_attempt = dict(list(samples[samples["phase"].isin(("prefill", "decode"))].groupby("attempt_id", observed=True)))
    shown, absent = [], {}
    for model in panel.comparison.models:
        runs = [run for run in timed_runs(panel) if is_of(run, model) and run["attempt_id"] in by_attempt]
        medians = [medians_by_position(by_attempt[run["attempt_id"]], int(run["prompt_tokens"] or 0)) for run in runs]
        known = [of_run for of_run in medians if not of_run.empty]
        common = sorted(set.intersection(*(set(of_run.index) for of_run in known))) if known else []
        if not common:
            absent[model.label] = f"no process of it has tokens at one position in {FEWEST_QUERIES} queries or more"
            continue
        queries = [
            int((by_attempt[run["attempt_id"]]["phase"] == "prefill").sum())
            for run, of_run in zip(runs, medians, strict=True)
            if not of_run.empty
        ]
        shown.append(
            Positions(
                model.label,
                ", ".join(distinct(runs, "latency_kind")),
                np.array(common),
                np.stack([of_run.loc[common].to_numpy(np.float64) for of_run in known]),
                tuple(queries),
            )
        )
    return shown, absent


def medians_by_position(samples: pd.DataFrame, prompt_tokens: int) -> pd.Series[float]:
    """The median duration of the decoded tokens of one process, by the tokens before each: the first is decoded behind
    the prompt. A token belongs to the query whose prefill began last before it.
    """
    begins = np.sort(samples.loc[samples["phase"] == "prefill", "start_ns"].to_numpy())
    decode = samples[(samples["phase"] == "decode") & (samples["duration_ns"] > 0)].sort_values("start_ns")
    query = np.searchsorted(begins, decode["start_ns"].to_numpy(), side="right")
    place = prompt_tokens + decode.groupby(query).cumcount().to_numpy()
    groups = pd.Series(decode["duration_ns"].to_numpy(np.float64)).groupby(place)
    enough = groups.count() >= FEWEST_QUERIES
    return groups.median()[enough]


def growths(positions: Sequence[Positions]) -> list[str]:
    """A sentence a model."""
    return [
        f"{each.model}: {len(each.curves)} processes of {min(each.queries)} queries or more; the last tokens, of "
        f"{each.positions[-1]} before them, take {each.growth():.2f} times as long as the first, of "
        f"{each.positions[0]}."
        for each in positions
    ]
