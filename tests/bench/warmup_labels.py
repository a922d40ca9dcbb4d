"""Processes from their first query on, recorded or simulated, and from which query on each was steady."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
ENOUGH = 500


@dataclass(frozen=True)
class Process:
    """The undisturbed durations of a process after its first query, and where and at what level it was steady; None
    where it never was.
    """

    runtime: str
    model: str
    durations_ns: Floats
    start: int | None
    level_ns: float


def pelt(values: Floats, penalty: float, least: int) -> list[int]:
    """Where the segments begin that a change of mean or variance sets apart, none shorter than `least`: the normal
    likelihood, with a penalty a change.
    """
    sums, squares = (np.concatenate([[0.0], np.cumsum(values**power)]) for power in (1, 2))
    best, before = np.full(len(values) + 1, np.inf), np.zeros(len(values) + 1, dtype=np.int64)
    best[0], candidates = -penalty, np.array([0])
    for end in range(least, len(values) + 1):
        length = end - candidates
        variance = (squares[end] - squares[candidates]) / length - ((sums[end] - sums[candidates]) / length) ** 2
        long = length >= least
        cost = np.where(long, best[candidates] + length * np.log(np.maximum(variance, 1e-8)), np.inf)
        chosen = int(np.argmin(cost))
        best[end], before[end] = cost[chosen] + penalty, candidates[chosen]
        candidates = np.append(candidates[~long | (cost <= best[end])], end)
    starts, end = [], len(values)
    while end:
        end = int(before[end])
        starts.append(end)
    return starts[::-1]


def segments(durations_ns: Floats) -> tuple[list[int], Floats]:
    """Where segments begin, and the median of each."""
    from scipy.ndimage import median_filter

    values = np.log(durations_ns)
    around = median_filter(values, 11, mode="nearest")
    spread = 1.4826 * median_filter(np.abs(values - around), 31, mode="nearest")
    values = np.where(np.abs(values - around) > 3 * spread, around, values)
    starts = pelt(values, 15 * np.log(len(values)), 10)
    return starts, np.array([np.exp(np.median(part)) for part in np.split(values, starts[1:])])


def steady_state(starts: list[int], medians: Floats, count: int, tolerance: float) -> tuple[int | None, float]:
    """Where the steady state begins and its level; segments within `tolerance` of that are level with it."""
    ends = np.array([*starts[1:], count])
    lengths = ends - starts
    last = np.clip(ends - 0.75 * count, 0, lengths)
    order = np.argsort(medians)
    level = float(medians[order][np.searchsorted(np.cumsum(last[order]), last.sum() / 2)])
    same = np.abs(medians / level - 1) <= tolerance
    if (last * same).sum() < 0.9 * last.sum():
        return None, level
    for index, start in enumerate(starts):
        if same[index] and (lengths * same)[index:].sum() >= 0.9 * (count - start):
            return start, level
    return None, level


def recorded(path: Path, tolerances: Sequence[float]) -> dict[float, list[Process]]:
    """Every process of a CSV with enough undisturbed queries, labelled at each tolerance."""
    found: dict[float, list[Process]] = {tolerance: [] for tolerance in tolerances}
    for row in pd.read_csv(path, keep_default_na=False).itertuples():
        durations = np.array(row.durations_ns.split(), dtype=np.float64)
        durations[0] = np.nan  # the first inference is no part of a warm-up
        for span in row.disturbed.split():
            begin, end = map(int, span.split("-"))
            durations[begin:end] = np.nan
        durations = durations[~np.isnan(durations)]
        if len(durations) < ENOUGH:
            continue
        starts, medians = segments(durations)
        for tolerance, processes in found.items():
            label = steady_state(starts, medians, len(durations), tolerance)
            processes.append(Process(row.runtime, row.model, durations, *label))
    return found


def simulated(count: int, queries: int = 2_000) -> list[Process]:
    """Processes of a calm or a noisy machine of which is known what they do: nothing, a decline, or one step; steady
    when within 3 % of the end.
    """
    random = np.random.default_rng(0)
    processes = []
    for _ in range(count):
        kind, at = random.choice(["flat", "decline", "step"]), np.arange(queries)
        size = np.exp(random.uniform(np.log(0.03), np.log(2)))
        decline = np.exp(-at / np.exp(random.uniform(np.log(2), np.log(300))))
        step = at < np.exp(random.uniform(np.log(4), np.log(700)))
        slower = size * {"flat": 0 * at, "decline": decline, "step": step}[kind]
        noise = np.exp(np.exp(random.uniform(np.log(0.002), np.log(0.06))) * random.standard_normal(queries))
        spikes = np.where(random.random(queries) < 0.02, random.uniform(1.2, 3, queries), 1)
        late = np.flatnonzero(slower > 0.03)
        start = int(late[-1]) + 1 if len(late) else 0
        processes.append(Process("simulated", kind, np.rint(1e6 * (1 + slower) * noise * spikes), start, 1e6))
    return processes
