"""What the README promises: its commands exist, its pandas gives the table's figures, its exact figures are today's."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from decimal import Decimal
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from harness.cli import cli
from harness.measurement import Measurement, tables
from harness.models.records import PACKAGED, read_record
from harness.protocol import Samples, Scalar
from harness.report import compare_tables
from harness.store.dataset import read_tables
from harness.store.schemas import RUNS
from harness.store.writer import write_attempt

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
MODELS = {"baseline-small": 300_000.0, "selfcomp-small": 120_000.0}


def store(results: Path) -> None:
    """Two models in five interleaved blocks, with decode samples, and a pass of memory, which loads more slowly."""
    rng = np.random.default_rng(1)
    for position, (block, model) in enumerate((block, model) for block in range(5) for model in MODELS):
        store_memory(results, model, f"m{position}", block)
        durations = rng.normal(MODELS[model] * (1 + 0.05 * block), 5_000, 60).astype(int).tolist()
        measurement = Measurement()
        measurement.add(Samples(phase="decode", start_ns=np.cumsum(durations).tolist(), duration_ns=durations))
        measurement.add(Scalar(name="load_program_ns", value=1e6 + position))
        row = dict.fromkeys(RUNS.names) | {
            "attempt_id": f"a{position}",
            "job_id": f"j{position}",
            "session_id": "s",
            "position": position,
            "started_at": position,
            "status": "ok",
            "measure": "latency",
            "latency_kind": "measured",
            "scenario": "generate",
            "model": model,
            "block": block,
            "flags": [],
        }
        rows = tables(f"a{position}", measurement, []) | {"runs": pa.Table.from_pylist([row], schema=RUNS)}
        write_attempt(results, "2026-01-01", "x86", rows)


def store_memory(results: Path, model: str, attempt: str, block: int) -> None:
    measurement = Measurement()
    measurement.add(Scalar(name="load_program_ns", value=9e6))
    measurement.add(Scalar(name="planned_bytes", value=4096))
    row = dict.fromkeys(RUNS.names) | {
        "attempt_id": attempt,
        "job_id": attempt,
        "session_id": "s",
        "position": block,
        "started_at": block,
        "status": "ok",
        "measure": "memory",
        "scenario": "generate",
        "model": model,
        "block": block,
        "flags": [],
    }
    rows = tables(attempt, measurement, []) | {"runs": pa.Table.from_pylist([row], schema=RUNS)}
    write_attempt(results, "2026-01-01", "x86", rows)


def test_the_pandas_of_the_readme_gives_the_figures_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "results")
    (comparison,) = compare_tables(read_tables(tmp_path / "results"), every_metric=True)
    (row,) = [row for row in comparison.rows if row.metric.name == "decode_latency_ns_p50"]
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert snippets
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for snippet in snippets:
            exec(snippet, names)
    # Load time is of the processes that measure latency, not a mean over those of other passes too.
    (load,) = [row for row in comparison.rows if row.metric.name == "load_program_ns"]
    assert [f.estimate.value for f in load.figures if f.estimate] == pytest.approx([1e6 + 4, 1e6 + 5], rel=1e-5)
    (shown,) = re.findall(r"^latency +load_program_ns +NaN +(.*)$", printed.getvalue(), re.MULTILINE)
    assert [float(text) for text in shown.split()] == pytest.approx([1e6 + 4, 1e6 + 5], rel=1e-5)
    (memory,) = re.findall(r"^memory +load_program_ns +NaN +(.*)$", printed.getvalue(), re.MULTILINE)
    assert [float(text) for text in memory.split()] == pytest.approx([9e6, 9e6])
    estimates = [figure.estimate for figure in row.figures]
    assert list(names["latency"]) == pytest.approx([estimate.value for estimate in estimates if estimate])
    low, high = names["interval"]
    assert list(low) == pytest.approx([estimate.low for estimate in estimates if estimate])
    assert list(high) == pytest.approx([estimate.high for estimate in estimates if estimate])
    versus = row.versus[1]
    assert versus is not None
    assert names["speed_up"] == pytest.approx(versus.value)


def test_every_command_and_option_in_the_readme_exists() -> None:
    lines = [line.split("#")[0].split() for line in re.findall(r"^ +(?:.*&& )?(harness .*)$", README, re.MULTILINE)]
    assert len(lines) > 5
    for _, name, *words in lines:
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None, name
        if isinstance(command, click.Group):
            command = command.commands[words[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, words


RECORDED = {
    (row["table"], row["model"], row["metric"]): float(row["value"])
    for row in csv.DictReader((Path(__file__).parent / "bench" / "readme.csv").read_text(encoding="utf-8").splitlines())
}
"""The exact figures, measured by `python tests/bench/readme.py`: some need an emulator or minutes of building."""
UNITS = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1, "M": 1e6, "k": 1e3, "nats": 1, "bits": 1, "x": 1, "": 1}
NUMBER = re.compile(r"(?<![\w.])([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?) ?(GB|MB|kB|B|M|k|nats|bits|x)?(?![\w.])")
LABELS = {
    "planned arena": "planned_bytes",
    "file size": "model_bytes",
    "bits a weight, learned": "bits_per_weight",
    "loss, a token": "loss_nats",
    "perplexity": "perplexity",
    "prefill, instructions": "prefill_instructions",
    "decode, a token, instructions": "decode_instructions",
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


@pytest.mark.parametrize(("table", "begins", "count"), [("first", "x86 · cpu", 5), ("counts", "arm64 · cortex", 6)])
def test_exact_rows_of_tables_are_the_recorded_figures(table: str, begins: str, count: int) -> None:
    block = next(block for block in re.findall(r"```text\n(.*?)```", README, re.DOTALL) if block.startswith(begins))
    lines = {label: line for line in block.splitlines() for label in LABELS if line.startswith(f"{label}  ")}
    assert len(lines) == count, "a row of the table has another name, or is missing"
    for label, line in lines.items():
        base, other = (RECORDED[table, model, LABELS[label]] for model in ("baseline-small", "selfcomp-small"))
        versus = {"x": base / other, "difference": other - base}
        against = [] if "x86" in label else [versus["difference" if label in ("loss, a token", "perplexity") else "x"]]
        assert_shown(line.removeprefix(label), base, other, *against)


def rows_of(heading: str) -> list[list[str]]:
    """The rows of the Markdown table with that heading, cell by cell."""
    (body,) = re.findall(re.escape(heading) + r"\n\|[-|]+\|\n((?:\|.*\n)+)", README)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]


def test_programs_have_the_recorded_sizes_and_losses() -> None:
    found = rows_of("| 6 layers of 384 | file | loss of the file, nats a token |")
    assert len(found) == 6
    for what, size, loss in found:
        name, _, precision = what.replace("`", "").partition(", ")
        stem = name if precision in ("", "fp32") else f"{name}.{precision}"
        assert_shown(size, RECORDED["programs", stem, "model_bytes"])
        assert_shown(loss, RECORDED["programs", stem, "loss_nats"])


def test_what_rounding_costs_is_what_was_recorded() -> None:
    (text,) = re.findall(r"rounded so (`baseline-small` has.*?)\. The file", README, re.DOTALL)
    kinds = (".int4-channel", ".int4-group32", "")
    losses = [
        RECORDED["programs", f"baseline-{size}{kind}", "loss_nats"] for size in ("small", "6x384") for kind in kinds
    ]
    assert_shown(re.sub("`.*?`|float32", "", text), *losses)


def test_trained_models_are_those_of_their_records() -> None:
    """Losses, bits and bytes of every model whose weights come with harness, as both tables of them show."""
    large = rows_of("| | loss, nats a token | bits a weight, learned / stored | weights at rest |")
    small = rows_of("| | loss, nats a token | bits a weight, learned or given | weights at rest |")
    assert (len(large), len(small)) == (6, 8)
    for what, loss, bits, size in large + small:
        record = read_record(PACKAGED, re.findall("`(.*?)`", what)[0])
        assert record is not None
        assert_shown(loss, record.validation_loss)
        learned, stored = record.bits_learned, record.bits_stored
        if learned is None or stored is None:
            learned, stored = 32.0, 16.0  # float32, kept in half of it
        assert_shown(bits, learned, *([stored] if "/" in bits else []))
        weights, *coded = size.split(", entropy-coded")
        assert_shown(weights, record.weights_bytes)
        assert len(coded) == (record.name == "priced-6x384")


def test_so_many_published_figures_come_with_harness() -> None:
    (count,) = re.findall(r"([\d,]+) of them come with harness", README)
    found = [len(pd.read_csv(file)) for file in (Path(__file__).parents[1] / "results" / "published").glob("*.csv")]
    assert int(count.replace(",", "")) == sum(found)


@pytest.mark.xdist_group("export")
@pytest.mark.parametrize("name", ["baseline-small", "selfcomp-small"])
def test_todays_exporter_writes_files_of_the_recorded_sizes(name: str) -> None:
    """The cheap part of `python tests/bench/readme.py`, which is to be run again where this fails."""
    from harness.models.zoo import artifact
    from harness.worker.runtimes.pte import read_methods

    path = artifact(name)
    assert path.stat().st_size == RECORDED["first", name, "model_bytes"]
    (arena,) = [method.planned_bytes for method in read_methods(path) if method.name == "forward"]
    assert arena == RECORDED["first", name, "planned_bytes"]
