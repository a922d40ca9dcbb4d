"""An ablation is drawn as it was measured, and the files are the same twice."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from harness.report.figures.ablation import Step, draw
from harness.report.figures.style import file_bytes
from harness.statistics.summary import Estimate

STEPS = [
    Step("none", Estimate(20e6, 15e6, 30e6, 5), Estimate(30e6, 25e6, 40e6, 5), 3_216_000.0),
    Step("+ windowing", Estimate(2e6, None, None, 1), Estimate(5e6, None, None, 1), 112_000.0),
    Step("<b>$x$", None, None, 0.0),
]


def test_every_step_stands_in_its_row() -> None:
    figure = draw([("relu", STEPS)], "x86")
    latency, size = figure.axes
    bars = [found for found in latency.containers if isinstance(found, ErrorbarContainer)]
    assert [np.array(bar.lines[0].get_xydata()).tolist() for bar in bars] == [[[30, 0], [5, 1]], [[20, 0], [2, 1]]]
    (segments, *_) = bars[1].lines[2]
    assert segments.get_segments()[0][:, 0].tolist() == pytest.approx([15, 30])
    assert np.array(size.lines[0].get_xydata()).tolist() == [[3216, 0], [112, 1]]
    said = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    assert {"none", "+ windowing", "<b>$x$", "not measured", "latency per token (ms)"} <= set(said)


@pytest.mark.parametrize("fmt", ["pdf", "svg", "png"])
def test_the_same_steps_give_the_same_bytes(fmt: str) -> None:
    first, second = (file_bytes(draw([("a", STEPS), ("b", STEPS)], "x86"), fmt, ["title"]) for _ in range(2))
    assert first == second


def test_where_nothing_was_measured_the_rows_say_so() -> None:
    figure = draw([("a", STEPS[2:])], "x86")
    assert "not measured" in [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
