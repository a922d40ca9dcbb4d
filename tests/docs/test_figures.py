"""Exact figures of the pages are those that were recorded: sizes, losses, bits, counted instructions."""

from __future__ import annotations

import csv
import re
from decimal import Decimal

import pandas as pd
import pytest
from docs.sources import DOCS, PAGES, ROOT

from harness.models.zoo.records import PACKAGED, read_record

MODELS = PAGES["docs/models.md"]

RECORDED = {
    (row["table"], row["model"], row["metric"]): float(row["value"])
    for row in csv.DictReader((ROOT / "tests" / "bench" / "readme.csv").read_text(encoding="utf-8").splitlines())
}
"""The exact figures, measured by `python tests/bench/readme.py`: some need an emulator or minutes of building."""
UNITS = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1, "M": 1e6, "k": 1e3, "nats": 1, "bits": 1, "x": 1, "": 1}
NUMBER = re.compile(r"(?<![\w.])([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?) ?(GB|MB|kB|B|M|k|nats|bits|x)?(?![\w.])")
LABELS = {
    "planned arena": "planned_bytes",
    "file size": "model_bytes",
    "bits per weight, learned": "bits_per_weight",
    "loss per token": "loss_nats",
    "perplexity": "perplexity",
    "prefill, instructions": "prefill_instructions",
    "decode per token, instructions": "decode_instructions",
    "first inference, instructions": "first_instructions",
    "load, instructions": "load_instructions",
    "max difference from x86": "max_abs_difference_x86",
    "argmax agreement with x86": "argmax_agreement_x86",
}


def numbers(text: str) -> list[tuple[float, float]]:
    """Every number of a text in its basic unit, and half of the last digit that is shown."""
    found = []
    for digits, unit in NUMBER.findall(text):
        shown, factor = Decimal(digits.replace(",", "")), UNITS[unit]
        found.append((float(shown) * factor, 10.0 ** int(shown.as_tuple().exponent) / 2 * factor))
    return found


def assert_shown(text: str, *values: float) -> None:
    """The numbers of `text` are `values`, in that order, each rounded to the digits that are shown."""
    found = numbers(text)
    assert len(found) == len(values), text
    for (shown, half), value in zip(found, values, strict=True):
        assert abs(shown - value) <= half * (1 + 1e-9), f"{text!r} shows {shown}, recorded is {value}"


@pytest.mark.parametrize(("table", "file", "count"), [("first", "first.txt", 5), ("counts", "arm64.txt", 6)])
def test_exact_rows_of_tables_are_the_recorded_figures(table: str, file: str, count: int) -> None:
    block = (DOCS / "output" / file).read_text(encoding="utf-8")
    lines = {label: line for line in block.splitlines() for label in LABELS if line.startswith(f"{label}  ")}
    assert len(lines) == count, "a row of the table has another name, or is missing"
    for label, line in lines.items():
        base, other = (RECORDED[table, model, LABELS[label]] for model in ("baseline-small", "selfcomp-small"))
        versus = {"x": base / other, "difference": other - base}
        against = [] if "x86" in label else [versus["difference" if label in ("loss per token", "perplexity") else "x"]]
        assert_shown(line.removeprefix(label), base, other, *against)


def rows_of(heading: str) -> list[list[str]]:
    """The rows of the Markdown table with that heading, cell by cell."""
    (body,) = re.findall(re.escape(heading) + r"\n\|[-|]+\|\n((?:\|.*\n)+)", MODELS)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]


def test_programs_have_the_recorded_sizes_and_losses() -> None:
    found = rows_of("| 6 layers of 384 | file | loss of the file, nats per token |")
    assert len(found) == 6
    for what, size, loss in found:
        name, _, precision = what.replace("`", "").partition(", ")
        stem = name if precision in ("", "fp32") else f"{name}.{precision}"
        assert_shown(size, RECORDED["programs", stem, "model_bytes"])
        assert_shown(loss, RECORDED["programs", stem, "loss_nats"])


def test_what_rounding_costs_is_what_was_recorded() -> None:
    rows = rows_of("| loss in nats per token | float32 | `int4-channel` | `int4-group32` |")
    assert len(rows) == 2
    for name, *losses in rows:
        for kind, loss in zip(("", ".int4-channel", ".int4-group32"), losses, strict=True):
            assert_shown(loss, RECORDED["programs", name.strip("`") + kind, "loss_nats"])


def test_trained_models_are_those_of_their_records() -> None:
    """Losses, bits and bytes of every model whose weights come with harness, as both tables of them show."""
    large = rows_of("| | loss, nats per token | bits per weight, learned / stored | weights at rest |")
    small = rows_of("| | loss, nats per token | bits per weight, learned or given | weights at rest |")
    assert (len(large), len(small)) == (6, 8)
    for what, loss, bits, size in large + small:
        record = read_record(PACKAGED, re.findall("`(.*?)`", what)[0])
        assert record is not None
        assert_shown(loss, record.validation_loss)
        learned, stored = record.bits_learned, record.bits_stored
        if learned is None or stored is None:
            learned, stored = 32.0, 16.0  # float32, stored in half of it
        assert_shown(bits, learned, *([stored] if "/" in bits else []))
        weights, *coded = size.split(", entropy-coded")
        assert_shown(weights, record.weights_bytes)
        assert len(coded) == (record.name == "priced-6x384")


def test_so_many_published_figures_come_with_harness() -> None:
    (count,) = re.findall(r"([\d,]+) published figures come with harness", PAGES["docs/paper.md"])
    found = [len(pd.read_csv(file)) for file in (ROOT / "results" / "published").glob("*.csv")]
    assert int(count.replace(",", "")) == sum(found)


@pytest.mark.xdist_group("export")
@pytest.mark.parametrize("name", ["baseline-small", "selfcomp-small"])
def test_todays_exporter_writes_files_of_the_recorded_sizes(name: str) -> None:
    """The cheap part of `python tests/bench/readme.py`, which is to be run again where this fails."""
    from harness.models.zoo.artifacts import artifact
    from harness.worker.runtimes.pte import read_methods

    path = artifact(name)
    assert path.stat().st_size == RECORDED["first", name, "model_bytes"]
    (arena,) = [method.planned_bytes for method in read_methods(path) if method.name == "forward"]
    assert arena == RECORDED["first", name, "planned_bytes"]
