"""From a changed night to an alert that stands, is withdrawn, or is undone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nightly.farm import METRICS, Farm, metrics

from harness.errors import HarnessError, UsageError
from harness.nightly.ledger import read_ledger
from harness.nightly.nights import RECENT
from harness.nightly.summary import headline
from harness.nightly.verdict import Pair
from harness.nightly.watch import act, look, resolve
from harness.statistics.rerun_looks import look_confidence

TIMED = ("steady_latency_ns_p50",)


def states(farm: Farm) -> list[str]:
    """Every row of every alert, in the order written."""
    rows, problems = read_ledger(farm.config.results, "alerts")
    assert not problems
    return [row["state"] for row in sorted(rows, key=lambda row: (row["alert_id"], row["row"]))]


def only(farm: Farm, *names: str) -> None:
    farm.config = replace(farm.config, metrics=metrics(*names))


def test_a_slower_file_is_published_after_a_rerun_against_the_last_good_one(farm: Farm) -> None:
    farm.quick(8)
    farm.file.write_bytes(b"new")
    first = farm.night()
    (alert,) = first.standing
    assert (alert.state, alert.metric, alert.change_night) == ("published", "steady_latency_ns_p50", 9)
    assert alert.night == 9, "on the night itself"
    (pair,) = farm.reruns
    assert (pair.good.read_bytes(), pair.bad.read_bytes()) == (b"old", b"new")
    assert alert.rerun_ratio == pytest.approx(1.2, rel=0.02)
    assert alert.rerun_low is not None
    assert alert.rerun_high is not None
    assert 1.15 < alert.rerun_low < alert.rerun_ratio < alert.rerun_high < 1.25
    assert alert.before == pytest.approx(1e6, rel=0.02)
    assert alert.after == pytest.approx(1.2e6, rel=0.02)
    assert (alert.rerun_processes, alert.rerun_decision, alert.rounds) == (10, "regression", 1)
    assert alert.rerun_confidence == look_confidence(0.99, 1)
    assert states(farm) == ["provisional", "published"]
    again = farm.nights(4)
    assert len(farm.reruns) == 1, "a known change is not measured again, whoever sees it"
    assert again.standing == look(farm.config).standing == first.standing
    assert [change.newest for _, changes in again.series for change in changes] == [False], "change points see it too"
    assert headline(again) == "1 regression is unresolved."


def test_a_rerun_is_against_the_last_file_before_the_change_not_an_older_one(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.latency_ns = {b"old": 1e6, b"rebuilt": 1e6, b"new": 1.2e6}
    farm.quick(6)
    farm.file.write_bytes(b"rebuilt")
    farm.quick(2)
    farm.file.write_bytes(b"new")
    farm.nights(3)
    (pair,) = farm.reruns
    assert (pair.good.read_bytes(), pair.bad.read_bytes()) == (b"rebuilt", b"new")


def test_a_watched_metric_that_no_table_shows_is_decided_by_its_rerun_too(farm: Farm) -> None:
    only(farm, "load_program_ns")
    assert not farm.config.metrics[0].main
    farm.quick(8)
    farm.file.write_bytes(b"new")
    watched = farm.nights(3)
    (alert,) = watched.standing
    assert (alert.metric, alert.state) == ("load_program_ns", "published")
    assert alert.rerun_ratio == pytest.approx(1.2, rel=0.02)
    assert states(farm) == ["provisional", "published"]


def test_a_slow_spell_of_the_device_is_withdrawn(farm: Farm) -> None:
    """New bytes every night, as a nightly build makes them, none of them slower."""
    only(farm, *TIMED)
    farm.latency_ns = {bytes([number]): 1e6 for number in range(20)}
    for number in range(8):
        farm.file.write_bytes(bytes([number]))
        farm.quick(1)
    farm.device = 1.3
    for number in (8, 9):
        farm.file.write_bytes(bytes([number]))
        farm.quick(1)
    farm.file.write_bytes(bytes([10]))
    watched = farm.night()
    assert states(farm) == ["provisional", "withdrawn"]
    assert watched.standing == ()
    assert "shows no regression" in str(watched.alerts[0].reason)
    farm.latency_ns[b"slow"] = 1.3e6
    farm.file.write_bytes(b"slow")
    assert [alert.change_night for alert in farm.night().alerts] == [9], "the rerun of last night may speak of it"
    (alert,) = farm.nights(2).standing
    kept = {path.stem: path.read_bytes() for path in (farm.config.results / "artifacts").iterdir()}
    assert kept[str(alert.bad_sha256)] == b"slow", "three nights later another file is another question"


def test_an_undecided_rerun_has_more_pairs_and_then_the_next_night(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.quick(8)
    farm.file.write_bytes(b"new")
    farm.quick(1)
    calm, farm.noise, farm.latency_ns[b"new"] = farm.noise, 0.5, 1.05e6  # while it is measured again
    (alert,) = act(look(farm.config), farm.rerun, farm.clock).alerts
    assert farm.asked == [10, 20, 40]
    assert (alert.state, alert.rerun_decision, alert.rerun_processes, alert.rounds) == (
        "provisional",
        "undecided",
        70,
        1,
    )
    assert "undecided" in str(alert.reason)
    assert len(alert.rerun_session_ids or ()) == 3
    assert "Not decided yet: 1." in headline(look(farm.config))
    farm.noise, farm.latency_ns[b"new"] = calm, 1e6  # the next night itself shows nothing
    farm.quick(1)
    farm.latency_ns[b"new"] = 1.05e6
    (alert,) = act(look(farm.config), farm.rerun, farm.clock).alerts
    assert farm.asked == [10, 20, 40, 10]
    assert (alert.state, alert.rerun_decision, alert.rerun_processes, alert.rounds) == (
        "published",
        "regression",
        10,
        2,
    )
    assert alert.rerun_confidence == look_confidence(0.99, 1, 2)


def test_looks_are_of_all_pairs_of_the_night_and_stop_when_they_decide(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.quick(8)
    farm.file.write_bytes(b"new")
    farm.quick(1)
    quiet = farm.rerun

    def calmer(pair: Pair, pairs: int) -> str:
        farm.noise = 0.5 if pairs == 10 else 0.01
        return quiet(pair, pairs)

    (alert,) = act(look(farm.config), calmer, farm.clock).alerts
    assert farm.asked[:2] == [10, 20]
    assert alert.rerun_processes == sum(farm.asked)
    assert len(alert.rerun_session_ids or ()) == len(farm.asked)


def test_a_look_that_cannot_be_made_leaves_the_verdict_of_those_before(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.quick(8)
    farm.file.write_bytes(b"new")
    farm.quick(1)
    quiet, farm.noise = farm.rerun, 0.5

    def once(pair: Pair, pairs: int) -> str:
        if pairs > 10:
            raise HarnessError("The device is gone.")
        return quiet(pair, pairs)

    (alert,) = act(look(farm.config), once, farm.clock).alerts
    assert (alert.state, alert.rerun_decision, alert.rerun_processes) == ("provisional", "undecided", 10)


def test_one_slow_night_whose_file_was_taken_back_is_undone(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.quick(8)
    farm.file.write_bytes(b"new")
    assert farm.night().standing
    farm.file.write_bytes(b"old")
    assert farm.nights(3).standing, "three nights more may be chance"
    watched = farm.night()
    assert states(farm) == ["provisional", "published", "undone"]
    assert "the last 4 nights are no worse than those before night 9" in str(watched.alerts[0].reason)


def test_what_begins_after_an_alert_was_withdrawn_is_another(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.latency_ns = {b"old": 1e6, b"same": 1e6, b"new": 1.2e6}
    farm.quick(8)
    farm.file.write_bytes(b"same")
    farm.device = 1.08
    assert [alert.state for alert in farm.night().alerts] == ["withdrawn"]
    farm.device = 1.0
    farm.quick(1)
    farm.file.write_bytes(b"new")
    watched = farm.night()
    assert [(alert.change_night, alert.state) for alert in watched.alerts] == [(9, "withdrawn"), (11, "published")]


def test_a_nearly_tenfold_latency_does_not_pass_its_night(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.latency_ns[b"new"] = 9e6
    farm.quick(4)
    farm.file.write_bytes(b"new")
    (alert,) = farm.night().standing
    assert (alert.change_night, alert.night) == (5, 5), "four nights are enough"


def test_the_same_file_on_both_nights_needs_no_rerun_and_cannot_be_to_blame(farm: Farm) -> None:
    farm.quick(8)
    farm.device = 1.3
    watched = farm.nights(3)
    assert [alert.state for alert in watched.alerts] == ["withdrawn"]
    assert "same file" in str(watched.alerts[0].reason)
    assert farm.reruns == []


def test_a_changed_fingerprint_breaks_the_series_and_says_so(farm: Farm) -> None:
    farm.quick(8)
    farm.device, farm.fingerprint = 1.3, {**farm.fingerprint, "version.executorch": "1.6.0"}
    watched = farm.nights(3)
    assert watched.alerts == ()
    assert all(len(series.points) == 3 for series, _ in watched.series)
    (note,) = watched.notes
    assert "night 9" in note
    assert "version.executorch (1.5.0 / 1.6.0)" in note


def test_a_reading_that_a_newer_harness_takes_breaks_no_series_and_its_change_does(farm: Farm) -> None:
    farm.quick(4)
    farm.fingerprint = {**farm.fingerprint, "vector_extensions": "AVX2, AVX-512"}
    watched = farm.nights(4)
    assert watched.notes == ()
    assert [len(series.points) for series, _ in watched.series] == [8] * len(METRICS)
    farm.fingerprint = {**farm.fingerprint, "vector_extensions": "AVX2"}
    watched = farm.nights(2)
    assert {len(series.points) for series, _ in watched.series} == {2}
    (note,) = watched.notes
    assert "vector_extensions (AVX2, AVX-512 / AVX2)" in note


def test_an_exact_figure_is_compared_as_a_fact_the_next_night(farm: Farm) -> None:
    farm.latency_ns = {b"old": 1e6, b"longer": 1e6}
    farm.losses = {b"old": 1.5, b"longer": 1.6}
    farm.quick(1)
    farm.file.write_bytes(b"longer")
    watched = farm.night()
    assert {alert.metric: (alert.before, alert.after) for alert in watched.standing} == {
        "model_bytes": (3.0, 6.0),
        "loss_nats": (pytest.approx(1.5), pytest.approx(1.6)),
    }
    assert farm.reruns == []
    farm.file.write_bytes(b"old")
    undone = farm.night()
    assert [alert.state for alert in undone.alerts] == ["undone", "undone"]
    assert [change.series.metric.name for change in undone.improvements] == ["model_bytes", "loss_nats"]


def test_exact_figures_that_grow_a_little_every_night_add_up(farm: Farm) -> None:
    sizes = [1000 + 12 * night for night in range(5)]  # 1.2 % each, 3.6 % over three nights
    farm.latency_ns = {bytes(size): 1e6 for size in sizes}
    only(farm, "model_bytes")
    for size in sizes[:-1]:
        farm.file.write_bytes(bytes(size))
        farm.quick(1)
    farm.file.write_bytes(bytes(sizes[-1]))
    (alert,) = farm.night().standing
    assert (alert.change_night, alert.before, alert.after) == (4, pytest.approx(1000), 1036)


def test_two_exact_steps_on_two_nights_are_two_alerts(farm: Farm) -> None:
    farm.latency_ns = dict.fromkeys((b"old", b"longer", b"the longest"), 1e6)
    only(farm, "model_bytes")
    farm.quick(2)
    for content in (b"longer", b"the longest"):
        farm.file.write_bytes(content)
        watched = farm.night()
    assert [(alert.change_night, alert.before, alert.after) for alert in watched.standing] == [(3, 3, 6), (4, 6, 11)]


def test_a_change_that_was_long_ago_is_history_and_no_alert(farm: Farm) -> None:
    """Of a store that nobody has watched until tonight."""
    farm.latency_ns = dict.fromkeys((b"old", b"longer"), 1e6)
    only(farm, "model_bytes")
    farm.quick(1)
    farm.file.write_bytes(b"longer")
    assert [change.night for _, changes in farm.nights(RECENT + 1).series for change in changes] == [2]
    assert states(farm) == []


def test_an_improvement_is_reported_and_no_alert(farm: Farm) -> None:
    farm.latency_ns[b"new"] = 0.8e6
    farm.quick(8)
    farm.file.write_bytes(b"new")
    watched = farm.nights(3)
    assert watched.alerts == ()
    assert [(change.night, change.series.metric.name) for change in watched.improvements] == [
        (9, "steady_latency_ns_p50")
    ]


def test_a_regression_that_is_taken_back_is_undone(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.quick(8)
    farm.file.write_bytes(b"new")
    assert farm.nights(3).standing
    farm.quick(3)
    farm.file.write_bytes(b"old")
    watched = farm.nights(4)
    assert states(farm) == ["provisional", "published", "undone"]
    assert "since night 15" in str(watched.alerts[0].reason)


def test_a_partial_fix_does_not_undo_it(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.latency_ns[b"better"] = 1.06e6
    farm.quick(8)
    farm.file.write_bytes(b"new")
    farm.nights(3)
    farm.quick(2)
    farm.file.write_bytes(b"better")
    watched = farm.nights(4)
    assert watched.improvements
    assert [alert.state for alert in watched.alerts] == ["published"]


def test_a_person_resolves_an_alert_by_the_beginning_of_its_id(farm: Farm) -> None:
    farm.latency_ns[b"longer"] = 1e6
    farm.quick(1)
    farm.file.write_bytes(b"longer")
    (alert,) = farm.night().standing
    with pytest.raises(UsageError, match=alert.alert_id):
        resolve(farm.config, "x", None, farm.clock)
    resolve(farm.config, alert.alert_id[:3], "the price", farm.clock)
    assert farm.night().standing == ()
    assert states(farm) == ["provisional", "published", "resolved"]
    with pytest.raises(UsageError, match="none"):
        resolve(farm.config, alert.alert_id, None, farm.clock)


def test_a_rerun_that_cannot_be_made_is_tried_again_the_next_night(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.quick(8)
    farm.file.write_bytes(b"new")
    farm.quick(3)
    farm.failing = "The device is gone."
    for _ in range(2):
        watched = farm.night()
        assert [alert.state for alert in watched.alerts] == ["provisional"]
        assert "The device is gone." in str(watched.alerts[0].reason)
        assert watched.last is not None
        assert watched.last.status == "failed"
    assert states(farm) == ["provisional", "provisional"], "a reason is written once"
    farm.failing = None
    assert len(farm.night().standing) == 1
    assert states(farm) == ["provisional", "provisional", "published"]


def test_a_kept_file_that_is_gone_or_damaged_leaves_the_alert_provisional(farm: Farm) -> None:
    only(farm, *TIMED)
    farm.quick(8)
    farm.file.write_bytes(b"new")
    farm.quick(2)
    good = next(path for path in (farm.config.results / "artifacts").iterdir() if path.read_bytes() == b"old")
    good.write_bytes(b"rot")
    (alert,) = farm.night().alerts
    assert alert.state == "provisional"
    assert "damaged" in str(alert.reason)
    good.unlink()
    (alert,) = farm.night().alerts
    assert "not among those kept" in str(alert.reason)
    good.write_bytes(b"old")
    assert len(farm.night().standing) == 1
