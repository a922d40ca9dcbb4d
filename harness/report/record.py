"""The full record of a session: every metric, every run with its message when it failed, its flags, and its
surroundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.comparison import Comparison, compare_tables, left_out
from harness.analysis.flags import sentence
from harness.analysis.grouping import Run, models_of, records, run_records, settings_by_model, settings_of
from harness.analysis.numbers import quantity, scale
from harness.errors import NothingComparable
from harness.report.machine import comparison_csv, comparison_json, dump_json
from harness.report.rendering import Format, render_tables
from harness.report.sweep import comparison_tables
from harness.report.table import Table, simple_table
from harness.store.dataset import read_tables

_TABLES = ("environment", "ops", "io", "answers")
_OPS_SHOWN = 20
_HEAVIEST = 10


@dataclass(frozen=True)
class Record:
    """`comparisons` is empty, and `why_not` says why, where nothing could be compared. The rest are rows of
    the store.
    """

    comparisons: tuple[Comparison, ...]
    why_not: str | None
    runs: tuple[Run, ...]
    environment: tuple[dict[str, Any], ...]
    ops: tuple[dict[str, Any], ...]
    io: tuple[dict[str, Any], ...]
    answers: tuple[dict[str, Any], ...] = ()


def read_record(
    results: Path, session: str | None = None, *, baseline: str | None = None, allow_different: bool = False
) -> Record:
    """Everything that the store has of a session (as in `read_tables`). Raises StoreError, NothingComparable,
    UsageError.
    """
    tables = read_tables(results, session, _TABLES)
    try:
        comparisons, why_not = (
            compare_tables(tables, baseline=baseline, every_metric=True, allow_different=allow_different),
            None,
        )
    except NothingComparable as error:
        comparisons, why_not = (), " ".join([str(error), *left_out(tables)])
    others = {name: tuple(records(tables.others[name])) for name in _TABLES}
    return Record(comparisons, why_not, tuple(run_records(tables.runs)), **others)


def render_record(
    record: Record, fmt: Format = "terminal", *, width: int | None = None, color: bool | None = None
) -> str:
    """The record as text; CSV has the comparison alone, with every metric, the other formats everything."""
    if fmt == "csv":
        return comparison_csv(record.comparisons)
    if fmt == "json":
        rows = {name: getattr(record, name) for name in _TABLES}
        runs = [
            {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in run.items()}
            | {"settings": settings_of(run)}
            for run in record.runs
        ]
        return dump_json(
            "report",
            {
                "comparisons": comparison_json(record.comparisons),
                "why_not": record.why_not,
                "runs": runs,
                **rows,
            },
        )
    return render_tables(record_tables(record), fmt, width=width, color=color)


def render_operators(record: Record, fmt: Format = "terminal") -> str:
    """The heaviest operators of each model as text; empty where none were recorded. CSV has no place for them."""
    if fmt == "csv" or fmt == "json" or not record.ops:
        return ""
    models = {run["attempt_id"]: run["model"] for run in record.runs}
    return render_tables([_ops(record.ops, models, _HEAVIEST)], fmt)


def render_answers(record: Record, fmt: Format = "terminal") -> str:
    """What the language models of a session generated, prompt by prompt, each in full."""
    models = {run["attempt_id"]: run["model"] for run in record.runs}
    answers = sorted(record.answers, key=lambda row: (row["prompt"], models[row["attempt_id"]]))
    rows = [
        {
            "prompt": row["prompt"],
            "model": models[row["attempt_id"]],
            "prompt_tokens": list(row["prompt_tokens"]),
            "tokens": list(row["tokens"]),
            "prompt_text": row["prompt_text"],
            "text": row["text"],
        }
        for row in answers
    ]
    if fmt == "json":
        return dump_json("answers", {"answers": rows})
    lines = []
    for number in dict.fromkeys(row["prompt"] for row in rows):
        of_prompt = [row for row in rows if row["prompt"] == number]
        for asked in dict.fromkeys(_shown(row["prompt_text"], row["prompt_tokens"]) for row in of_prompt):
            lines.append((f"prompt {number + 1}", "", asked))
        lines += [("", row["model"], _shown(row["text"], row["tokens"])) for row in of_prompt]
    if fmt == "csv":
        return pd.DataFrame(rows, columns=["prompt", "model", "prompt_text", "text"]).to_csv(index=False)
    table = simple_table("Answers", ("", "model", "text"), lines)
    return render_tables([table], fmt)


def _shown(text: str | None, tokens: Sequence[int]) -> str:
    """On one line, as a model's text may hold what a terminal obeys; without a tokenizer the tokens themselves."""
    if text is None:
        return " ".join(map(str, tokens))
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def record_tables(record: Record) -> list[Table]:
    """The record as tables: comparisons, runs, failures, flags, settings of the runtimes, environment, operators,
    storage; empty ones left out.
    """
    tables = comparison_tables(record.comparisons)
    tables.append(_runs(record.runs, (record.why_not,) if record.why_not else ()))
    names = {run["attempt_id"]: run["model"] for run in record.runs}
    others = (
        _failures(record.runs),
        _flags(record.runs),
        _settings(record.runs),
        _environment(record.environment),
        _ops(record.ops, names),
        _io(record.io, names),
    )
    return [*tables, *(table for table in others if any(section.rows for section in table.sections))]


def _runs(runs: Sequence[Run], notes: tuple[str, ...]) -> Table:
    rows = [
        (
            run["position"],
            run["model"],
            run["scenario"],
            run["measure"],
            run["block"],
            run["status"],
            _seconds(run),
            f"{run['started_at']:%H:%M:%S}",
            " ".join(run["flags"] or ()),
        )
        for run in runs
    ]
    columns = ("", "model", "scenario", "pass", "block", "status", "took", "started, UTC", "flags")
    return simple_table(f"Runs ({len(runs)})", columns, rows, notes)


def _failures(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        if run["status"] != "ok":
            rows.append(
                (
                    f"{run['position']} {run['model']}",
                    run["error_kind"] or run["status"],
                    run["error_message"] or "",
                )
            )
            rows += [("", "stderr", line) for line in (run["stderr_tail"] or "").splitlines()[-20:]]
    return simple_table("Failures", ("run", "kind", "message"), rows)


def _flags(runs: Sequence[Run]) -> Table:
    flags = [flag for run in runs for flag in run["flags"] or ()]
    rows = [(flag, f"{flags.count(flag)} of {len(runs)}", sentence(flag)) for flag in dict.fromkeys(flags)]
    return simple_table("Flags", ("flag", "runs", "meaning"), rows)


def _settings(runs: Sequence[Run]) -> Table:
    """What the runtime of each model ran with, in all its processes."""
    by_model = settings_by_model(runs, models_of(runs))
    rows = [(model, name, value) for model, settings in by_model.items() for name, value in settings.items()]
    return simple_table("Settings of the runtimes", ("model", "setting", "value"), rows)


def _environment(rows: Sequence[dict[str, Any]]) -> Table:
    """What was found before, after and in the minutes of the jobs, one row a name: the value if it was always the same,
    else the span.
    """
    values_by_name: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        value = row["value"] if row["value"] is not None else f"unknown: {row['reason'] or 'no reason given'}"
        moment = row["moment"] if row["moment"] in ("before", "after") else "during"
        values_by_name.setdefault(row["name"], {}).setdefault(moment, []).append(value)
    shown = [
        "before",
        *(["during"] if any("during" in moments for moments in values_by_name.values()) else ()),
        "after",
    ]
    lines = [
        (name, *(_summary(moments.get(moment, [])) for moment in shown))
        for name, moments in sorted(values_by_name.items())
    ]
    return simple_table("Environment", ("", *(f"{moment} the jobs" for moment in shown)), lines)


def _ops(rows: Sequence[dict[str, Any]], models: dict[str, str], shown: int = _OPS_SHOWN) -> Table:
    """The operators of each model that took the most time, summed over its processes."""
    totals: dict[str, dict[tuple[str, str], tuple[int, int]]] = {}
    for row in rows:
        of_model = totals.setdefault(models[row["attempt_id"]], {})
        key = (row["operator"], row["delegate"] or "")
        calls, time = of_model.get(key, (0, 0))
        of_model[key] = (calls + int(row["calls"]), time + int(row["total_ns"]))
    lines = []
    for model, operators in totals.items():
        all_ns = sum(time for _, time in operators.values()) or 1
        for (operator, delegate), (calls, time) in sorted(operators.items(), key=lambda item: (-item[1][1], item[0]))[
            :shown
        ]:
            lines.append((model, operator, delegate, calls, _amount("ns", time), f"{100 * time / all_ns:.1f} %"))
    return simple_table("Operators", ("model", "operator", "delegate", "calls", "total", "share"), lines)


def _io(rows: Sequence[dict[str, Any]], models: dict[str, str]) -> Table:
    """Median over the processes of each model and phase."""
    rows_by_phase: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        rows_by_phase.setdefault((models[row["attempt_id"]], row["phase"]), []).append(row)
    lines = []
    for (model, phase), members in rows_by_phase.items():
        asked, read, faults = (
            _median([row[name] for row in members]) for name in ("asked_bytes", "read_bytes", "major_faults")
        )
        lines.append(
            (
                model,
                phase,
                _amount("bytes", asked),
                _amount("bytes", read),
                "–" if faults is None else f"{faults:.0f}",
            )
        )
    return simple_table(
        "Storage, median over processes",
        ("model", "phase", "asked for", "read from the device", "major faults"),
        lines,
    )


def _summary(values: list[str]) -> str:
    different = list(dict.fromkeys(values))
    if len(different) < 2:
        return "".join(different)
    try:
        numbers = [float(value) for value in different]
    except ValueError:
        return " / ".join(different[:3]) + (f" and {len(different) - 3} more" if len(different) > 3 else "")
    return f"{min(numbers):g} to {max(numbers):g}"


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _amount(unit: str, value: float | None) -> str:
    return "–" if value is None else quantity(value, None, None, scale(unit, [value]))[0]


def _seconds(run: Run) -> str:
    if run["finished_at"] is None:
        return "–"
    return f"{(run['finished_at'] - run['started_at']).total_seconds():.1f} s"
