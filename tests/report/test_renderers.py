"""What is printed: nothing cut short, nothing that a name could smuggle in, the same bytes every time."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.cells import cell_len

from harness.analysis.comparison import compare_tables
from harness.report.machine import dump_json
from harness.report.markdown import escape
from harness.report.rendering import FORMATS, render

HARNESS = Path(dump_json.__code__.co_filename).parents[1]
GOLDEN = Path(__file__).with_name("comparison.md")
HOSTILE = "a|b<script>[bold]*x*`y`\x1b[2J\u202e\nz"


@pytest.fixture
def hostile(session: Any) -> Any:
    for block in range(2):
        session.add("plain", block, samples={"steady": [100]})
        session.add(HOSTILE, block, samples={"steady": [100]})
    session.add(HOSTILE, 2, status="failed", error_kind="model", error_message="[red]No\x07[/red] | `such`\nfile <b>")
    return session


def test_markdown_is_as_it_was_looked_at(generated: Any) -> None:
    assert render(compare_tables(generated.tables()), "markdown") == GOLDEN.read_text(encoding="utf-8")


def test_the_same_rows_give_the_same_bytes_in_any_order(generated: Any) -> None:
    tables = generated.tables()
    shuffled = [frame.sample(frac=1, random_state=1) for frame in (tables.runs, tables.samples, tables.scalars)]
    first, second = compare_tables(tables), compare_tables(type(tables)(*shuffled))
    for fmt in FORMATS:
        assert render(first, fmt, width=100) == render(second, fmt, width=100)
        assert render(first, fmt, width=100).endswith("\n")


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_table_fits_and_no_number_is_cut(generated: Any, width: int) -> None:
    text = render(compare_tables(generated.tables()), "terminal", width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    assert "\x1b" not in text
    for whole in ("33.30 ms", "[32.12, 34.51]", "1.86x", "[1.80, 1.91]", "887 tokens/s", "156.41 MB"):
        assert whole in text
    assert "recorded²" in text
    assert "no interval (1 process, and it takes 3: `--processes 5`)" in " ".join(text.split())


def test_many_models_are_printed_in_parts_with_the_baseline_in_each(session: Any) -> None:
    names = [f"model-number-{number}" for number in range(6)]
    for block in range(5):
        for number, name in enumerate(names):
            session.add(name, block, samples={"steady": [1_000_000 * (number + 2) + 10_000 * block]})
    text = render(compare_tables(session.tables()), "terminal", width=80)
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert text.count("\nlatency p50") == text.count("(baseline)") > 1
    for name in names[1:]:
        assert name in text.replace("\n", " ")


def test_a_terminal_narrower_than_a_part_still_has_whole_numbers(generated: Any) -> None:
    text = render(compare_tables(generated.tables()), "terminal", width=40)
    assert "[32.12, 34.51]" in text
    assert "[1.80, 1.91]" in text


def test_colour_only_when_asked(generated: Any) -> None:
    comparisons = compare_tables(generated.tables())
    assert "\x1b[32m" in render(comparisons, "terminal", width=100, color=True)
    assert "\x1b" not in render(comparisons, "terminal", width=100)  # a test's output is no terminal


def test_unresolved_ratios_say_so(session: Any) -> None:
    for block, (a, b) in enumerate(((1000, 1010), (1010, 990), (990, 1000), (1000, 1020), (1020, 1000))):
        session.add("a", block, samples={"steady": [a]})
        session.add("b", block, samples={"steady": [b]})
    comparisons = compare_tables(session.tables())
    assert re.search(r"1\.00x n\.s\. \[0\.96, 1\.04\]", render(comparisons, "markdown"))
    assert re.search(r"1\.00x n\.s\. \[0\.96, 1\.04\]", render(comparisons, "terminal", width=160))


@pytest.mark.parametrize("width", [80, 160])
def test_a_figure_that_was_not_measured_on_a_device_says_so(session: Any, width: int) -> None:
    session.add("a", samples={"steady": [1000] * 700}, latency_kind="emulated")
    session.add("b", samples={"steady": [1000] * 700}, latency_kind="estimated")
    text = render(compare_tables(session.tables()), "terminal", width=width)
    assert text.count("1.000 µs emulated") == text.count("1.000 µs estimated") == 3
    alone = render(compare_tables(session.tables(), models=["a"]), "markdown")
    assert alone.count("p50, emulated |") == alone.count("p90, emulated |") == 1
    assert "latency emulated" in alone


def test_names_from_outside_cannot_become_markup_in_a_terminal(hostile: Any) -> None:
    text = render(compare_tables(hostile.tables()), "terminal", width=200)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert r"<script>[bold]" in text
    assert r"\x1b[2J" in text
    assert "[red]No\\x07[/red]" in text


def test_names_from_outside_cannot_become_markup_in_markdown(hostile: Any) -> None:
    text = render(compare_tables(hostile.tables()), "markdown")
    assert "<" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert escape(HOSTILE) == r"a\|b&lt;script&gt;\[bold\]\*x\*\`y\`\\x1b\[2J\\u202e\\nz"


def test_json_has_one_shape_whatever_the_command() -> None:
    assert json.loads(dump_json("targets", [{"target": "x86"}])) == {
        "version": 1,
        "kind": "targets",
        "data": [{"target": "x86"}],
    }
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json("price", {"value": float("nan")})


@pytest.mark.parametrize("room", ["cli", "nightly"])
def test_no_command_prints_json_of_its_own_shape(room: str) -> None:
    """What these rooms hash or store is no output, and stands in the files that are named here."""
    users = {path.name for path in (HARNESS / room).rglob("*.py") if "json.dump" in path.read_text(encoding="utf-8")}
    assert users <= {"alerts.py", "series.py"}


def test_json_has_everything_at_full_precision(hostile: Any, generated: Any) -> None:
    parsed = json.loads(render(compare_tables(hostile.tables()), "json"))["data"]
    assert parsed["comparisons"][0]["models"][1]["model"] == HOSTILE
    comparison = json.loads(render(compare_tables(generated.tables()), "json"))["data"]["comparisons"][0]
    assert comparison["condition"]["new_tokens"] == 32
    assert comparison["versions"] == {"executorch": "1.5.0"}
    assert comparison["baseline"] == "gpt-fp32"
    assert comparison["models"][1]["latency_processes"] == 5
    metrics = {metric["metric"]: metric["models"] for metric in comparison["metrics"]}
    decode = metrics["decode_latency_ns_p50"][1]
    assert len(decode["values"]) == 5
    assert decode["low"] < decode["value"] < decode["high"]
    assert decode["versus_baseline"]["paired"] is True
    loss = metrics["loss_nats"][1]
    assert (loss["kind"], loss["reason"]) == ("recorded", "the evaluation text is not at hand")
    assert comparison["flags"][1]["flag"] == "load_high"
    assert comparison["flags"][1]["by_model"] == {"gpt-fp32": 0, "gpt-4bit": 2}


def test_csv_reads_back(hostile: Any, generated: Any) -> None:
    frame = pd.read_csv(io.StringIO(render(compare_tables(hostile.tables()), "csv")))
    assert set(frame["model"]) == {"plain", HOSTILE}
    frame = pd.read_csv(io.StringIO(render(compare_tables(generated.tables()), "csv")))
    assert not frame.duplicated(["model", "metric"]).any()
    found = {(row["model"], row["metric"]): row for row in frame.to_dict("records")}
    throughput = found["gpt-4bit", "decode_tokens_per_s"]
    assert throughput["unit"] == "tokens/s"
    assert throughput["low"] < throughput["value"] < throughput["high"]
    assert throughput["ratio_low"] < throughput["ratio"] < throughput["ratio_high"]
    assert bool(throughput["resolved"]) is True
    memory = found["gpt-4bit", "peak_rss_bytes"]
    assert (memory["ratio_reason"], memory["processes"]) == ("1 process, and it takes 3: `--processes 5`", 1)
    assert memory["interval_reason"] == memory["ratio_reason"]
    assert pd.isna(memory["ratio_low"])
    assert found["gpt-4bit", "loss_nats"]["kind"] == "recorded"
