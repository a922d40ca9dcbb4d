"""Ratios of two models: properties, worked examples, and whether the interval errs as rarely as it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.ratio import (
    POWER,
    Ratio,
    block_ratio,
    paired_ratio,
    smallest_shown,
    unpaired_ratio,
    von_neumann,
)

positive = st.floats(1.0, 1.2)  # processes that agree well enough for an interval
blocks = st.dictionaries(st.integers(0, 9), positive, min_size=3, max_size=8)


def bounds(ratio: Ratio) -> tuple[float, float]:
    assert ratio.low is not None
    assert ratio.high is not None
    return ratio.low, ratio.high


def test_paired_ratio_worked_out_by_hand() -> None:
    # Log differences 0.6, 0.7, 0.8: mean 0.7, half width 4.30265 * 0.1 / sqrt(3) = 0.248414.
    base = {0: math.exp(0.6), 1: math.exp(1.7), 2: math.exp(2.8)}
    ratio = paired_ratio(base, {0: 1.0, 1: math.e, 2: math.exp(2.0)}, confidence=0.95)
    assert ratio.value == pytest.approx(math.exp(0.7))
    assert bounds(ratio) == pytest.approx((math.exp(0.7 - 0.248414), math.exp(0.7 + 0.248414)), rel=1e-5)
    assert (ratio.pairs, ratio.paired, ratio.resolved) == (3, True, True)


def test_unpaired_ratio_worked_out_by_hand() -> None:
    # Equal variances 0.01 of three logs each: Welch has 4 degrees of freedom, error sqrt(0.01/3 + 0.01/3), t = 2.77645.
    base, other = ([math.exp(mean + each) for each in (-0.1, 0.0, 0.1)] for mean in (2, 1))
    ratio = unpaired_ratio(base, other, confidence=0.95)
    half = 2.776445 * math.sqrt(0.02 / 3)
    assert ratio.value == pytest.approx(math.e)
    assert bounds(ratio) == pytest.approx((math.exp(1 - half), math.exp(1 + half)), rel=1e-5)
    assert not ratio.paired


@given(blocks, st.floats(0.1, 10.0))
def test_a_common_drift_of_the_machine_cancels(base: dict[int, float], factor: float) -> None:
    ratio = paired_ratio(base, {block: value / factor for block, value in base.items()})
    low, high = bounds(ratio)
    assert ratio.value == pytest.approx(factor, rel=1e-9)
    assert low == pytest.approx(high, rel=1e-9)


@given(blocks, blocks)
def test_swapping_the_models_gives_the_reciprocal(base: dict[int, float], other: dict[int, float]) -> None:
    for forth, back in (
        (
            unpaired_ratio([*base.values()], [*other.values()]),
            unpaired_ratio([*other.values()], [*base.values()]),
        ),
        *([(paired_ratio(base, other), paired_ratio(other, base))] if len(set(base) & set(other)) > 2 else []),
    ):
        assert forth.value == pytest.approx(1 / back.value, rel=1e-9)
        assert math.log(bounds(forth)[0]) == pytest.approx(-math.log(bounds(back)[1]), abs=1e-6)
        assert forth.resolved == back.resolved


@given(blocks, blocks, st.floats(0.1, 10.0))
def test_the_unit_does_not_matter(base: dict[int, float], other: dict[int, float], unit: float) -> None:
    plain = unpaired_ratio([*base.values()], [*other.values()])
    scaled = unpaired_ratio([v * unit for v in base.values()], [v * unit for v in other.values()])
    assert scaled.value == pytest.approx(plain.value, rel=1e-9)


@given(blocks, blocks)
def test_the_interval_contains_the_ratio(base: dict[int, float], other: dict[int, float]) -> None:
    ratio = unpaired_ratio([*base.values()], [*other.values()])
    low, high = bounds(ratio)
    assert low <= ratio.value <= high


def test_fewer_than_three_processes_give_no_interval_and_are_never_resolved() -> None:
    for ratio in (
        paired_ratio({0: 2.0}, {0: 1.0}),
        paired_ratio({0: 2.0, 1: 2.0}, {0: 1.0, 1: 1.0}),
        unpaired_ratio([2.0], [1.0]),
        unpaired_ratio([2.0, 2.1], [1.0]),
        unpaired_ratio([2.0, 2.1, 2.0], [1.0, 1.0]),
    ):
        assert (ratio.low, ratio.high, ratio.resolved) == (None, None, False)
        assert ratio.value == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("low", "high", "resolved"), [(1.0, 1.1, False), (0.9, 1.0, False), (1.001, 1.1, True), (0.9, 0.999, True)]
)
def test_a_ratio_is_resolved_if_its_interval_excludes_one(low: float, high: float, resolved: bool) -> None:
    assert Ratio((low + high) / 2, low, high, 5, True).resolved is resolved


def test_only_shared_blocks_are_compared() -> None:
    ratio = paired_ratio({0: 2.0, 1: 2.0, 2: 900.0}, {0: 1.0, 1: 1.0, 3: 900.0})
    assert ratio.value == pytest.approx(2)
    assert ratio.pairs == 2


def test_refusals() -> None:
    with pytest.raises(ValueError, match="no shared block"):
        paired_ratio({0: 1.0}, {1: 1.0})
    with pytest.raises(ValueError, match="no values"):
        unpaired_ratio([], [1.0])
    with pytest.raises(ValueError, match="positive"):
        paired_ratio({0: 0.0}, {0: 1.0})


@pytest.mark.parametrize("spread", [0.005, 0.05])
def test_false_alarms_of_a_model_against_itself_are_as_rare_as_said(spread: float) -> None:
    # 4,000 sessions of five blocks: 1 % is due; three standard errors of that share are 0.5 %.
    generator = np.random.default_rng(20261122)
    alarms = 0
    for _ in range(4000):
        drift = np.exp(generator.normal(0.0, 0.1, 5))
        a, b = (drift * np.exp(generator.normal(0.0, spread, 5)) for _ in range(2))
        alarms += paired_ratio(dict(enumerate(a)), dict(enumerate(b))).resolved
    assert 0.005 <= alarms / 4000 <= 0.015


def test_a_change_of_five_percent_is_found_through_a_drift_of_ten() -> None:
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(300):
        drift = np.exp(generator.normal(0.0, 0.1, 5))
        a, b = (drift * np.exp(generator.normal(shift, 0.01, 5)) for shift in (math.log(1.05), 0.0))
        found += paired_ratio(dict(enumerate(a)), dict(enumerate(b))).resolved
    assert found / 300 > 0.95


def test_von_neumanns_ratio_worked_out_by_hand() -> None:
    # Of a line 0, 1, 2, 3: three steps of 1 over deviations 2.25 + 0.25 + 0.25 + 2.25.
    assert von_neumann(np.array([0.0, 1.0, 2.0, 3.0])) == pytest.approx(0.6)
    assert von_neumann(np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(3.0)
    assert von_neumann(np.ones(4)) == 0.0


@pytest.mark.parametrize(
    ("blocks", "sums", "paired"),
    [
        (5, (0.0, 0.1, 0.2, 0.3, 0.4), True),  # a drift
        (5, (0.0, 0.2, 0.0, 0.2, 0.0), False),
        (5, (0.0, 0.0, 0.0, 0.0, 0.0), True),
        (9, (0.0, 0.2, 0.0, 0.2, 0.0), False),
        (10, (0.0, 0.2, 0.0, 0.2, 0.0), True),  # so many are always paired
        (2, (0.0, 0.2), True),
    ],
)
def test_few_blocks_without_a_drift_are_not_paired(blocks: int, sums: tuple[float, ...], paired: bool) -> None:
    logs = [sums[block % len(sums)] / 2 for block in range(blocks)]
    base, other = ({block: math.exp(log) for block, log in enumerate(logs)} for _ in range(2))
    assert block_ratio(base, other).paired is paired
    either = paired_ratio(base, other) if paired else unpaired_ratio([*base.values()], [*other.values()])
    assert block_ratio(base, other) == either


@given(blocks, st.dictionaries(st.integers(0, 9), st.floats(-0.05, 0.05)), st.floats(0.5, 2.0))
def test_the_choice_does_not_look_at_differences(
    both: dict[int, float], differences: dict[int, float], unit: float
) -> None:
    base = {block: value * math.exp(differences.get(block, 0.0)) for block, value in both.items()}
    other = {block: value * unit * math.exp(-differences.get(block, 0.0)) for block, value in both.items()}
    if abs(von_neumann(np.log([both[block] for block in sorted(both)])) - 2) > 1e-6:  # not by the last digit
        assert block_ratio(base, other).paired == block_ratio(both, both).paired


@given(blocks, blocks)
def test_swapping_the_models_changes_neither_the_choice_nor_what_shows(
    base: dict[int, float], other: dict[int, float]
) -> None:
    if set(base) & set(other):
        forth, back = block_ratio(base, other), block_ratio(other, base)
        assert forth.paired == back.paired
        assert forth.value == pytest.approx(1 / back.value, rel=1e-9)
        assert (forth.shows is None) == (forth.low is None) == (back.shows is None)
        assert (forth.shows or 0.0) == pytest.approx(back.shows or 0.0, rel=1e-6, abs=1e-9)


def test_what_shows_worked_out_by_hand() -> None:
    # Five pairs at 99 %: t is 4.60409 for the interval and 0.94096 for the power.
    assert smallest_shown(0.01, 4) == pytest.approx(math.expm1(0.0554505), rel=1e-5)
    ratio = paired_ratio({0: math.exp(0.6), 1: math.exp(0.7), 2: math.exp(0.8)}, dict.fromkeys(range(3), 1.0))
    assert ratio.shows == pytest.approx(smallest_shown(0.1 / math.sqrt(3), 2))
    assert paired_ratio({0: 1.0, 1: 1.1}, {0: 1.0, 1: 1.0}).shows is None


@pytest.mark.parametrize("pairs", [5, 20])
def test_a_difference_that_is_said_to_show_is_found_as_often_as_said(pairs: int) -> None:
    spread, generator, found = 0.02, np.random.default_rng(5), 0
    difference = math.log1p(smallest_shown(spread / math.sqrt(pairs), pairs - 1))
    for _ in range(2000):
        logs = generator.normal(difference, spread, pairs)
        found += paired_ratio(dict(enumerate(np.exp(logs))), dict.fromkeys(range(pairs), 1.0)).resolved
    assert found / 2000 == pytest.approx(POWER, abs=0.06)
