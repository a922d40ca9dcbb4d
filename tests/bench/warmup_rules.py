"""Rules that end a warm-up, checks afterwards, and how well each does on labelled processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from warmup_labels import ENOUGH, Floats, Process

from harness.statistics.steady import SteadyRule, still_warming

# How many queries it asks for before it is content; None: never.
Rule = Callable[[Floats], int | None]
_CAP_NS = 2_000_000_000


def harness(durations_ns: Floats) -> int | None:
    """The rule of `harness.statistics.steady`."""
    rule = SteadyRule()
    for count, duration in enumerate(durations_ns, 1):
        rule.add(int(duration))
        if rule.steady:
            return count
    return None


def calm(slowest_left_out: int) -> Rule:
    """Until the last 30 vary by less than 2 %, looked at after each query."""

    def rule(durations_ns: Floats) -> int | None:
        windows = np.sort(np.lib.stride_tricks.sliding_window_view(durations_ns, 30), axis=1)
        kept = windows[:, : 30 - slowest_left_out]
        calm_from = np.flatnonzero(kept.std(axis=1) < 0.02 * kept.mean(axis=1))
        return int(calm_from[0]) + 30 if len(calm_from) else None

    return rule


def halves(window: int, difference: float, variation: float | None = None) -> Rule:
    """Until the medians of both halves of a window agree and, if asked for, the middle four fifths of each are calm;
    looked at after each quarter of it.
    """

    def rule(durations_ns: Floats) -> int | None:
        for end in range(window, len(durations_ns) + 1, window // 4):
            both = np.sort(durations_ns[end - window : end].reshape(2, -1), axis=1)
            first, last = np.median(both, axis=1)
            middle = both[:, window // 20 : window // 2 - window // 20]
            quiet = variation is None or bool((middle.std(axis=1) < variation * middle.mean(axis=1)).all())
            if abs(first - last) <= difference * min(first, last) and quiet:
                return end
        return None

    return rule


RULES: Mapping[str, Rule] = {
    "harness": harness,
    "the one before: last 30 < 2 %, slowest tenth left out": calm(3),
    "last 30 < 2 %": calm(0),
    "fixed 10": lambda _: 10,
    "fixed 100": lambda _: 100,
    "fixed 200": lambda _: 200,
    "halves of 100 within .5 %, each < 2 %": halves(100, 0.005, 0.02),
    "halves of 300 within .5 %, each < 2 %": halves(300, 0.005, 0.02),
    "halves of 100 within 1.5 %": halves(100, 0.015),
    "halves of 140 within 1.5 %": halves(140, 0.015),
    "halves of 200 within 1.5 %": halves(200, 0.015),
    "halves of 300 within 1.5 %": halves(300, 0.015),
}


def score(rule: Rule, processes: Iterable[Process]) -> dict[str, float]:
    """Of one rule. What the cap on time cuts off is flagged, so it counts as neither early nor late, but as wasted."""
    early, bias, wasted, cut, asked, lasted = [], [], [], [], [], []
    for process in processes:
        if process.start is None:
            continue
        durations = process.durations_ns
        total = np.cumsum(durations)
        cap = min(len(durations), int(np.searchsorted(total, _CAP_NS)) + 1)
        end = rule(durations)
        cut.append(end is None or end > cap)
        end = cap if end is None or end > cap else end
        asked.append(end)
        lasted.append(total[end - 1] / 1e6)
        wasted.append(max(0, end - process.start) / (len(durations) - process.start))
        if not cut[-1]:
            early.append(end < process.start)
            if len(rest := durations[end : end + 100]) >= 30:
                bias.append(abs(np.median(rest) / process.level_ns - 1))
    within = np.array(bias)
    return {
        "processes": len(asked),
        "too early %": round(100 * float(np.mean(early)), 1) if early else np.nan,
        "next 100 within 3 %": round(100 * float((within < 0.03).mean()), 1) if bias else np.nan,
        "p90 bias %": round(100 * float(np.percentile(within, 90)), 1) if bias else np.nan,
        "steady wasted %": round(100 * float(np.mean(wasted)), 1),
        "cut off %": round(100 * float(np.mean(cut)), 1),
        "median queries": float(np.median(asked)),
        "median ms": round(float(np.median(lasted)), 1),
    }


def table(processes: Sequence[Process]) -> pd.DataFrame:
    """A row a rule; the first is one that knows the label."""
    starts = {id(process.durations_ns): process.start for process in processes}
    known: Rule = lambda durations_ns: max(1, starts[id(durations_ns)] or 0)  # noqa: E731
    return pd.DataFrame(
        [{"rule": name, **score(rule, processes)} for name, rule in {"the label itself": known, **RULES}.items()]
    )


def mser5(warmup_ns: Floats, measured_ns: Floats) -> bool:
    """Whether the smallest standard error of the mean is reached by dropping more than a tenth of what was measured
    (White 1997, doi 10.1177/003754979706900601).
    """
    values = np.concatenate([warmup_ns, measured_ns])
    batches = values[: len(values) // 5 * 5].reshape(-1, 5).mean(axis=1)
    errors = [batches[drop:].var() / (len(batches) - drop) for drop in range(len(batches) // 2 + 1)]
    return 5 * int(np.argmin(errors)) > -(-len(warmup_ns) // 5) * 5 + 0.1 * len(measured_ns)


def first_slower(parts: int, by: float) -> Callable[[Floats, Floats], bool]:
    """Whether the first part of what was measured is slower than all others, by the medians."""

    def check(_: Floats, measured_ns: Floats) -> bool:
        first, *rest = (np.median(part) for part in np.array_split(measured_ns, parts))
        return bool(first > (1 + by) * max(rest))

    return check


CHECKS: Mapping[str, Callable[[Floats, Floats], bool]] = {
    "harness's note": lambda _, measured_ns: still_warming(measured_ns.tolist()),
    "MSER-5": mser5,
    **{
        f"first of {parts} slower by {by:.0%}": first_slower(parts, by)
        for parts in (3, 4, 5, 10)
        for by in (0.02, 0.03, 0.05)
    },
}


def checks(processes: Sequence[Process]) -> pd.DataFrame:
    """How often a check afterwards, of half of what follows the warm-up, is right that measuring began too early."""
    seen = []
    for each in processes:
        end, durations = harness(each.durations_ns), each.durations_ns
        if each.start is not None and end is not None and len(durations) - end >= 300:
            seen.append((durations[:end], durations[end : (end + len(durations)) // 2], end < each.start))
    late = np.array([one[2] for one in seen])
    rows = []
    for name, check in CHECKS.items():
        shown = np.array([check(warmup, measured) for warmup, measured, _ in seen])
        right = int((shown & late).sum())
        counts = {"of": len(seen), "too early": int(late.sum()), "shown": int(shown.sum()), "right": right}
        rows.append({"check": name, **counts})
    return pd.DataFrame(rows)


def lengths(path: Path) -> pd.DataFrame:
    """How long warm-ups last as they were measured, disturbed queries included: now, and by the rule before."""
    texts = pd.read_csv(path)["durations_ns"]
    series = [np.array(text.split(), dtype=np.float64)[1:] for text in texts]
    series = [durations for durations in series if len(durations) >= ENOUGH]
    rows = []
    for name in list(RULES)[:2]:
        lasted_ms = [float(each[:end].sum()) / 1e6 if (end := RULES[name](each)) else np.inf for each in series]
        cut = [each > _CAP_NS / 1e6 for each in lasted_ms]
        quartiles = np.percentile(np.minimum(lasted_ms, _CAP_NS / 1e6), [25, 50, 75]).round(1)
        rows.append(
            {"rule": name, "quartiles of ms": quartiles.tolist(), "cut off %": round(100 * float(np.mean(cut)), 1)}
        )
    return pd.DataFrame(rows)
