"""What was measured, read from the store: tables for people and programs, made when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison, compare_tables
from harness.analysis.spec import parse_column, parse_spec
from harness.conditions.fields import tell_apart
from harness.errors import NothingComparable, UsageError
from harness.experiment.run import Failure
from harness.metrics import CATALOGUE
from harness.report.paper.table import PaperTable, paper_table
from harness.report.rendering import FORMATS, Format, PaperFormat, render, render_paper
from harness.store.dataset import Tables, read_tables

_METRICS = {metric.name: metric for metric in CATALOGUE}
TABLE_COLUMNS = {
    "condition": "target, scenario, and what tells this condition from the others",
    "model": "the name of the model; the first one is the baseline",
    "metric": "the name of the metric, with its unit",
    "label": "what tables for people call it",
    "value": "the estimate over all processes; NaN where there is none, and `reason` says why",
    "low": "lower end of its 95 % interval; NaN where it has none",
    "high": "upper end of that interval",
    "unit": "the unit of these three",
    "n": "how many processes gave a value",
    "kind": "how the value was obtained: measured, emulated, estimated, recorded",
    "versus_baseline": "how many times better than the baseline: above 1 is better; for losses the difference",
    "versus_low": "lower end of its 99 % interval; NaN where it has none",
    "versus_high": "upper end of that interval",
    "flags": "the flags that any process of this model raised under this condition, a tuple",
    "reason": "why there is no value, or no interval",
}
"""Columns of `Result.table`, each with what it is."""


@dataclass(frozen=True, eq=False)
class Result:
    """Rows of one session, or of several together. `results` is the folder they lie in, None for several folders.

    `models` are those that are compared, all where there is none; the first one, or `baseline`, is what the others are
    set against. `allow_different` compares runs of different conditions too, and says so.
    """

    tables: Tables
    results: Path | str | None = None
    models: tuple[str, ...] = ()
    baseline: str | None = None
    allow_different: bool = False

    @property
    def runs(self) -> pd.DataFrame:
        """One row for each job that was tried: identity, conditions, flags, status. Columns: docs/results.md, `pass`,
        which the store calls `measure`, and `settings`, a dictionary of what the runtime ran with (`settings_json`).
        """
        runs = self.tables.runs
        settings = [json.loads(text) if isinstance(text, str) else {} for text in runs["settings_json"]]
        return runs.assign(**{"pass": runs["measure"], "settings": pd.Series(settings, runs.index, dtype=object)})

    @property
    def samples(self) -> pd.DataFrame:
        """Every sample, warm-up too, in long form: `attempt_id`, `phase`, `start_ns`, `duration_ns` and so on."""
        return self.tables.samples

    @property
    def sessions(self) -> tuple[str, ...]:
        """The ids of the sessions, in the order in which they were measured."""
        return tuple(dict.fromkeys(self.runs["session_id"]))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The jobs that failed, each with what happened."""
        failed = self.runs[self.runs["status"] != "ok"]
        return tuple(
            Failure(str(row["model"]), str(row["measure"]), str(row["error_message"] or row["status"]), "")
            for row in failed.to_dict("records")
        )

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The models side by side, one comparison for each condition. Raises NothingComparable where no job ended
        well, UsageError for a model that was not measured.
        """
        return self._compared(every_metric=False)

    def table(self, *metrics: str) -> pd.DataFrame:
        """One row for each condition, model and metric: `value` with the ends of its 95 % interval (`low`, `high`; NaN
        where it has none), the `unit`, from `n` processes.

        `versus_baseline` is how many times better than the baseline (a difference for losses, in the unit), with the
        ends of its 99 % interval. `kind` says how the value was obtained: measured, emulated, estimated, recorded.
        `flags` are the quality flags that any of its processes raised; `reason` says why there is no value. `metrics`
        are names, such as `decode_latency_ns_p50`; the main ones where none is given. Raises UsageError for a name
        that there is not.
        """
        if unknown := [name for name in metrics if not isinstance(name, str) or name not in _METRICS]:
            near = get_close_matches(str(unknown[0]), _METRICS)
            hint = f"Near it: {', '.join(near)}." if near else "`harness table --columns` lists all names."
            raise UsageError(f"There is no metric {unknown[0]!r}.", hint)
        comparisons = self._compared(every_metric=bool(metrics))
        words = tell_apart([comparison.condition for comparison in comparisons])
        rows: list[dict[str, Any]] = []
        for comparison, condition in zip(comparisons, words, strict=True):
            name = ", ".join((comparison.condition.target, comparison.condition.scenario, *condition))
            for row in comparison.rows:
                if metrics and row.metric.name not in metrics:
                    continue
                for model, figure, versus in zip(comparison.models, row.figures, row.versus, strict=True):
                    estimate = figure.estimate
                    flags = [count.flag for count in comparison.flags if dict(count.by_model).get(model.label)]
                    rows.append(
                        {
                            "condition": name,
                            "model": model.label,
                            "metric": row.metric.name,
                            "label": row.metric.label,
                            "value": estimate.value if estimate else None,
                            "low": estimate.low if estimate else None,
                            "high": estimate.high if estimate else None,
                            "unit": row.metric.unit,
                            "n": len(figure.values),
                            "kind": figure.kind if estimate else None,
                            "versus_baseline": versus.value if versus else None,
                            "versus_low": versus.low if versus else None,
                            "versus_high": versus.high if versus else None,
                            "flags": tuple(flags),
                            "reason": figure.reason or figure.no_interval,
                        }
                    )
        frame = pd.DataFrame(rows, columns=list(TABLE_COLUMNS))
        numbers = ["value", "low", "high", "versus_baseline", "versus_low", "versus_high"]
        return frame.astype(dict.fromkeys(numbers, "float64"))

    def to_text(self, fmt: Format = "terminal") -> str:
        """The comparison as `harness compare --format` prints it: terminal, markdown, json or csv.

        Raises UsageError for another format.
        """
        if fmt not in FORMATS:
            raise UsageError(f"There is no format {fmt!r}.", f"Choose from: {', '.join(FORMATS)}.")
        return render(self.comparisons, fmt)

    def to_markdown(self) -> str:
        """The comparison in Markdown."""
        return self.to_text("markdown")

    def to_json(self) -> str:
        """The comparison with every figure at full precision, as `harness compare --json` prints it."""
        return self.to_text("json")

    def to_latex(self, *columns: str) -> str:
        """A table for a paper in LaTeX (packages booktabs and siunitx); `columns` as for `harness table --column`."""
        return self._paper("latex", columns)

    def to_html(self, *columns: str) -> str:
        """The table for a paper as one HTML page without anything from outside."""
        return self._paper("html", columns)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        try:
            page = self._paper("html", ())
        except NothingComparable as error:
            return f"<p>{error}</p>"
        style, table = page.find("<style>"), page.rfind("</table>")
        return page[style : table + len("</table>")]

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        models = ", ".join(dict.fromkeys(self.runs["model"]))
        return f"<harness.Result of {models}: sessions {', '.join(self.sessions)}; print() shows the comparison>"

    def _compared(self, *, every_metric: bool) -> tuple[Comparison, ...]:
        return compare_tables(
            self.tables,
            models=self.models,
            baseline=self.baseline,
            every_metric=every_metric,
            allow_different=self.allow_different,
        )

    def _paper(self, fmt: PaperFormat, columns: Sequence[str]) -> str:
        options = {
            "models": list(self.models),
            "columns": [parse_column(column) for column in _names(columns, "columns")],
            "baseline": self.baseline,
            "allow_different": self.allow_different,
        }
        spec = parse_spec({key: value for key, value in options.items() if value}, Path())
        table: PaperTable = paper_table(self.tables, spec)
        return render_paper(table, fmt)


def load_results(results: Path | str, session: str = "latest", *, models: Sequence[str] = ()) -> Result:
    """What lies in a folder of results, or in a bucket (`s3://BUCKET/PREFIX`): the newest session, `all` of them, or
    the one whose id begins with `session`; only `models` are compared where some are named.

    Raises NothingComparable where there is nothing, StoreError where files cannot be read, UsageError for arguments
    that name nothing.
    """
    from harness.store.place import results_folder

    if not isinstance(session, str):
        raise UsageError(f"session is {session!r}, not a text.", 'Give the beginning of its id, "latest" or "all".')
    named = _names(models, "models")
    return Result(read_tables(results_folder(results), session), results, named)


def compare(
    *results: Result | Path | str,
    baseline: str | None = None,
    models: Sequence[str] = (),
    allow_different: bool = False,
) -> Result:
    """Several results as one, with the models of all set against the first or against `baseline`. Each is a result, or
    a folder of which the newest session is meant.

    Only what was measured under equal conditions is in one comparison; `allow_different` compares other runs of the
    same options too, with a note that says what differs. Raises NothingComparable, UsageError.
    """
    named, first = _names(models, "models"), None if baseline is None else _names((baseline,), "baseline")[0]
    parts = [part if isinstance(part, Result) else load_results(part) for part in results]
    if not parts:
        raise NothingComparable("No results were given.", "Give at least one result, or a folder of results.")
    if len(parts) == 1:
        (part,) = parts
        return replace(
            part,
            models=named or part.models,
            baseline=first or part.baseline,
            allow_different=allow_different or part.allow_different,
        )
    tables = [part.tables for part in parts]
    runs = pd.concat([table.runs for table in tables], ignore_index=True).drop_duplicates("attempt_id")
    joined = Tables(
        runs,
        pd.concat([table.samples for table in tables], ignore_index=True).drop_duplicates(),
        pd.concat([table.scalars for table in tables], ignore_index=True).drop_duplicates(),
        problems=tuple(dict.fromkeys(problem for table in tables for problem in table.problems)),
    )
    folders = {str(part.results) for part in parts}
    return Result(joined, parts[0].results if len(folders) == 1 else None, named, first, allow_different)


def _names(names: Sequence[str] | str, what: str) -> tuple[str, ...]:
    """Names as a tuple; one alone is a tuple of one. Raises UsageError for anything else."""
    listed = (names,) if isinstance(names, str) else names
    if not isinstance(listed, (list, tuple)) or not all(isinstance(name, str) for name in listed):
        raise UsageError(f"{what} is {names!r}, not a list of names.", 'Write it as ["one", "two"].')
    return tuple(listed)
