"""`harness figure`, on a stored session and on bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from report.conftest import Session

from harness.cli.figure import figure
from harness.errors import HarnessError, NothingComparable, UsageError

MAGIC = {"pdf": b"%PDF-", "svg": b"<?xml", "png": b"\x89PNG\r\n"}


@pytest.fixture
def results(tmp_path: Path, unsynced: None) -> Path:
    """Two models, three interleaved processes each and a quality process; the second is dominated."""
    session = Session()
    for block in range(3):
        for model, scale in (("good", 1), ("bad", 5)):
            steady = [scale * (1_000_000 + 1000 * block + 100 * i) for i in range(120)]
            session.add(model, block, model_bytes=scale * 1000, samples={"warmup": [9] * 7, "steady": steady})
    for model, loss in (("good", 1.2), ("bad", 1.3)):
        session.add(model, measure="quality", scalars={"loss_nats": loss})
    session.write(tmp_path / "results")
    return tmp_path / "results"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(figure, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(kind: type[HarnessError], *arguments: object) -> str:
    with pytest.raises(kind) as error:
        run(*arguments)
    assert error.value.hint
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", ["pareto", "distribution"])
@pytest.mark.parametrize("fmt", MAGIC)
def test_a_file_and_its_caption(results: Path, tmp_path: Path, kind: str, fmt: str) -> None:
    output = tmp_path / f"figure.{fmt.upper()}"
    first, *caption = run(kind, "--results", results, "--output", output).splitlines()
    assert first == str(output)
    assert output.read_bytes().startswith(MAGIC[fmt])
    text = "\n".join(caption)
    for words in ("x86 · cpu · single-stream", "3 interleaved processes per model", "harness 0.1.0 (0123456789ab)"):
        assert words in text
    assert "Latency rests on 3 processes per model" in text


def test_the_same_results_give_the_same_svg(results: Path, tmp_path: Path) -> None:
    for kind in ("pareto", "distribution"):
        for name in ("a.svg", "b.svg"):
            run(kind, "--results", results, "--output", tmp_path / name)
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_json_says_what_is_drawn(results: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.svg"
    told: Any = json.loads(run("pareto", "--results", results, "--output", output, "--cost", "model_bytes", "--json"))[
        "data"
    ]
    assert told["file"] == str(output)
    (panel,) = told["panels"]
    assert panel["condition"]["scenario"] == "single-stream"
    good, bad = panel["models"]
    assert (good["model"], good["standing"], good["model_bytes"]["value"]) == ("good", "front", 1000)
    assert (bad["standing"], bad["beaten_by"], bad["loss_nats"]["kind"]) == ("dominated", ["good"], "measured")
    told = json.loads(run("distribution", "bad", "--results", results, "--output", output, "--json"))["data"]
    ((bad,),) = (panel["models"] for panel in told["panels"])
    assert [(one["samples"], one["warm_ups"]) for one in bad["processes"]] == [(120, 7)] * 3
    assert bad["p50_ns"]["low"] < bad["p50_ns"]["value"] < bad["p50_ns"]["high"] < bad["p90_ns"]["value"]
    assert "p99_ns" not in bad, "it takes 662 queries"


def test_what_cannot_be_drawn_is_said_in_a_sentence(results: Path, tmp_path: Path) -> None:
    here = ("--results", results, "--output", tmp_path / "x.svg")
    assert "loss_nats, perplexity" in refused(UsageError, "pareto", *here, "--quality", "beauty")
    assert "'beauty'" in refused(UsageError, "pareto", *here, "--cost", "beauty")
    assert "sqnr_db" in refused(NothingComparable, "pareto", *here, "--quality", "sqnr_db")
    assert "'decode'" in refused(UsageError, "distribution", *here, "--phase", "decode")
    assert "nobody" in refused(UsageError, "distribution", "nobody", *here)
    assert "'moon'" in refused(UsageError, "pareto", *here, "--target", "moon")
    assert "no results" in refused(NothingComparable, "pareto", "--results", tmp_path / "none", *here[2:])
    assert "pdf, svg, png" in refused(UsageError, "pareto", *here[:2], "--output", "x.gif")
    assert "pdf, svg, png" in refused(UsageError, "pareto", *here[:2], "--output", "x")
    assert "cannot be written" in refused(UsageError, "pareto", *here[:2], "--output", tmp_path / "no" / "x.pdf")
    assert not (tmp_path / "x.svg").exists()


def test_without_matplotlib_it_says_what_to_install(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install 'edge-harness[figures]'" in refused(UsageError, "pareto", "--results", results)


def test_help_has_examples_of_every_figure() -> None:
    for kind in ("pareto", "distribution"):
        assert f"harness figure {kind}" in run(kind, "--help")
    assert "compressed model NAME" in run("model", "--help")
