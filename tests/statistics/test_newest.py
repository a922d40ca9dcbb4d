"""Whether the newest night alone is worse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.newest import FEWEST, HISTORY, median_variance, newest_change

CALM = [100.0, 101.0, 99.5, 100.5, 100.2, 99.8]


def change(values: list[float], **options: float):  # type: ignore[no-untyped-def]
    return newest_change(values, [None] * len(values), **options)


def test_a_night_that_is_worse_than_all_before_it_is_seen_on_itself() -> None:
    found = change([*CALM, 110.0])
    assert found is not None
    assert found.nights == 1
    assert found.ratio == pytest.approx(110 / math.exp(np.log(CALM).mean()))
    assert found.p_value < 1e-3
    assert change([*CALM, 90.0]) is None, "better is not worse"


def test_its_p_value_is_that_of_the_t_test_of_one_observation_against_a_sample() -> None:
    from scipy.stats import ttest_ind

    found = change([*CALM, 110.0])
    expected = ttest_ind([math.log(110.0)], np.log(CALM), alternative="greater")
    assert found is not None
    assert found.p_value == pytest.approx(expected.pvalue)


def test_two_nights_show_together_what_neither_shows_alone() -> None:
    noisy = [100.0, 103.0, 97.5, 101.0]
    assert change([*noisy, 105.5]) is None
    found = change([*noisy, 105.5, 105.6])
    assert found is not None
    assert found.nights == 2


def test_fewer_than_four_nights_tell_nothing() -> None:
    assert change([*CALM[: FEWEST - 1], 900.0]) is None
    assert change([*CALM[:FEWEST], 900.0]) is not None
    assert change([]) is None


def test_less_than_the_change_that_is_asked_for_is_none() -> None:
    assert change([*[100.0] * 5, 102.5]) is None
    assert change([*[100.0] * 5, 103.1]) is not None
    assert change([*[100.0] * 5, 103.1], min_change=0.05) is None


def test_only_the_last_ten_nights_are_looked_at() -> None:
    assert change([300.0, *[100.0] * HISTORY, 110.0]) is not None
    assert change([300.0, *[100.0] * (HISTORY - 1), 110.0]) is None


def test_a_night_whose_processes_disagree_is_believed_less() -> None:
    values = [*[100.0, 100.1, 99.9, 100.0, 100.05], 108.0]
    assert newest_change(values, [1e-6] * 6) is not None
    assert newest_change(values, [*[1e-6] * 5, 0.05**2]) is None, "tonight's own"
    assert newest_change(values, [*[0.05**2] * 5, 1e-6]) is None, "those before"


@given(st.lists(st.floats(50, 200), min_size=5, max_size=20), st.floats(0.001, 1000))
def test_units_do_not_matter(values: list[float], factor: float) -> None:
    one, other = change(values), change([value * factor for value in values])
    assert (one is None) == (other is None) or abs((one or other).p_value - 0.05) < 1e-6
    if one is not None and other is not None:
        assert (one.nights, one.ratio) == (other.nights, pytest.approx(other.ratio))


@given(st.lists(st.floats(50, 200), min_size=5, max_size=20))
def test_whatever_is_seen_is_worse_than_every_night_before(values: list[float]) -> None:
    found = change(values)
    if found is not None:
        before, new = values[: -found.nights][-HISTORY:], values[-found.nights :]
        assert min(new) > max(before)
        assert found.ratio >= 1.03 * (1 - 1e-12)
        assert found.p_value <= 0.05


@pytest.mark.parametrize("values", [[1.0, 0.0], [-1.0], [math.nan]])
def test_what_is_no_positive_number_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        change(values)


def test_the_variance_of_a_median_is_that_of_many_medians() -> None:
    random = np.random.default_rng(0)
    nights = np.exp(random.normal(0, 0.03, (4000, 9)))
    true = float(np.log(np.median(nights, axis=1)).var())
    assert np.mean([median_variance(night) for night in nights]) == pytest.approx(true, rel=0.2)
    assert median_variance([5.0]) is None
    assert median_variance([5.0, 5.0, 5.0]) == 0.0


def test_one_disturbed_process_of_five_hardly_matters() -> None:
    calm, disturbed = [100.0, 101.0, 99.0, 100.5, 99.5], [100.0, 101.0, 99.0, 100.5, 150.0]
    assert median_variance(disturbed) < 3 * median_variance(calm) < np.log(disturbed).var(ddof=1) / 5  # type: ignore[operator]


def test_quiet_nights_raise_about_two_in_a_hundred() -> None:
    """Of normal nights. A level that is only four nights old raises more, an old one less."""
    random = np.random.default_rng(1)
    raised = 0
    for _ in range(1000):
        processes = np.exp(random.normal(0, 0.01, (11, 1)) + random.normal(0, 0.02, (11, 5)))
        variances = [median_variance(night) for night in processes]
        raised += newest_change(list(np.median(processes, axis=1)), variances) is not None
    assert raised / 1000 < 0.03
