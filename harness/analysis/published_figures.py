"""Other people's figures, from the CSV files of `results/published`: each with its source, or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pandas as pd

from harness.analysis.figures import plural
from harness.analysis.spec import ClaimSpec, PublishedSpec
from harness.errors import UsageError
from harness.metrics import METRICS

_COLUMNS = ("paper", "authors_year", "source", "where", "model", "method", "configuration", "dataset", "device")
_FIGURE = ("metric", "value", "value_high", "qualifier", "unit", "kind")
_NEEDED = ("metric", "value", "unit")
# What one of a published unit is in the unit of a metric.
_UNITS: dict[str, dict[str, int]] = {
    "ns": {"ms": 10**6, "s": 10**9},
    "bytes": {"MB": 10**6, "MiB": 2**20, "GB": 10**9},
    "tokens/s": {"tokens/s": 1},
    "bits": {"bits/weight": 1},
    "1": {"perplexity": 1, "count": 1, "million": 10**6, "billion": 10**9},
}
RATIO = "x"
_UNIT_WORDS = {"x": "×", "%": " %", "perplexity": "", "count": "", "unstated": "", "bits/weight": "", "points": ""}
_QUALIFIERS = {"up_to": "up to ", "about": "about ", "more_than": "more than "}


@dataclass(frozen=True)
class PublishedFigure:
    """`value`, or the range up to `high`, in the metric's unit, or how many times better if `ratio`.

    `digits` are those the source gives; `qualifier` and `kind` are as in the file.
    """

    value: Decimal
    high: Decimal | None
    digits: int
    qualifier: str
    kind: str
    ratio: bool


@dataclass(frozen=True)
class PublishedRow:
    """`figures` by the name of the metric whose column they stand in; `source` is a citation."""

    name: str
    source: str
    figures: Mapping[str, PublishedFigure]


@dataclass(frozen=True)
class Claim:
    """What a work says of its own method: the figure in a few words, and a citation."""

    text: str
    source: str


def read_claims(specs: Sequence[ClaimSpec]) -> dict[str, Claim]:
    """The claim of each method. Raises UsageError for a method named twice, a file that cannot be read, and a choice
    that no figure or more than one fits.
    """
    claims: dict[str, Claim] = {}
    for spec in specs:
        if spec.method in claims:
            raise UsageError(f"Two [[claims]] are of the method {spec.method}.", "Leave one out.")
        found = _fitting(spec.file, spec.where)
        if len(found) != 1:
            asked = ", ".join(f"{column} {value!r}" for column, value in spec.where.items())
            raise UsageError(
                f"{spec.file} has {len(found) or 'no'} figures for {asked}, where one is wanted.",
                "Change the where of the claim.",
            )
        claims[spec.method] = _as_claim(found[0])
    return claims


def _as_claim(record: Mapping[str, str]) -> Claim:
    """`speedup up to 1.56×; OPT-175B, W8A8, against fp16`, and where that is said."""
    number = "–".join(part for part in (record["value"], record["value_high"]) if part)
    unit = _UNIT_WORDS.get(record["unit"], f" {record['unit']}")
    what = f"{record['metric'].replace('_', ' ')} {_QUALIFIERS.get(record['qualifier'], '')}{number}{unit}"
    of = [record[column] for column in ("model", "method", "configuration", "dataset", "device") if record[column]]
    if record.get("baseline"):
        of.append(f"against {record['baseline']}")
    work = [record[column] for column in ("authors_year", "paper", "source") if record[column]]
    seen = f"as given in {record['document']}, {record['where']}" if record.get("document") else record["where"]
    return Claim(f"{what}; {', '.join(of)}" if of else what, ", ".join(part for part in (*work, seen) if part))


def read_published(specs: Sequence[PublishedSpec]) -> tuple[list[PublishedRow], list[str]]:
    """The rows that the specs ask for, and a sentence for what was left out: figures without a source or a number.

    Raises UsageError for a file that cannot be read, a choice that no figure or more than one fits, and a unit that
    cannot stand in the column.
    """
    rows: list[PublishedRow] = []
    notes: list[str] = []
    for spec in specs:
        records = _chosen(spec)
        sourced = [record for record in records if record["source"]]
        known = [record for record in sourced if _number(record["value"]) is not None]
        for missing, what in ((len(records) - len(sourced), "source"), (len(sourced) - len(known), "number")):
            if missing:
                notes.append(f"{plural(missing, 'figure')} of {spec.file.name} left out: no {what} is given.")
        groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for record in known:
            key = () if spec.name is not None else tuple(record[column] for column in _COLUMNS)
            groups.setdefault(key, []).append(record)
        rows += [_row(spec, members) for members in groups.values()]
    return rows, notes


def _chosen(spec: PublishedSpec) -> list[dict[str, str]]:
    """The figures of the file that the spec means, every column there is as text, '' where the file has none."""
    found = [record for record in _fitting(spec.file, spec.where) if record["metric"] in spec.columns.values()]
    if not found:
        asked = ", ".join([*(f"{column} {value!r}" for column, value in spec.where.items()), *spec.columns.values()])
        raise UsageError(f"{spec.file} has no figure for {asked}.", "Look for its words in the file.")
    return found


def _fitting(file: Path, where: Mapping[str, str]) -> list[dict[str, str]]:
    """The rows of a file whose fields equal `where`. Raises UsageError for a file or column that cannot be read."""
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read ({error.strerror or error}).", "Name a file that you may read."
        ) from error
    except ValueError as error:
        raise UsageError(f"{file} is not a CSV file of figures ({error}).", "Correct it there.") from error
    known = (*_COLUMNS, *_FIGURE)
    if missing := [column for column in (*_NEEDED, *where) if column not in frame.columns]:
        raise UsageError(f"{file} has no column {missing[0]!r}.", f"Columns of such files: {', '.join(known)}.")
    frame = frame.reindex(columns=list(dict.fromkeys([*known, *frame.columns])), fill_value="")
    keep = pd.Series(True, frame.index)
    for column, value in where.items():
        keep &= frame[column] == value
    return [{str(name): str(value).strip() for name, value in row.items()} for row in frame[keep].to_dict("records")]


def _row(spec: PublishedSpec, records: Sequence[dict[str, str]]) -> PublishedRow:
    figures: dict[str, PublishedFigure] = {}
    for metric, published_name in spec.columns.items():
        matching = [record for record in records if record["metric"] == published_name]
        if len(matching) > 1:
            raise UsageError(
                f"{spec.file} has {len(matching)} figures for {published_name} where one is wanted.",
                "Narrow it with where = { configuration = ... }.",
            )
        if matching:
            figures[metric] = _figure(spec, metric, matching[0])
    parts = [records[0][column] for column in ("model", "method", "configuration")]
    name = spec.name if spec.name is not None else ", ".join(part for part in parts if part)
    return PublishedRow(name or records[0]["paper"] or spec.file.stem, _citation(records), figures)


def _figure(spec: PublishedSpec, metric: str, record: Mapping[str, str]) -> PublishedFigure:
    of = METRICS[metric]
    ratio = record["unit"] == RATIO and of.compare == "ratio"
    factor = 1 if ratio else _UNITS.get(of.unit, {}).get(record["unit"])
    value = _number(record["value"])
    if factor is None or value is None:
        raise UsageError(
            f"{record['metric']} of {spec.file} is in {record['unit']!r}, which cannot stand in a column of {metric}.",
            f"Choose another metric of the file for {metric}.",
        )
    high = _number(record["value_high"])
    digits = max(len(number.as_tuple().digits) for number in (value, high) if number is not None)
    return PublishedFigure(
        value * factor, None if high is None else high * factor, digits, record["qualifier"], record["kind"], ratio
    )


def _citation(records: Sequence[dict[str, str]]) -> str:
    """Who, what and where, then on which data and device, as far as the file says."""
    texts = {column: list(dict.fromkeys(record[column] for record in records if record[column])) for column in _COLUMNS}
    work = ", ".join(text for column in ("authors_year", "paper", "source", "where") for text in texts[column])
    on = [f"{column} {', '.join(texts[column])}" for column in ("dataset", "device") if texts[column]]
    return "; ".join([work, *on])


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
