"""The grammar of sweeps, their combinations, and the order of interleaved jobs."""

from __future__ import annotations

from math import prod

import pytest
from fakes.jobs import make_job
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.experiment.plan import combinations, interleave
from harness.experiment.values import parse_sweep

NUMBERS = st.integers(0, 300)
PARTS = st.one_of(
    NUMBERS.map(lambda a: (f"{a}", [a])),
    st.tuples(NUMBERS, NUMBERS).map(sorted).map(lambda ab: (f"{ab[0]}-{ab[1]}", list(range(ab[0], ab[1] + 1)))),
    st.tuples(NUMBERS, NUMBERS, st.integers(1, 20)).map(
        lambda abs_: (
            f"{min(abs_[:2])}-{max(abs_[:2])}:{abs_[2]}",
            list(range(min(abs_[:2]), max(abs_[:2]) + 1, abs_[2])),
        )
    ),
)


@given(st.lists(PARTS, min_size=1, max_size=5))
def test_a_sweep_means_what_it_says(parts: list[tuple[str, list[int]]]) -> None:
    values = [value for _, part in parts for value in part]
    assert parse_sweep(",".join(text for text, _ in parts)) == sorted(set(values), key=values.index)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("4", [4]),
        ("1,2,4", [1, 2, 4]),
        ("1-4", [1, 2, 3, 4]),
        ("1-9:2", [1, 3, 5, 7, 9]),
        ("1-8:3", [1, 4, 7]),
        ("4,1-2", [4, 1, 2]),
        ("2,2,1,2", [2, 1]),
        ("3-3", [3]),
    ],
)
def test_examples_of_sweeps(text: str, values: list[int]) -> None:
    assert parse_sweep(text) == values


@given(st.text("0123456789-,: x", max_size=6) | st.text(max_size=10))
def test_any_other_text_is_refused_in_a_sentence(text: str) -> None:
    refusal, values = None, []
    try:
        values = parse_sweep(text)
    except UsageError as error:
        refusal = error
    if refusal is None:
        assert values
        assert len(values) == len(set(values))
    else:
        assert refusal.exit_code == 2
        assert refusal.hint.startswith("Write")


@pytest.mark.parametrize(
    "text", ["", ",", "1,", "a", "4-1", "1-4:0", "1-4:-1", "-4", "1--4", "1-2-3", "4:2", "1.5", "0x10", "1-4:x"]
)
def test_rubbish_for_a_sweep_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_sweep(text)


def test_a_sweep_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(UsageError):
        parse_sweep("1-" + "9" * 17)


# Combinations and blocks.


@given(
    st.dictionaries(
        st.text("abc", min_size=1), st.lists(st.integers(), min_size=1, max_size=3, unique=True), max_size=3
    )
)
def test_combinations_are_all_there_once_the_last_option_fastest(options: dict[str, list[int]]) -> None:
    made = combinations(options)
    assert len(made) == prod(map(len, options.values()))
    ranks = [[options[name].index(value) for name, value in combination.items()] for combination in made]
    assert ranks == sorted(ranks)
    assert len({tuple(rank) for rank in ranks}) == len(ranks)


@given(st.integers(1, 5), st.integers(1, 6))
def test_every_block_has_every_job_once_and_every_second_block_is_reversed(jobs: int, processes: int) -> None:
    first = [make_job(threads=n + 1) for n in range(jobs)]
    order = interleave(first, processes)
    assert len(order) == jobs * processes
    for block in range(processes):
        part = order[block * jobs : (block + 1) * jobs]
        assert {job.block for job in part} == {block}
        threads = [job.threads for job in part]
        assert threads == ([n + 1 for n in range(jobs)] if block % 2 == 0 else [jobs - n for n in range(jobs)])


def test_interleaved_jobs_are_replicates_of_the_same_series() -> None:
    order = interleave([make_job(), make_job(threads=2)], 4)
    assert len({job.job_id for job in order}) == 8
    assert len({job.series_id for job in order}) == 2
