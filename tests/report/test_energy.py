"""Energy in comparisons, tables and figures: by token or by query, with how it was obtained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from report.conftest import Session

from harness.analysis.comparison import compare_tables
from harness.analysis.rows import Row
from harness.cli.figure import figure as command
from harness.metrics import CATALOGUE
from harness.report.rendering import render

ANSWER = {"scenario": "generate", "prompt_tokens": 64, "new_tokens": 32, "threads": 2, "cpus": "2,3"}
# Joules of a window of six answers of 32 tokens, a process each.
WINDOWS = {"gpt-fp32": (960.0, 979.2, 950.4), "gpt-4bit": (480.0, 484.8, 475.2)}


def add_energy(session: Session, flags: tuple[str, ...] = (), **scalars: Any) -> Session:
    """An energy pass of both models, in blocks."""
    for block in range(3):
        for model, joules in WINDOWS.items():
            session.add(
                model,
                block,
                measure="energy",
                flags=flags,
                options={"min_duration_s": 10.0, "max_duration_s": 60.0},
                samples={"warmup": [9], "prefill": [1] * 6, "decode": [1] * 6 * 31, "generate": [40] * 6},
                scalars={
                    "energy_j@generate": joules[block],
                    "net_energy_j@generate": joules[block] / 2,
                    "power_w@generate": 30.0 + block,
                    "idle_power_w": 15.0,
                    "energy_resolution_j@generate": 0.02,
                    **scalars,
                },
                **ANSWER,
            )
    return session


def rows(session: Session, **more: Any) -> dict[str, Row]:
    (comparison,) = compare_tables(session.tables(), **more)
    return {row.metric.name: row for row in comparison.rows}


def test_a_token_has_the_energy_of_the_answers_over_their_tokens(generated: Session) -> None:
    found = rows(add_energy(generated))
    per_token = found["joules_per_token"]
    assert per_token.figures[0].values == pytest.approx([960 / 192, 979.2 / 192, 950.4 / 192])
    assert per_token.figures[0].kind == "measured"
    versus = per_token.versus[1]
    assert versus is not None
    assert (versus.kind, versus.paired, versus.processes) == ("ratio", False, 3)  # they show no drift
    assert versus.value == pytest.approx(2.007, rel=0.01)
    assert found["net_joules_per_token"].figures[1].values[0] == pytest.approx(480 / 192 / 2)
    assert found["power_w"].figures[0].values == pytest.approx([30.0, 31.0, 32.0])
    assert found["power_w"].versus == (None, None)
    assert "joules_per_query" not in found


def test_the_energy_pass_times_nothing(generated: Session) -> None:
    """Its samples are of a process that was asked for power: they are in no latency."""
    before = rows(generated)["decode_latency_ns_p50"].figures
    assert rows(add_energy(generated))["decode_latency_ns_p50"].figures == before


def test_a_query_of_a_model_that_writes_nothing_is_a_query(session: Session) -> None:
    session.add("mlp", samples={"steady": [100] * 4})
    session.add("mlp", measure="energy", samples={"steady": [100] * 50}, scalars={"energy_j@steady": 10.0})
    found = rows(session)
    assert found["joules_per_query"].figures[0].values == pytest.approx([0.2])
    assert "joules_per_token" not in found


def test_energy_of_another_rate_is_not_that_of_this_one(session: Session) -> None:
    for rate in (10.0, 20.0):
        options = {"rate_queries_per_s": rate, "min_duration_s": 1.0}
        session.add("mlp", samples={"server": [100] * 4}, scenario="server", options=options, job_id=f"{rate}")
        session.add(
            "mlp",
            measure="energy",
            samples={"server": [100] * 50},
            scalars={"energy_j@server": rate},
            scenario="server",
            options=options | {"min_duration_s": 10.0},
            job_id=f"{rate} energy",
        )
    found = [
        {row.metric.name: row for row in comparison.rows}["joules_per_query"].figures[0].values
        for comparison in compare_tables(session.tables())
    ]
    assert found == [(0.2,), (0.4,)]


def test_an_estimate_carries_its_mark_wherever_it_appears(generated: Session) -> None:
    session = add_energy(generated, flags=("energy_estimated",))
    (comparison,) = compare_tables(session.tables())
    found = {row.metric.name: row for row in comparison.rows}
    assert {figure.kind for figure in found["joules_per_token"].figures} == {"estimated"}
    assert {figure.kind for figure in found["decode_latency_ns_p50"].figures} == {"measured"}
    text = render((comparison,), "markdown")
    assert "energy per token, estimated" in text
    assert "the processor's own model of its activity" in text


@pytest.mark.parametrize(("flag", "words"), [("energy_sampled", "at intervals"), ("energy_external", "external meter")])
def test_other_tiers_are_told_below_the_table(generated: Session, flag: str, words: str) -> None:
    text = render(compare_tables(add_energy(generated, flags=(flag,)).tables()), "markdown")
    assert words in text
    assert "estimated" not in text


def test_a_null_has_its_reason_below_the_table(generated: Session) -> None:
    generated.scalars += [
        {
            "attempt_id": run["attempt_id"],
            "name": "joules_per_token",
            "phase": None,
            "value": None,
            "reason": "no counter is visible",
        }
        for run in generated.runs
        if run["measure"] == "latency"
    ]
    text = render(compare_tables(generated.tables()), "terminal", width=200, color=False)
    assert "energy per token" in text
    assert "¹ no counter is visible" in text.replace("²", "¹").replace("³", "¹")
    assert "power when idle" not in text


def test_units_of_energy_are_joules_and_watts(generated: Session) -> None:
    text = render(compare_tables(add_energy(generated).tables()), "terminal", width=200, color=False)
    section = text[text.index("Energy") : text.index("Size")]
    assert "reduction" in section
    assert " J " in section
    assert " W " in section


def test_quality_is_drawn_against_energy(generated: Session, tmp_path: Path) -> None:
    for model, loss in (("gpt-fp32", 1.47), ("gpt-4bit", 1.52)):
        generated.add(
            model, measure="quality", data="text", data_sha256="ab" * 32, scalars={"loss_nats": loss}, **ANSWER
        )
    add_energy(generated, flags=("energy_estimated",)).write(tmp_path / "results")
    output = tmp_path / "front.svg"
    ended = CliRunner().invoke(
        command,
        ["pareto", "--cost", "joules_per_token", "--results", str(tmp_path / "results"), "--output", str(output)],
        catch_exceptions=False,
    )
    assert ended.exit_code == 0
    assert "estimated" in ended.output
    assert "energy per token, estimated (J)" in output.read_text()


def test_what_is_compared_has_a_direction_and_power_has_none() -> None:
    energy = [metric for metric in CATALOGUE if metric.measure == "energy"]
    assert {metric.unit for metric in energy} == {"J", "W"}
    for metric in energy:
        assert (metric.better == "lower") == (metric.compare == "ratio") == ("joules_per" in metric.name)
