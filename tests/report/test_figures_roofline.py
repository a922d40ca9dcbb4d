"""A roofline: where the dots stand and what bounds them; nothing is drawn of a device that does not say what it can."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import NothingComparable
from harness.report.figures.captions import rooflines_caption
from harness.report.figures.intensity import rooflines
from harness.report.figures.panels import panels_of
from harness.report.figures.roofline import draw
from harness.report.figures.style import file_bytes

# 100 GMAC/s, 1 GB/s from flash: the ridge is at 100 MACs a byte.
PEAKS = {"peak_macs_per_s": 100e9, "flash_bytes_per_s": 1e9, "sram_bytes_per_s": 8e9}


def add(session: Any, model: str, *, kind: str = "estimated", **figures: float) -> None:
    """A model with a prefill of 1 ms."""
    scalars = {f"{name}@prefill": value for name, value in figures.items()}
    session.add(model, samples={"prefill": [1_000_000]}, scalars=scalars, latency_kind=kind, scenario="generate")


def drawn(session: Any) -> list[Any]:
    panels, _ = panels_of(session.tables())
    return rooflines(panels)


def test_a_dot_stands_below_the_bound_that_holds_for_it(session: Any) -> None:
    add(session, "waits", macs=1e6, flash_traffic_bytes=1e5, sram_traffic_bytes=1e6, **PEAKS)
    add(session, "computes", macs=5e7, flash_traffic_bytes=1e4, sram_traffic_bytes=1e6, **PEAKS)
    ((panel, roof, dots, absent),) = drawn(session)
    assert (roof.memory, roof.ridge) == ("flash", 100.0)
    assert [(dot.model, dot.macs_per_byte, dot.macs_per_s, dot.bound) for dot in dots] == [
        ("waits", pytest.approx(10), pytest.approx(1e9), pytest.approx(1e10)),
        ("computes", pytest.approx(5000), pytest.approx(5e10), 1e11),
    ]
    assert absent == {}
    caption = rooflines_caption([(panel, roof, dots, absent)])
    assert "waits prefill: 10% of what flash allows." in caption
    assert "computes prefill: 50% of what the array allows." in caption
    assert any("estimated, not measured" in line for line in caption)


def test_the_same_results_give_the_same_bytes_whatever_the_models_are_called(session: Any) -> None:
    for model in ("$\\frac{x$", "漢字 <script>", "L" * 300):
        add(session, model, macs=1e6, flash_traffic_bytes=1e5, **PEAKS)
    pictures = []
    for _ in range(2):
        found = drawn(session)
        figure = draw([panel for panel, *_ in found], [(roof, dots) for _, roof, dots, _ in found])
        pictures.append(file_bytes(figure, "svg", rooflines_caption(found)))
    assert pictures[0] == pictures[1]
    assert b"<script>" not in pictures[0]


def test_a_model_without_products_is_named_and_a_device_without_a_roof_is_not_drawn(session: Any) -> None:
    add(session, "whole", macs=1e6, flash_traffic_bytes=1e5, **PEAKS)
    add(session, "empty", macs=0.0, flash_traffic_bytes=1e5, **PEAKS)
    ((_, _, dots, absent),) = drawn(session)
    assert [dot.model for dot in dots] == ["whole"]
    assert "no multiplications" in absent["empty"]
    for run in session.runs:
        run["target"] = "x86"
    session.scalars[:] = [row for row in session.scalars if row["name"] != "peak_macs_per_s"]
    with pytest.raises(NothingComparable, match="can do at most"):
        drawn(session)
