"""From rows to a table: worked out by hand."""

from __future__ import annotations

import pytest

from harness.flash.ablation.replay import Cost
from harness.flash.ablation.rounds import Row
from harness.flash.ablation.summary import summarise


def row(
    policy: str = "none",
    round: int = 0,
    token: int = 1,
    *,
    io: int = 100,
    wait: int | None = None,
    asked: int = 1000,
    read: int | None = 1000,
    hits: int = 0,
) -> Row:
    cost = Cost(io, io if wait is None else wait, 5, 10, asked, 1 if asked else 0, hits)
    return Row(policy, round, token, "threads", cost, 4, read, 4096, 5000, None)


def test_a_round_is_its_median_token_after_the_window_and_rounds_are_averaged() -> None:
    rows = [row(token=0, io=10**6, asked=9000, read=9000)]
    rows += [row(token=token, io=io) for token, io in ((1, 100), (2, 100), (3, 10**5))]
    rows += [row(round=1, token=0)] + [row(round=1, token=token, io=400) for token in (1, 2, 3)]
    (found,) = summarise(rows, window=1)
    assert found.io is not None
    assert (found.io.value, found.io.processes) == (pytest.approx(200), 2)  # geometric mean of 100 and 400
    assert found.throughput is not None
    assert found.throughput.value == pytest.approx(1000 / 200 * 1e9)
    assert found.token is not None
    assert found.token.value == pytest.approx((115 * 415) ** 0.5)
    assert (found.policy, found.dram_bytes, found.flash_bytes, found.hit_rate) == ("none", 5000, 1000, 0)


def test_a_pipeline_is_judged_by_what_it_waits_for_and_by_what_its_reads_took() -> None:
    first, second = summarise([row(io=900), row("+ pipeline", io=300, wait=100, hits=3)], window=1)
    assert second.io is not None
    assert second.reader is not None
    assert (second.io.value, second.reader.value) == (pytest.approx(100), pytest.approx(300))
    assert second.hit_rate == 0.75
    assert first.speed_up is not None
    assert second.speed_up is not None
    assert (first.speed_up.value, second.speed_up.value) == (pytest.approx(1), pytest.approx(9))


def test_speed_ups_are_taken_round_by_round() -> None:
    # Both drift by ten from round to round; their ratio does not.
    rows = [row(policy, number, io=io * 10**number) for policy, io in (("none", 80), ("b", 20)) for number in range(3)]
    ratio = summarise(rows, window=1)[1].speed_up
    assert ratio is not None
    assert (ratio.value, ratio.paired, ratio.resolved) == (pytest.approx(4), True, True)


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (970, "of 2000 bytes asked for, 1970 came from the device"),
        (None, "the kernel does not count the bytes that a process reads"),
    ],
)
def test_a_round_whose_bytes_are_not_proved_never_enters_the_table(read: int | None, reason: str) -> None:
    # The token that fills the window counts for the proof, though not for the estimate.
    rows = [row(token=0), row(io=100), row(round=1, token=0, read=read), row(round=1, io=9)]
    (found,) = summarise(rows, window=1)
    assert found.io is not None
    assert (found.io.value, found.io.processes) == (pytest.approx(100), 1)
    assert [proof.valid for proof in found.proofs] == [True, False]
    assert found.proofs[1].reason == reason


def test_without_a_valid_round_there_is_no_estimate() -> None:
    first, second = summarise([row(read=0), row("b")], window=1)
    assert (first.io, first.throughput, first.token, first.speed_up) == (None,) * 4
    assert second.io is not None
    assert second.speed_up is None  # there is nothing to be faster than


def test_tokens_that_read_nothing_count_for_waiting_and_not_for_throughput() -> None:
    rows = [row(token=1, io=100), row(token=2, io=1, asked=0, read=0), row(token=3, io=1, asked=0, read=0)]
    (found,) = summarise(rows, window=1)
    assert found.io is not None
    assert found.throughput is not None
    assert found.io.value == pytest.approx(1)
    assert found.throughput.value == pytest.approx(1e10)
    assert found.flash_bytes == pytest.approx(1000 / 3)


def test_where_nothing_is_read_at_all_there_is_no_throughput() -> None:
    (found,) = summarise([row(io=0, asked=0, read=0)], window=1)
    assert (found.io, found.throughput, found.speed_up) == (None, None, None)
    assert found.compute is not None


def test_a_round_that_ends_within_its_window_is_refused() -> None:
    with pytest.raises(ValueError, match="no token after the window"):
        summarise([row(token=0)], window=1)
