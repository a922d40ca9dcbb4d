"""Who is on the front, who is beaten, and whom the intervals allow to call dominated."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.comparison import compare_tables
from harness.analysis.figures import Versus, figure
from harness.errors import NothingComparable, UsageError
from harness.metrics import CATALOGUE
from harness.report.figures.front import beats, is_no_worse, staircase
from harness.report.figures.panels import Panel, panels_of
from harness.report.figures.points import COSTS, QUALITIES, Point, choose, drawable, points_of

METRICS = {metric.name: metric for metric in CATALOGUE}
LATENCY, SIZE, LOSS = METRICS["steady_latency_ns_p50"], METRICS["model_bytes"], METRICS["loss_nats"]
SQNR, THROUGHPUT = METRICS["sqnr_db"], METRICS["samples_per_s"]
POINTS = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=1, max_size=12)
DIRECTIONS = st.tuples(st.booleans(), st.booleans())
STEADY = (100, 101, 99, 102, 98)  # five processes that agree within some percent


def panel_of(session: Any, **selection: Any) -> Panel:
    (panel,), left_out = panels_of(session.tables(), **selection)
    assert left_out == []
    return panel


def standings(session: Any, cost: Any = LATENCY, quality: Any = LOSS) -> dict[str, tuple[str, tuple[str, ...]]]:
    points, _ = points_of(panel_of(session), cost, quality)
    return {point.model: (point.standing, point.beaten_by) for point in points}


def add(session: Any, model: str, latencies: tuple[int, ...], loss: float | str, **columns: Any) -> None:
    """A model with a latency process for each of `latencies`, and a quality process."""
    for block, latency in enumerate(latencies):
        session.add(model, block, samples={"steady": [latency] * 3}, **columns)
    session.add(model, 0, measure="quality", scalars={"loss_nats": loss}, **columns)


@given(POINTS, DIRECTIONS)
def test_nobody_beats_the_front_and_somebody_of_it_beats_every_other(
    points: list[tuple[int, int]], more: tuple[bool, bool]
) -> None:
    front = [mine for mine in points if not any(beats(rival, mine, more) for rival in points)]
    assert front
    for mine in points:
        assert (mine in front) != any(beats(rival, mine, more) for rival in front)


@given(POINTS, DIRECTIONS)
def test_the_staircase_parts_what_is_reached_from_the_rest(
    points: list[tuple[int, int]], more: tuple[bool, bool]
) -> None:
    worst = (-9.0 if more[0] else 9.0, -9.0 if more[1] else 9.0)
    front = [mine for mine in points if not any(beats(rival, mine, more) for rival in points)]
    corners = staircase(front, more[0], worst)
    assert corners[0][1] == worst[1]
    assert corners[-1][0] == worst[0]
    for (x, y), (next_x, next_y) in pairwise(corners):
        assert x == next_x or y == next_y
    assert set(front) <= set(corners)
    for corner in corners:  # nothing is promised that nobody reaches
        assert any(mine == corner or beats(mine, corner, more) for mine in points)
    for x, y in points:
        below = [abs(worst[1] - corner[1]) for corner in corners if (corner[0] >= x if more[0] else corner[0] <= x)]
        assert abs(worst[1] - y) <= max(below)


def test_only_what_the_tables_can_tell_apart_is_told_apart() -> None:
    slow, fast = figure(LATENCY, STEADY, "measured"), figure(LATENCY, [50, 51, 49], "measured")
    resolved, open_ = Versus("speedup", 2.0, 1.9, 2.1, resolved=True), Versus("speedup", 2.0, 0.9, 4.1, resolved=False)
    assert is_no_worse(LATENCY, slow, fast, resolved)
    assert not is_no_worse(LATENCY, slow, fast, open_)
    assert not is_no_worse(LATENCY, slow, fast, Versus("speedup", 2.0, reason="1 process"))
    assert not is_no_worse(LATENCY, slow, fast, None)
    assert not is_no_worse(LATENCY, slow, figure(LATENCY, [50, 51, 49], "emulated"), resolved)


def test_facts_and_exact_quality_are_told_apart_by_value_unless_they_are_only_recorded() -> None:
    low, high = figure(LOSS, [1.0], "measured"), figure(LOSS, [1.5], "measured")
    assert is_no_worse(LOSS, high, low, None)
    assert is_no_worse(LOSS, high, high, None)
    assert not is_no_worse(LOSS, low, high, None)
    assert is_no_worse(SQNR, figure(SQNR, [20.0], "measured"), figure(SQNR, [30.0], "measured"), None)
    assert not is_no_worse(LOSS, high, figure(LOSS, [1.0, 1.1], "measured"), None)
    assert not is_no_worse(LOSS, figure(LOSS, [1.5], "recorded"), figure(LOSS, [1.0], "recorded"), None)


def test_a_model_is_dominated_only_beyond_the_intervals(session: Any) -> None:
    add(session, "good", tuple(50 * x for x in STEADY), 1.0)
    add(session, "slower and worse", tuple(90 * x for x in STEADY), 1.2)
    add(session, "hardly slower", (5200, 4900, 5100, 5300, 4850), 1.3)
    add(session, "fast", tuple(10 * x for x in STEADY), 1.4)
    assert standings(session) == {
        "good": ("front", ()),
        "slower and worse": ("dominated", ("good",)),
        "hardly slower": ("unresolved", ("good",)),
        "fast": ("front", ()),
    }


def test_one_process_dominates_nobody_by_its_latency_but_by_its_size(session: Any) -> None:
    add(session, "small", (100,), 1.0, model_bytes=1000)
    add(session, "large", (500,), 1.2, model_bytes=2000)
    assert standings(session)["large"] == ("unresolved", ("small",))
    assert standings(session, cost=SIZE)["large"] == ("dominated", ("small",))


def test_equals_share_the_front(session: Any) -> None:
    add(session, "a", STEADY, 1.0, model_bytes=1000)
    add(session, "b", STEADY, 1.0, model_bytes=1000)
    assert {standing for standing, _ in standings(session, cost=SIZE).values()} == {"front"}


def test_more_throughput_is_better(session: Any) -> None:
    for model, scale, loss in (("slow", 4, 1.2), ("fast", 1, 1.1)):
        for block, latency in enumerate(STEADY):
            session.add(model, block, scenario="offline", batch=8, samples={"batch": [scale * latency] * 4})
        session.add(model, 0, measure="quality", scalars={"loss_nats": loss})
    assert standings(session, cost=THROUGHPUT) == {"slow": ("dominated", ("fast",)), "fast": ("front", ())}


def test_recorded_quality_is_not_set_against_measured(session: Any) -> None:
    add(session, "measured", STEADY, 1.0)
    add(session, "recorded", tuple(5 * x for x in STEADY), "no text", recorded_loss_nats=1.5)
    points, absent = points_of(panel_of(session), LATENCY, LOSS)
    assert absent == {}
    assert [(point.kinds, point.standing) for point in points] == [
        (("measured", "measured"), "front"),
        (("measured", "recorded"), "front"),
    ]


@settings(max_examples=5)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(80, 125), min_size=3, max_size=4), st.sampled_from((1.0, 1.1, 1.2))),
        min_size=2,
        max_size=4,
    )
)
def test_whoever_is_not_on_the_front_is_beaten_by_it_and_dominated_as_the_tables_say(models: list[Any]) -> None:
    from report.conftest import Session

    session = Session()
    for name, (latencies, loss) in enumerate(models):
        add(session, f"m{name}", tuple(latencies), loss)
    points, _ = points_of(panel_of(session), LATENCY, LOSS)
    front = {point.model for point in points if point.standing == "front"}
    assert len(points) == len(models)
    assert front
    for point in points:
        assert (point.model in front) == (not point.beaten_by)
        assert not point.beaten_by or set(point.beaten_by) & front
        assert (point.standing == "dominated") == any(_resolved(session, points, point, by) for by in point.beaten_by)


def _resolved(session: Any, points: list[Point], mine: Point, rival: str) -> bool:
    """Whether the table with `mine` as the baseline says that `rival` is faster; its loss is known to be no worse."""
    (comparison,) = compare_tables(session.tables(), baseline=mine.model)
    row = next(row for row in comparison.rows if row.metric == LATENCY)
    versus = next(
        versus for model, versus in zip(comparison.models, row.versus, strict=True) if versus and model.label == rival
    )
    return bool(versus.resolved) and versus.value is not None and versus.value > 1


def test_a_model_without_a_figure_says_why_and_the_others_are_shown(session: Any) -> None:
    add(session, "whole", STEADY, 1.0)
    add(session, "half", STEADY, "the evaluation text is not at hand")
    points, absent = points_of(panel_of(session), LATENCY, LOSS)
    assert [point.model for point in points] == ["whole"]
    assert absent == {"half": "no loss per token (the evaluation text is not at hand)"}
    alone, reasons = points_of(panel_of(session, models=["half"]), LATENCY, LOSS)
    with pytest.raises(NothingComparable, match=r"half: no loss per token .the evaluation text is not at hand"):
        drawable([(panel_of(session), alone, reasons)])


def test_metrics_are_chosen_by_name_or_as_usual(session: Any) -> None:
    add(session, "a", STEADY, 1.0, model_bytes=1000)
    panels = [panel_of(session)]
    assert (choose(None, COSTS, panels), choose(None, QUALITIES, panels)) == (LATENCY, LOSS)
    assert choose("model_bytes", COSTS, panels) == SIZE
    with pytest.raises(UsageError, match=r"'loss_nats' is not a metric of this axis.*steady_latency_ns_p50"):
        choose("loss_nats", COSTS, panels)
    with pytest.raises(NothingComparable, match=r"Nobody measured planned_bytes here.*model_bytes"):
        choose("planned_bytes", COSTS, panels)
    with pytest.raises(NothingComparable, match=r"Nobody measured any of .*loss_nats"):
        choose(None, QUALITIES, [panel_of(timed_only())])


def timed_only() -> Any:
    from report.conftest import Session

    session = Session()
    session.add("a", samples={"steady": [100]})
    return session


def test_a_yardstick_is_no_point(session: Any) -> None:
    add(session, "model", STEADY, 1.5)
    said = {"settings_json": '{"runtime": "bound", "yardstick": "loops for this network alone"}'}
    add(session, "bound", tuple(latency // 2 for latency in STEADY), 1.5, **said)
    points, absent = points_of(panel_of(session), LATENCY, LOSS)
    assert [(point.model, point.standing) for point in points] == [("model", "front")]
    assert absent == {"bound": "it is a yardstick, and nothing to choose"}
