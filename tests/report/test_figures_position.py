"""Latency against position: each token is where it was decoded, whatever its query was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.report.figures import position
from harness.report.figures.captions import positions_caption
from harness.report.figures.panels import panels_of
from harness.report.figures.positions import medians_by_position, positions_of

PROMPT = 5


def queries(*answers: list[int]) -> list[tuple[str, int, int]]:
    """(phase, start, duration) of queries that decode tokens of these durations, in the order of a worker: phase by
    phase.
    """
    rows, clock = [], 0
    for answer in answers:
        rows.append(("prefill", clock, 50))
        clock += 50
        for duration in answer:
            rows.append(("decode", clock + 1, duration))  # a token is chosen in between
            clock += duration + 1
        clock += 3
    return sorted(rows, key=lambda row: row[0])


def samples(rows: list[tuple[str, int, int]], attempt: str = "a") -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["phase", "start_ns", "duration_ns"])
    return table.assign(attempt_id=attempt, iteration=table.groupby("phase").cumcount(), instructions=None)


def test_a_token_stands_behind_the_prompt_and_the_tokens_before_it() -> None:
    medians = medians_by_position(samples(queries([10, 20, 30], [11, 21, 31], [12, 22, 32])), PROMPT)
    assert medians.to_dict() == {5: 11.0, 6: 21.0, 7: 31.0}


def test_answers_may_end_early_and_rare_positions_are_left_out() -> None:
    medians = medians_by_position(samples(queries([10, 20, 30], [11], [12, 22], [13, 23])), PROMPT)
    assert medians.to_dict() == {5: 11.5, 6: 22.0}


def filled(session: Any, growth: dict[str, int]) -> Any:
    source = np.random.default_rng(0)
    for model, more in growth.items():
        for block in range(3):
            name = session.add(model, block, scenario="generate", prompt_tokens=PROMPT, new_tokens=21)
            answers = [[1000 + more * at + int(source.integers(0, 20)) for at in range(20)] for _ in range(6)]
            session.samples += samples(queries(*answers), name).to_dict("records")
    return session


def test_every_model_has_a_line_and_its_growth_is_said(session: Any) -> None:
    filled(session, {"flat": 0, "growing": 100})
    (panel,), _ = panels_of(session.tables())
    models, absent = positions_of(panel)
    assert absent == {}
    assert [model.model for model in models] == ["flat", "growing"]
    assert models[0].positions.tolist() == list(range(5, 25))
    assert models[0].growth() == pytest.approx(1.0, abs=0.02)
    assert models[1].growth() == pytest.approx(2850 / 1050, rel=0.02)
    estimate = models[1].estimates()[10]
    assert estimate.value == pytest.approx(2010, rel=0.01)
    assert estimate.low is not None
    assert estimate.low < estimate.value

    figure = position.draw([panel], [models])
    (axes,) = figure.axes
    thick = [line for line in axes.lines if line.get_linewidth() > 1]
    assert len(thick) == 2
    assert len(axes.lines) == 2 + 2 * 3
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["flat", "growing"]
    text = " ".join(positions_caption([(panel, models, absent)]))
    assert "growing: 3 processes of 6 queries or more; the last tokens, of 24 before them, take 2.7" in text


def test_a_model_without_tokens_is_named_with_the_reason(session: Any) -> None:
    filled(session, {"flat": 0})
    session.add("none", scenario="generate", prompt_tokens=PROMPT, new_tokens=21, samples={"prefill": [5, 5, 5]})
    (panel,), _ = panels_of(session.tables())
    models, absent = positions_of(panel)
    assert [model.model for model in models] == ["flat"]
    assert "3 queries" in absent["none"]
