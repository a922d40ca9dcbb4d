"""A model that stays the same, measured between the others: what takes time is set against it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nightly.farm import Farm, metrics

from harness.experiment.request import NamedModel

WEATHER = 0.15
LATENCY = "steady_latency_ns_p50"


@pytest.fixture
def stormy(farm: Farm) -> Farm:
    """A machine whose nights differ far more than the model's steps; the model is 8 % slower when it is new."""
    farm.config = replace(farm.config, metrics=metrics(LATENCY, "model_bytes"))
    farm.latency_ns = {b"old": 1e6, b"new": 1.08e6, b"reference": 2e6, b"another": 3e6}
    farm.weather = WEATHER
    return farm


def with_reference(farm: Farm, data: bytes = b"reference", *, named: bool = True) -> None:
    farm.reference = farm.folder / "reference.pte"
    farm.reference.write_bytes(data)
    name = NamedModel(str(farm.reference), "reference (reference)") if named else None
    farm.config = replace(farm.config, reference=name)


def test_without_a_reference_the_weather_hides_the_step(stormy: Farm) -> None:
    stormy.quick(10)
    stormy.file.write_bytes(b"new")
    assert not [alert for alert in stormy.nights(6).alerts if alert.metric == LATENCY]


def test_with_a_reference_the_step_is_published(stormy: Farm) -> None:
    with_reference(stormy)
    stormy.quick(10)
    stormy.file.write_bytes(b"new")
    (alert,) = stormy.nights(4).standing
    assert (alert.metric, alert.change_night) == (LATENCY, 11)
    assert alert.kind.startswith("measured, against ")
    assert alert.after / alert.before == pytest.approx(1.08, rel=0.01)
    assert alert.before == pytest.approx(1e6, rel=3 * WEATHER / 14**0.5), "in nanoseconds of the usual night"


def test_a_regression_that_is_mended_is_undone_whatever_the_weather(stormy: Farm) -> None:
    with_reference(stormy)
    stormy.quick(10)
    stormy.file.write_bytes(b"new")
    assert stormy.nights(4).standing
    stormy.file.write_bytes(b"old")
    stormy.device = 1.4
    watched = stormy.nights(4)
    assert [alert.state for alert in watched.alerts] == ["undone"]


def test_nights_from_before_the_reference_had_a_name_go_on_in_the_same_series(stormy: Farm) -> None:
    with_reference(stormy, named=False)
    stormy.quick(4)
    with_reference(stormy)
    watched = stormy.nights(2)
    assert [len(series.points) for series, _ in watched.series] == [6, 6]
    assert not [note for note in watched.notes if "another" in note]


def test_the_reference_itself_is_no_series_and_sizes_need_none(stormy: Farm) -> None:
    with_reference(stormy)
    series = {one.metric.name: one for one, _ in stormy.nights(3).series}
    assert {one.model for one in series.values()} == {"model"}
    assert len(series) == 2
    assert [point.relative for point in series["model_bytes"].points] == [None] * 3
    assert [point.relative for point in series[LATENCY].points] == pytest.approx([0.5] * 3, rel=0.02)


def test_another_reference_begins_series_of_time_anew_and_says_so(stormy: Farm) -> None:
    with_reference(stormy)
    stormy.quick(8)
    with_reference(stormy, b"another")
    watched = stormy.nights(2)
    assert {one.metric.name: len(one.points) for one, _ in watched.series} == {LATENCY: 2, "model_bytes": 10}
    assert "On night 9 the reference is another. Series of time begin anew." in watched.notes


def test_a_night_on_which_the_reference_failed_is_in_a_series_of_its_own(stormy: Farm) -> None:
    with_reference(stormy)
    stormy.quick(8)
    stormy.reference = None
    (one,) = (one for one, _ in stormy.night().series if one.metric.name == LATENCY)
    assert [point.relative for point in one.points] == [None]
