"""Series: their figures are medians of what `harness compare` shows; what a change is does not depend on the unit."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nightly.farm import START, metrics
from report.conftest import Session

from harness.analysis.comparison import compare_tables
from harness.conditions.fields import Condition
from harness.nightly.config import DEFAULT_METRICS
from harness.nightly.detection import changes_of, worsening
from harness.nightly.nights import Night
from harness.nightly.series import Point, Series, series_of

CONDITION = Condition("x86", "cpu", "single-stream", 1, None, None, False, 1, None, None)


def series(name: str, values: list[float], *, exact: bool = False) -> Series:
    points = tuple(Point(night, value, 5, exact, "a") for night, value in enumerate(values, 1))
    return Series("model", CONDITION, metrics(name)[0], "measured", "f", points)


def test_the_figures_of_a_night_are_the_medians_of_the_processes_that_compare_shows(generated: Session) -> None:
    night = Night(
        number=1,
        config="n",
        config_sha256="c",
        target="x86",
        started_at=START,
        status="complete",
        session_id=generated.name,
    )
    watched = metrics(*DEFAULT_METRICS, "peak_rss_bytes", "peak_over_idle_bytes", "load_ns", "decode_tokens_per_s")
    found = {
        (one.model, one.metric.name): (one.points[0].value, one.points[0].processes, one.kind, one.points[0].exact)
        for one in series_of(generated.tables(), [night], watched)
    }
    shown = {
        (model.label, row.metric.name): (statistics.median(cell.values), len(cell.values), cell.kind, cell.exact)
        for comparison in compare_tables(generated.tables())
        for row in comparison.rows
        for model, cell in zip(comparison.models, row.figures, strict=True)
        if cell.estimate is not None and row.metric in watched and cell.kind != "recorded"
    }
    # The size of a file is in every run of it; a night takes it from those that measure.
    assert {key: value[:1] + value[2:] for key, value in found.items()} == {
        key: value[:1] + value[2:] for key, value in shown.items()
    }
    assert ("gpt-fp32", "loss_nats") in found
    assert ("gpt-4bit", "loss_nats") not in found, "what was recorded when it was made was not measured tonight"
    assert found["gpt-fp32", "decode_latency_ns_p50"][1] == 5


@given(
    st.lists(st.floats(0.5, 2), min_size=1, max_size=30),
    st.sampled_from(["model_bytes", "loss_nats", "decode_tokens_per_s"]),
    st.floats(0.01, 0.3),
)
def test_every_step_of_exact_figures_is_found_and_nothing_worse_goes_unsaid(
    values: list[float], name: str, least: float
) -> None:
    one = series(name, values, exact=True)
    changes = changes_of(one, 1e-4, least)
    regressions = {change.index for change in changes if change.regression}
    level = one.levels[0]
    for index, value in enumerate(one.levels):
        if index in regressions:
            level = value
        # Since the last alarm nothing is worse than the best figure by as much as was asked.
        assert worsening(one.metric, value / level) < least * (1 + 1e-9) or index in regressions
        level = value if worsening(one.metric, value / level) < 0 else level
    assert all(worsening(one.metric, change.ratio) >= least for change in changes if change.regression)


@pytest.mark.parametrize(("name", "worse"), [("steady_latency_ns_p50", 1.2), ("decode_tokens_per_s", 1 / 1.2)])
def test_a_change_knows_its_direction_its_levels_and_when_it_is_news(name: str, worse: float) -> None:
    noise = [1.0, 1.002, 0.998, 1.001, 0.999, 1.0015]
    values = [100 * value for value in noise] + [100 * worse * value for value in noise[:4]]
    (change,) = changes_of(series(name, values), 1e-4, 0.03)
    assert (change.night, change.regression, change.recent) == (7, True, True)
    assert change.before == pytest.approx(100, rel=0.002)
    assert change.after == pytest.approx(100 * worse, rel=0.002)
    (old,) = changes_of(series(name, values + [100 * worse * value for value in noise * 2]), 1e-4, 0.03)
    assert (old.night, old.recent) == (7, False)
    (back,) = changes_of(series(name, values[::-1]), 1e-4, 0.03)
    assert not back.regression


def test_losses_are_set_against_each_other_by_their_perplexity() -> None:
    one = series("loss_nats", [1.0, 1.0 + math.log(1.029)], exact=True)
    assert changes_of(one, 1e-4, 0.03) == []
    (change,) = changes_of(series("loss_nats", [-0.1, -0.1 + math.log(1.031)], exact=True), 1e-4, 0.03)
    assert (change.before, change.ratio) == (pytest.approx(-0.1), pytest.approx(1.031))


def test_what_a_target_without_a_clock_took_is_no_latency() -> None:
    made = Session("s1")
    made.add("model", samples={"steady": [100]}, latency_kind=None, model_bytes=7)
    night = Night(
        number=1,
        config="n",
        config_sha256="c",
        target="x86",
        started_at=START,
        status="complete",
        session_id="s1",
    )
    found = series_of(made.tables(), [night], metrics("steady_latency_ns_p50", "model_bytes"))
    assert [one.metric.name for one in found] == ["model_bytes"]
