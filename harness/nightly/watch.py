"""What the nights say today, and what is done about it: changes are found, reruns asked for, alerts brought forward.

    provisional --regression-----> published --a later change back--> undone
        |  ^  `----no regression-> withdrawn  `------ a person ------> resolved
        |  |
        undecided: measured again on the next night

What leads on from provisional is a rerun.

Everything follows from the rows in the store, so that a night that is killed here is caught up with by the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from harness.errors import HarnessError, UsageError
from harness.metrics import CATALOGUE, Metric
from harness.nightly.alerts import Alert, add, covers, in_order, is_of, raised, read_alerts
from harness.nightly.artifacts import kept_file
from harness.nightly.config import NightlyConfig
from harness.nightly.detection import Change, around, changes_of, current_level, worsening
from harness.nightly.nights import RECENT, Night, counted, irregular, read_nights
from harness.nightly.series import Series, read_series, to_level
from harness.nightly.verdict import Pair, Rerun, Verdict, settle, words
from harness.statistics.change_points import SEGMENT
from harness.statistics.newest import FEWEST

# Nights that are looked at: more tell nothing of tonight, and a store holds years.
_WINDOW = 100

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Watched:
    """`nights` are those that count, the last 100; `last` is the newest, counted or not. `series` are those that go on
    on the last night that counts, each with its changes; `notes` are sentences for the reader.
    """

    config: NightlyConfig
    last: Night | None
    nights: tuple[Night, ...]
    series: tuple[tuple[Series, tuple[Change, ...]], ...]
    alerts: tuple[Alert, ...]
    notes: tuple[str, ...]

    @property
    def standing(self) -> tuple[Alert, ...]:
        """Published regressions that nothing has undone and nobody has resolved."""
        return tuple(alert for alert in self.alerts if alert.state == "published")

    @property
    def improvements(self) -> tuple[Change, ...]:
        """Recent changes for the better."""
        return tuple(
            change for _, changes in self.series for change in changes if change.recent and not change.regression
        )


def look(config: NightlyConfig) -> Watched:
    """What the store has of a configuration. Writes nothing. Raises StoreError, NothingComparable."""
    nights, problems = read_nights(config)
    good = counted(nights)
    alerts, more = read_alerts(config)
    window = good[-_WINDOW:]
    all_series, series_problems = read_series(config.results, window, config.metrics) if window else ([], [])
    current = [
        (series, tuple(changes_of(series, config.max_p, config.min_change)))
        for series in all_series
        if series.points[-1].night == window[-1].number
    ]
    edited = [
        f"The configuration was edited between nights {first.number} and {second.number}."
        for first, second in itertools.pairwise(window[-RECENT:])
        if first.config_sha256 != second.config_sha256
    ]
    return Watched(
        config,
        nights[-1] if nights else None,
        tuple(window),
        tuple(current),
        tuple(alerts),
        (*problems, *more, *irregular(nights, good), *edited, *series_problems),
    )


def act(watched: Watched, rerun: Rerun, now: Clock) -> Watched:
    """Raise what is new, and bring every open alert as far as the store and a rerun allow. Raises StoreError."""
    config, night = watched.config, watched.nights[-1].number if watched.nights else 0
    alerts = {alert.alert_id: alert for alert in watched.alerts}
    for _, changes in watched.series:
        for change in reversed(changes):  # a later one says more of tonight's file
            known = any(is_of(alert, change) or covers(alert, change) for alert in alerts.values())
            if change.regression and change.recent and not known:
                alert = add(config.results, raised(change, config, night, now()))
                alerts[alert.alert_id] = alert
    measure = _sharing(rerun)
    by_id = {series.series_id: (series, changes) for series, changes in watched.series}
    for alert in list(alerts.values()):
        if alert.state not in ("provisional", "published") or alert.series_id not in by_id:
            continue
        series, changes = by_id[alert.series_id]
        step = _settled(alert, series, changes, config, measure) if alert.state == "provisional" else None
        if alert.state == "published" and (undone := _undone(alert, series, changes, config.min_change)):
            step = replace(alert, state="undone", reason=undone)
        if step is not None and step != alert:
            alerts[alert.alert_id] = add(config.results, replace(step, night=night, written_at=now()))
    return replace(watched, alerts=tuple(in_order(alerts.values())))


def resolve(config: NightlyConfig, beginning: str, why: str | None, now: Clock) -> Alert:
    """Acknowledge a published regression by the beginning of its id. Raises UsageError, StoreError."""
    alerts, _ = read_alerts(config)
    standing = [alert for alert in alerts if alert.state == "published"]
    matches = [alert for alert in standing if alert.alert_id.startswith(beginning)]
    if len(matches) != 1:
        known = ", ".join(alert.alert_id for alert in standing) or "none"
        what = f"{beginning!r} begins several alerts." if matches else f"No published alert begins with {beginning!r}."
        raise UsageError(what, f"Those that are unresolved: {known}.")
    reason = why or "acknowledged"
    return add(config.results, replace(matches[0], state="resolved", reason=reason, written_at=now()))


def metric_of(alert: Alert) -> Metric:
    """The metric by its name in the catalogue. Raises UsageError for one that this version does not know."""
    metric = next((metric for metric in CATALOGUE if metric.name == alert.metric), None)
    if metric is None:
        raise UsageError(f"Alert {alert.alert_id} is about the unknown metric {alert.metric!r}.", "Upgrade harness.")
    return metric


def _settled(
    alert: Alert,
    series: Series,
    changes: Sequence[Change],
    config: NightlyConfig,
    measure: Callable[[Pair, int, int], str],
) -> Alert:
    """The alert after its rerun; still provisional, with the reason, where that could not be made or decides nothing.

    Change points need three nights to see a change. Until then an alert that the newest night has raised stays open,
    for what it is about is decided by the two files, and not by how the next nights turn out.
    """
    young = alert.p_value is not None and around(series, alert.change_night)[2] < SEGMENT
    if not young and not any(is_of(alert, change) for change in changes):
        return replace(alert, state="withdrawn", reason="later nights no longer show the change")
    if alert.good_sha256 == alert.bad_sha256:
        same = "the same file was measured before and after: the device or its software changed, not the model"
        return replace(alert, state="withdrawn", reason=same)
    if alert.p_value is None:
        return replace(alert, state="published", reason="the figures are exact and need no rerun")
    metric, number = metric_of(alert), alert.rounds + 1
    try:
        good, bad = (kept_file(config.results, sha256) for sha256 in (alert.good_sha256, alert.bad_sha256))
        names = (f"{alert.model} (good)", f"{alert.model} (new)")
        pair = Pair(good, bad, names, alert.condition, metric.measure)
        verdict = settle(
            config.results,
            partial(measure, pair),
            (metric,),
            pair.names,
            config.min_change,
            round_number=number,
        )
    except HarnessError as error:
        return replace(alert, reason=f"not rerun: {error.message}")
    return _judged(alert, verdict, number)


def _sharing(rerun: Rerun) -> Callable[[Pair, int, int], str]:
    """The session of a look at a pair, which all alerts of one night that are about the pair share."""
    sessions: dict[Pair, list[str | HarnessError]] = {}

    def measure(pair: Pair, look: int, new_pairs: int) -> str:
        looks = sessions.setdefault(pair, [])
        if look == len(looks):
            try:
                looks.append(rerun(pair, new_pairs))
            except HarnessError as error:
                looks.append(error)
        session = looks[look]
        if isinstance(session, HarnessError):
            raise session
        return session

    return measure


def _judged(alert: Alert, verdict: Verdict, number: int) -> Alert:
    if verdict.decision is None:
        return replace(alert, reason=f"the rerun {' '.join(verdict.sessions)} decides nothing: {words(verdict)}")
    state, reason = {
        "regression": ("published", "the rerun confirms it"),
        "no regression": ("withdrawn", "the rerun shows no regression"),
        "undecided": ("provisional", "the rerun is undecided, the next night looks again"),
    }[verdict.decision]
    return replace(
        alert,
        state=state,
        reason=f"{reason}: {words(verdict)}",
        rerun_session_ids=list(verdict.sessions),
        rerun_ratio=verdict.ratio,
        rerun_low=verdict.low,
        rerun_high=verdict.high,
        rerun_processes=verdict.processes,
        rerun_decision=verdict.decision,
        rerun_confidence=verdict.confidence,
        rerun_rounds=number,
    )


def _undone(alert: Alert, series: Series, changes: Sequence[Change], min_change: float) -> str | None:
    """Why a published regression is closed: the level is no worse than before, since a later change, or since a
    change of so few nights that change points never saw it.
    """
    better = [change for change in changes if change.night > alert.change_night and not change.regression]
    # Against a reference all levels move a little with every night: the change is taken as tonight's series has it.
    shown = next((change for change in changes if is_of(alert, change)), None)
    earlier, newest, nights = around(series, alert.change_night)
    if shown is not None or earlier is None:
        earlier = to_level(series.metric, alert.before if shown is None else shown.before)
    if better and worsening(series.metric, current_level(series, changes) / earlier) < min_change:
        return f"the level is no worse than before since night {better[-1].night}"
    unseen = alert.p_value is not None and shown is None and not better and nights > FEWEST
    if unseen and worsening(series.metric, newest / earlier) < min_change:
        return f"the last {FEWEST} nights are no worse than those before night {alert.change_night}"
    return None
