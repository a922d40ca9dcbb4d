"""Alerts: what was seen, what a rerun showed, and what became of it. Rows are added, never changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path

from harness.conditions.fields import Condition
from harness.nightly.config import NightlyConfig
from harness.nightly.detection import NEAR, Change
from harness.nightly.ledger import read_ledger
from harness.statistics.change_points import SEGMENT
from harness.store.writer import write_row

STATES = ("provisional", "published", "withdrawn", "undone", "resolved")


@dataclass(frozen=True, kw_only=True)
class Alert:
    """The newest row of an alert; its columns are those of `harness.store.schemas.ALERTS`."""

    alert_id: str
    row: int
    night: int
    written_at: datetime
    state: str
    reason: str | None
    target: str
    config: str
    series_id: str
    model: str
    condition_json: str
    metric: str
    kind: str
    change_night: int
    before: float
    after: float
    p_value: float | None
    good_sha256: str | None
    bad_sha256: str | None
    rerun_session_ids: Sequence[str] | None = None
    rerun_ratio: float | None = None
    rerun_low: float | None = None
    rerun_high: float | None = None
    rerun_processes: int | None = None
    rerun_decision: str | None = None
    rerun_confidence: float | None = None
    rerun_rounds: int | None = None

    @property
    def condition(self) -> Condition:
        """As it was measured."""
        return Condition(**json.loads(self.condition_json))

    @property
    def rounds(self) -> int:
        """On how many nights it was measured again; before rounds were counted there was one at most."""
        return self.rerun_rounds or int(self.rerun_ratio is not None)


def raised(change: Change, config: NightlyConfig, night: int, now: datetime) -> Alert:
    """A new alert of a change. Its id is that of series, night and file: raising it twice makes no second one."""
    points, last = change.series.points, change.series.points[-1]
    # A change may be placed a night or two late: then the file of the night before is already the new one.
    before = [point.sha256 for point in points[max(0, change.index - 1 - NEAR) : change.index]]
    good = next((sha256 for sha256 in reversed(before) if sha256 != last.sha256), last.sha256)
    return Alert(
        alert_id=hashlib.sha256(f"{change.series.series_id} {change.night} {last.sha256}".encode()).hexdigest()[:8],
        row=0,
        night=night,
        written_at=now,
        state="provisional",
        reason=None,
        target=config.target,
        config=config.name,
        series_id=change.series.series_id,
        model=change.series.model,
        condition_json=json.dumps(asdict(change.series.condition), sort_keys=True),
        metric=change.series.metric.name,
        kind=change.series.kind,
        change_night=change.night,
        before=change.before,
        after=change.after,
        p_value=change.p_value,
        good_sha256=good,
        bad_sha256=last.sha256,
    )


def is_of(alert: Alert, change: Change) -> bool:
    """Whether the change is the one that the alert is about, which may have moved by a night or two since.

    A withdrawn alert speaks of its file and of the nights until then. What begins later is another change; and so is
    what three nights more still show of another file, which nobody has measured again.
    """
    points, nights = change.series.points, 0 if change.p_value is None else NEAR
    if alert.series_id != change.series.series_id:
        return False
    if alert.state == "withdrawn":
        later = sum(point.night > alert.night for point in points)
        if change.night > alert.night or (later >= SEGMENT and points[-1].sha256 != alert.bad_sha256):
            return False
    return abs(sum(point.night < alert.change_night for point in points) - change.index) <= nights


def covers(alert: Alert, change: Change) -> bool:
    """Whether an open alert is about a later change to the very file that the series has tonight."""
    return (
        alert.state in ("provisional", "published")
        and alert.series_id == change.series.series_id
        and change.p_value is not None
        and alert.change_night >= change.night
        and alert.bad_sha256 == change.series.points[-1].sha256
    )


def read_alerts(config: NightlyConfig) -> tuple[list[Alert], list[str]]:
    """The newest row of every alert of this configuration, the oldest alert first, and a sentence for each row that
    cannot be read.
    """
    rows, problems = read_ledger(config.results, "alerts")
    newest: dict[str, Alert] = {}
    for row in sorted(rows, key=lambda row: int(row["row"])):
        alert = Alert(**{field.name: row[field.name] for field in fields(Alert)})
        if (alert.config, alert.target) == (config.name, config.target):
            newest[alert.alert_id] = alert
    return in_order(newest.values()), problems


def in_order(alerts: Iterable[Alert]) -> list[Alert]:
    """The oldest change first."""
    return sorted(alerts, key=lambda alert: (alert.change_night, alert.model, alert.metric, alert.alert_id))


def add(results: Path, alert: Alert) -> Alert:
    """Write the next row of an alert, and give it. Raises StoreError."""
    alert = replace(alert, row=alert.row + 1)
    row = {key: value for key, value in asdict(alert).items() if key != "target"}
    date = alert.written_at.date().isoformat()
    write_row(results, "alerts", date, alert.target, f"alert-{alert.alert_id}-{alert.row:04d}", row)
    return alert
