"""What a table for a paper shows: models, columns, the part of the store, and published figures to set beside.

The same mapping comes from a TOML file or from options, and is checked in one place.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from harness.analysis.parts import ROW_PARTS
from harness.conditions.fields import FILTERS
from harness.errors import UsageError
from harness.metrics import CATALOGUE, METRICS, Metric
from harness.outside_files import read_toml
from harness.scenarios.catalogue import SCENARIOS

Show = Literal["value", "ratio", "both", "of_bound"]
_TABLE = {
    "title": str,
    "caption": str,
    "label": str,
    "models": list,
    "rows": list,
    "best_rounded_peer": bool,
    "baseline": str,
    "columns": list,
    "select": dict,
    "published": list,
    "claims": list,
    "allow_different": bool,
}
_COLUMN = {"metric": str, "show": str, "header": str, **FILTERS}
_PUBLISHED = {"file": str, "where": dict, "columns": dict, "name": str}
_CLAIM = {"method": str, "file": str, "where": dict}
_WORDS = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table", date: "a date"}


@dataclass(frozen=True)
class ColumnSpec:
    """`where` are fields of a condition with the value each must have; one column a condition that has them. One that
    names a scenario is for tables of that scenario, and no part of the others. Shown `of_bound`, it is how far each
    model is from the yardstick for its weights, and there only where one was measured.
    """

    metric: Metric
    show: Show
    header: str
    where: dict[str, Any]


@dataclass(frozen=True)
class PublishedSpec:
    """Figures of a CSV file whose fields equal `where`; `columns` maps a metric of the table to a metric of the file.

    With a `name` they are one row of that name, otherwise a row for each model, method and configuration of the file.
    """

    file: Path
    where: Mapping[str, str]
    columns: Mapping[str, str]
    name: str | None


@dataclass(frozen=True)
class ClaimSpec:
    """The one figure of a CSV file whose fields equal `where`, which stands beside the rows of a `method`."""

    method: str
    file: Path
    where: Mapping[str, str]


@dataclass(frozen=True)
class TableSpec:
    """`models` and `columns` are empty where all models and the default columns are meant; `rows` are those of
    `ROW_PARTS` that name a row, none where the model's name does. `best_rounded_peer`: there is a row of the fastest
    rounded model by each time among the columns. `sessions` are as `read_tables` takes them; `since` and `until` are
    ISO dates, both included.
    """

    title: str | None
    caption: str | None
    label: str | None
    models: tuple[str, ...]
    rows: tuple[str, ...]
    best_rounded_peer: bool
    baseline: str | None
    columns: tuple[ColumnSpec, ...]
    sessions: tuple[str, ...]
    since: str | None
    until: str | None
    where: dict[str, Any]
    published: tuple[PublishedSpec, ...]
    allow_different: bool
    claims: tuple[ClaimSpec, ...] = ()


def default_columns() -> tuple[ColumnSpec, ...]:
    """The columns of a table that asks for none; those that nobody measured are to be left out."""
    return tuple(ColumnSpec(metric, metric.paper, metric.label, {}) for metric in CATALOGUE if metric.paper)


def read_spec(path: Path) -> TableSpec:
    """The spec in a TOML file, or in the one of that name that comes with harness; its published files lie beside it,
    or come with harness. Raises UsageError.
    """
    packaged = Path(str(files("harness.analysis"))) / path.name
    path = packaged if str(path) == path.name and not os.path.exists(path) and os.path.isfile(packaged) else path
    return read_toml(path, lambda data, _: parse_spec(data, path.parent), "spec of a table", "Correct it there.")


def parse_spec(data: Mapping[str, Any], folder: Path) -> TableSpec:
    """The spec in a mapping as TOML gives it; `folder` is where relative files are looked for. Raises UsageError."""
    _check(data, _TABLE, "the table")
    # A date has neither zone nor time here: the store is partitioned by day.
    select = {key: value.isoformat() if type(value) is date else value for key, value in data.get("select", {}).items()}
    sessions = select.get("session", [])
    if isinstance(sessions, str):
        select["session"] = sessions = [sessions]
    _check(select, {"session": list, "since": str, "until": str, **FILTERS}, "[select]")
    since, until = (_day(select.get(key), key) for key in ("since", "until"))
    label = data.get("label")
    if label is not None and not re.fullmatch(r"[A-Za-z0-9:._-]+", label):
        raise UsageError(f"{label!r} cannot be a label.", "Use letters, digits and : . _ - only.")
    columns = tuple(_column(column) for column in data.get("columns", []))
    if data.get("best_rounded_peer") and columns and not any(column.metric.is_time for column in columns):
        raise UsageError(
            "best_rounded_peer asks for the fastest row, and no column is a time or a rate.",
            "Add one, such as decode_latency_ns_p50, or leave best_rounded_peer out.",
        )
    return TableSpec(
        data.get("title"),
        data.get("caption"),
        label,
        _texts(data.get("models", []), "models"),
        _row_parts(data.get("rows", [])),
        data.get("best_rounded_peer", False),
        data.get("baseline"),
        columns,
        # Days are looked for in the whole store; otherwise the newest session, as everywhere.
        _texts(sessions, "session") or (("all",) if since or until else ("latest",)),
        since,
        until,
        {key: select[key] for key in FILTERS if key in select},
        tuple(_published(entry, folder) for entry in data.get("published", [])),
        data.get("allow_different", False),
        tuple(_claim(entry, folder) for entry in data.get("claims", [])),
    )


def parse_column(text: str) -> dict[str, Any]:
    """`METRIC[,KEY=VALUE]...`, as an option says it, as the mapping of a column. Raises UsageError."""
    metric, *rest = text.split(",")
    column: dict[str, Any] = {"metric": metric}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"{part!r} in the column {text!r} has no value.", "Write METRIC,KEY=VALUE.")
        wanted = _COLUMN.get(key)
        if wanted is int and value.isdecimal():
            column[key] = int(value)
        else:
            column[key] = {"true": True, "false": False}.get(value, value) if wanted is bool else value
    return column


def _column(data: Any) -> ColumnSpec:
    if isinstance(data, str):
        data = {"metric": data}
    _check(data, _COLUMN, "a column")
    name = data.get("metric")
    if name not in METRICS:
        raise UsageError(f"There is no metric {name!r}.", _instead(str(name), METRICS))
    metric = METRICS[name]
    show = data.get("show", "both" if metric.compare == "ratio" else "value")
    if show not in (shows := get_args(Show)):
        raise UsageError(f"{name} cannot be shown as {show!r}.", f"Choose from: {', '.join(shows)}.")
    if show == "of_bound" and metric.compare != "ratio":
        raise UsageError(f"{name} is not compared by a ratio.", 'Show its "value".')
    if show != "value" and metric.compare is None:
        raise UsageError(f"{name} is not compared between models.", 'Show its "value".')
    where = {key: data[key] for key in FILTERS if key in data}
    # Such a column is left out without a word where that scenario was not measured, so that a slip would not show.
    if (scenario := where.get("scenario")) is not None and scenario not in SCENARIOS:
        raise UsageError(f"There is no scenario {scenario!r}.", _instead(scenario, SCENARIOS))
    return ColumnSpec(metric, show, data.get("header", metric.label), where)


def _row_parts(values: Sequence[Any]) -> tuple[str, ...]:
    parts = _texts(values, "rows")
    if unknown := [part for part in parts if part not in ROW_PARTS]:
        raise UsageError(f"A row cannot be named by {unknown[0]!r}.", f"Choose from: {', '.join(ROW_PARTS)}.")
    return parts


def _published(data: Any, folder: Path) -> PublishedSpec:
    _check(data, _PUBLISHED, "[[published]]")
    if "file" not in data or not data.get("columns"):
        raise UsageError(
            "A [[published]] names no file, or no columns to fill.",
            'Write file = "x.csv" and columns = { bits_per_weight = "bits_per_weight" }.',
        )
    where, columns = data.get("where", {}), data["columns"]
    _texts([*where.values(), *columns.values()], "[[published]]")
    for name in columns:
        if name not in METRICS:
            raise UsageError(f"There is no metric {name!r} for published figures.", _instead(name, METRICS))
    return PublishedSpec(_published_file(data["file"], folder), where, columns, data.get("name"))


def _claim(data: Any, folder: Path) -> ClaimSpec:
    _check(data, _CLAIM, "[[claims]]")
    if missing := [key for key in _CLAIM if not data.get(key)]:
        raise UsageError(
            f"A [[claims]] has no {missing[0]}.",
            'Write method = "x", file = "x.csv" and where = { metric = "speedup" }.',
        )
    _texts([*data["where"].values()], "[[claims]]")
    return ClaimSpec(data["method"], _published_file(data["file"], folder), data["where"])


def _published_file(name: str, folder: Path) -> Path:
    """A file of published figures: in `folder`, else the one of that name that comes with harness.

    Raises UsageError where there is neither, naming those that come with harness.
    """
    # Packaged files are no zip's: harness is never run from one.
    packaged = Path(str(files("harness.published")))
    for path in (folder / name, packaged / name):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.name for path in packaged.glob("*.csv")))
    raise UsageError(
        f"There is no file {folder / name}, and none named {name!r} comes with harness.",
        f"Give its path from the folder of the spec, or one of: {known}.",
    )


def _check(data: Any, allowed: Mapping[str, type], where: str) -> None:
    """Raises UsageError for a key that is not known or a value of another type than it must have."""
    if not isinstance(data, Mapping):
        raise UsageError(f"{data!r} is no description of {where}.", f"Write keys and values: {', '.join(allowed)}.")
    for key, value in data.items():
        if key not in allowed:
            raise UsageError(f"The key {key!r} of {where} is not known.", _instead(key, allowed))
        if type(value) is not allowed[key]:
            raise UsageError(
                f"{key} of {where} is {value!r}, not {_WORDS[allowed[key]]}.", f"Give {_WORDS[allowed[key]]}."
            )


def _texts(values: Sequence[Any], where: str) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise UsageError(f"{value!r} in {where} is not text.", "Write it between quotation marks.")
    return tuple(dict.fromkeys(values)) if where in ("models", "session") else tuple(values)


def _day(text: str | None, key: str) -> str | None:
    try:
        return None if text is None else date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise UsageError(f"{key} is {text!r}, not a date.", "Write it as 2026-11-22.") from error


def _instead(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Choose from: {', '.join(known)}."
