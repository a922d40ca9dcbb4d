"""A night for people and for programs: what is unresolved, what was decided, every series with its figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from harness.analysis.numbers import quantity, scale
from harness.conditions.fields import Condition, tell_apart, without_data
from harness.metrics import METRICS, Metric
from harness.nightly.alerts import Alert
from harness.nightly.detection import Change, nights_needed, nights_of_level
from harness.nightly.series import Series
from harness.nightly.verdict import Verdict, words
from harness.nightly.watch import Watched
from harness.report.machine import dump_json
from harness.report.rendering import render_tables
from harness.report.table import Table, simple_table
from harness.statistics.newest import FEWEST

# Alerts that are no longer open are shown as long as somebody may ask what became of them.
_CLOSED_SHOWN = 10


def render_watched(watched: Watched, fmt: Literal["terminal", "markdown", "json"]) -> str:
    """The night as text that ends with a line break; Markdown is fit for the summary of a CI job."""
    if fmt == "json":
        return dump_json("night", watched_json(watched))
    return render_tables(watched_tables(watched), fmt)


def headline(watched: Watched) -> str:
    """One sentence: whether a regression is unresolved."""
    count, open_ = len(watched.standing), sum(alert.state == "provisional" for alert in watched.alerts)
    unresolved = f"{count or 'No'} regression{' is' if count < 2 else 's are'} unresolved."
    return unresolved + (f" Not decided yet: {open_}." if open_ else "")


def watched_tables(watched: Watched) -> list[Table]:
    """Alerts, improvements and series, empty ones left out; the first has the night as its heading, and the notes."""
    apart = _conditions(watched)
    last = watched.last
    name = f"{watched.config.name} on {watched.config.target}"
    title = f"Night {last.number} of {name}, {last.date}, {last.status}" if last else f"No night yet of {name}"
    sections = [
        (
            "Alerts",
            ("alert", "state", "model", "metric", "before", "after", "since night", "rerun: after / before", "why"),
            [_alert_row(alert, apart) for alert in _shown(watched)],
        ),
        (
            "Better",
            ("model", "metric", "before", "after", "since night"),
            [
                (_model(change.series, apart), change.series.metric.label, *_change(change), str(change.night))
                for change in watched.improvements
            ],
        ),
        (
            "Series",
            ("model", "metric", "the last night", "the night before", "nights", "obtained"),
            [_series_row(series, changes, apart) for series, changes in watched.series],
        ),
    ]
    filled = [section for section in sections if section[2]] or sections[-1:]
    first, *others = filled
    return [
        simple_table(f"{title}: {headline(watched)}", *first[1:], (*watched.notes, *_young(watched))),
        *(simple_table(*section) for section in others),
    ]


def _young(watched: Watched) -> list[str]:
    """What `3 of 4` means, where a series has so few nights."""
    few = [nights_of_level(*series) < nights_needed(series[0]) for series in watched.series]
    return [
        f"{FEWEST} nights at one level are needed before the next night can be judged; an exact figure needs 1."
    ] * any(few)


def _shown(watched: Watched) -> list[Alert]:
    """Those that are unresolved first, then those to be decided, then the newest of those that are closed."""
    order = ("published", "provisional", "withdrawn", "undone", "resolved")
    alerts = sorted(watched.alerts, key=lambda alert: (order.index(alert.state), -alert.change_night))
    closed = [alert for alert in alerts if alert.state not in order[:2]]
    return [alert for alert in alerts if alert not in closed[_CLOSED_SHOWN:]]


def watched_json(watched: Watched) -> dict[str, Any]:
    """Everything at full precision; units are in the metrics' names, null means that there is none."""
    return {
        "config": watched.config.name,
        "target": watched.config.target,
        "results": str(watched.config.results),
        "night": None if watched.last is None else _plain(asdict(watched.last)),
        "standing": [alert.alert_id for alert in watched.standing],
        "alerts": [
            _plain({key: value for key, value in asdict(alert).items() if key != "condition_json"})
            | {"condition": asdict(alert.condition)}
            for alert in watched.alerts
        ],
        "improvements": [
            {
                "series_id": change.series.series_id,
                "since_night": change.night,
                "before": change.before,
                "after": change.after,
                "p_value": change.p_value,
            }
            for change in watched.improvements
        ],
        "series": [
            {
                "series_id": series.series_id,
                "model": series.model,
                "condition": asdict(series.condition),
                "metric": series.metric.name,
                "unit": series.metric.unit,
                "kind": series.kind,
                "fingerprint": series.fingerprint,
                "nights_of_level": nights_of_level(series, changes),
                "nights_needed": nights_needed(series),
                "points": [asdict(point) for point in series.points],
            }
            for series, changes in watched.series
        ],
        "notes": watched.notes,
    }


def _alert_row(alert: Alert, apart: dict[Condition, str]) -> tuple[str, ...]:
    metric = METRICS.get(alert.metric)
    before, after = (
        (f"{alert.before:g}", f"{alert.after:g}") if metric is None else _figures(metric, alert.before, alert.after)
    )
    rerun = Verdict(alert.rerun_ratio, alert.rerun_low, alert.rerun_high, alert.rerun_processes or 0, "–")
    name = f"{alert.model} {apart.get(alert.condition, '')}".strip()
    label = f"{metric.label if metric else alert.metric}{_marked(alert.kind)}"
    reason = (alert.reason or "").split(": ")[0] if alert.rerun_ratio is not None else alert.reason or ""
    return (alert.alert_id, alert.state, name, label, before, after, str(alert.change_night), words(rerun), reason)


def _series_row(series: Series, changes: Sequence[Change], apart: dict[Condition, str]) -> tuple[str, ...]:
    values = [point.value for point in series.points[-2:]]
    shown = _figures(series.metric, *values)
    before = shown[0] if len(shown) > 1 else "–"
    kind = "exact" if series.exact else series.kind
    return (_model(series, apart), series.metric.label, shown[-1], before, _nights(series, changes), kind)


def _nights(series: Series, changes: Sequence[Change]) -> str:
    """`12`, or `3 of 4` where the level is so young that the next night cannot be judged."""
    count, needed = nights_of_level(series, changes), nights_needed(series)
    return f"{count} of {needed}" if count < needed else str(len(series.points))


def _change(change: Change) -> tuple[str, ...]:
    return _figures(change.series.metric, change.before, change.after)


def _figures(metric: Metric, *values: float) -> tuple[str, ...]:
    """In one unit."""
    step = scale(metric.unit, values)
    return tuple(quantity(value, None, None, step)[0] for value in values)


def _marked(kind: str) -> str:
    return "" if kind == "measured" else f" ({kind})"


def _model(series: Series, apart: dict[Condition, str]) -> str:
    return f"{series.model} {apart[series.condition]}".strip()


def _conditions(watched: Watched) -> dict[Condition, str]:
    """What tells the conditions apart, in brackets; nothing where there is but one."""
    known: Sequence[Condition] = list(
        dict.fromkeys(
            [series.condition for series, _ in watched.series] + [alert.condition for alert in watched.alerts]
        )
    )
    # A loss has data and a latency has none: that alone tells no two conditions apart.
    bare = list(dict.fromkeys(without_data(condition) for condition in known))
    words_of_bare = dict(zip(bare, tell_apart(bare), strict=True))
    words = {condition: ", ".join(words_of_bare[without_data(condition)]) for condition in known}
    return {condition: f"({text})" if text else "" for condition, text in words.items()}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in row.items()}
