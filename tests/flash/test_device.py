"""The device model: its shape, whether a fit finds the device that made the cells, and what it says of what it has not
seen.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.flash.device_model.throughput import (
    MIN_CELLS,
    Cell,
    Limits,
    batch_ns,
    errors,
    fit,
    held_out_errors,
    throughput,
    unreached,
)

SIZES = [4096 * 4**power for power in range(6)]
DEPTHS = [1, 4, 16, 64]

devices = st.builds(
    Limits,
    latency_ns=st.floats(2e4, 5e5),
    lane_bytes_per_s=st.floats(2e8, 3e9),
    reads_per_s=st.floats(2e4, 1e6),
    bytes_per_s=st.floats(5e8, 1e10),
    sharpness=st.floats(1.0, 6.0),
)
sizes = st.integers(512, 2**24)
depths = st.integers(1, 1024)


def cells_of(limits: Limits, noise: float = 0.0, seed: int = 0) -> list[Cell]:
    generator = np.random.default_rng(seed)
    return [
        Cell(size, depth, float(throughput(limits, size, depth) * math.exp(generator.normal(0, noise))))
        for size in SIZES
        for depth in DEPTHS
    ]


@given(devices, sizes, depths, st.integers(1, 2**20), st.integers(1, 64))
def test_larger_and_deeper_reads_are_never_slower(
    limits: Limits, size: int, depth: int, more_bytes: int, deeper: int
) -> None:
    rate = throughput(limits, size, depth)
    assert throughput(limits, size + more_bytes, depth) >= rate * (1 - 1e-9)
    assert throughput(limits, size, depth + deeper) >= rate * (1 - 1e-9)


@given(devices, sizes, depths)
def test_no_limit_is_exceeded(limits: Limits, size: int, depth: int) -> None:
    alone = depth * size / (limits.latency_ns * 1e-9 + size / limits.lane_bytes_per_s)
    least = min(alone, limits.reads_per_s * size, limits.bytes_per_s)
    # A soft minimum of three lies below each and, where they are equal, by 3^(1/p).
    assert least * 3 ** (-1 / limits.sharpness) * (1 - 1e-9) <= throughput(limits, size, depth) <= least * (1 + 1e-9)


def test_worked_out_by_hand() -> None:
    # 16 KiB take 100 us + 16.384 us; four at once 563 MB/s; 10 k reads per second 163.84 MB/s; bandwidth 1 GB/s.
    limits = Limits(1e5, 1e9, 1e4, 1e9, 1.0)
    seconds_a_byte = (100e-6 / 16384 + 1e-9) / 4 + 1 / 163.84e6 + 1e-9
    assert throughput(limits, 16384, 4) == pytest.approx(1 / seconds_a_byte)
    # What is unknown limits nothing.
    bandwidth = Limits(0.0, math.inf, math.inf, 1e9, 1.0)
    assert throughput(bandwidth, [512, 2**20], [1, 64]) == pytest.approx([1e9, 1e9])


@settings(max_examples=15)
@given(devices)
def test_the_fit_finds_the_device(limits: Limits) -> None:
    cells = cells_of(limits)
    found = fit(cells)
    assert np.abs(errors(found, cells)).max() < 0.01
    # Between and beyond the cells as well.
    between, deep = np.array([6144, 50_000, 3_000_000])[:, None], np.array([2, 8, 128])
    assert throughput(found, between, deep) == pytest.approx(throughput(limits, between, deep), rel=0.05)


@settings(max_examples=10)
@given(devices)
def test_the_fit_recovers_each_parameter_that_the_cells_tell_of(limits: Limits) -> None:
    # Each limit must be the least one somewhere, by far: otherwise others can stand in for it.
    size, depth = np.array([(s, d) for s in SIZES for d in DEPTHS], float).T
    each = np.stack(
        [
            depth * size / (limits.latency_ns * 1e-9 + size / limits.lane_bytes_per_s),
            limits.reads_per_s * size,
            np.full(len(size), limits.bytes_per_s),
        ]
    )
    others = np.stack([np.delete(each, row, axis=0).min(axis=0) for row in range(3)])
    assume(((others / each).max(axis=1) > 1.5).all())
    found = fit(cells_of(limits))
    for name in ("latency_ns", "reads_per_s", "bytes_per_s", "sharpness"):
        assert getattr(found, name) == pytest.approx(getattr(limits, name), rel=0.05), name


def test_a_noisy_device_is_found_within_its_noise() -> None:
    limits = Limits(8e4, 1.5e9, 2e5, 3e9, 2.0)
    cells = cells_of(limits, noise=0.08, seed=3)
    found = fit(cells)
    size, depth = np.array([(cell.read_bytes, cell.depth) for cell in cells]).T
    truth = np.abs(throughput(found, size, depth) / throughput(limits, size, depth) - 1)
    assert truth.max() < 0.15
    # The error on cells that were left out is that of the noise, and larger than on those that were fitted.
    held_out = np.sqrt(np.mean(held_out_errors(cells) ** 2))
    assert np.sqrt(np.mean(errors(found, cells) ** 2)) < held_out < 0.2


def test_a_form_that_does_not_fit_shows_in_the_held_out_error() -> None:
    # Deep reads that take turns: four times slower at depth 64 than at 16, which no cell of the model can be.
    limits = Limits(8e4, 1.5e9, 2e5, 3e9, 2.0)
    cells = [replace(c, bytes_per_s=c.bytes_per_s / (4 if c.depth == 64 else 1)) for c in cells_of(limits)]
    assert np.abs(held_out_errors(cells)).max() > 0.5


@pytest.mark.parametrize("count", [0, 5, MIN_CELLS - 1])
def test_too_few_cells_are_refused(count: int) -> None:
    cells = cells_of(Limits(8e4, 1.5e9, 2e5, 3e9, 2.0))[:count]
    for ask in (fit, held_out_errors):
        with pytest.raises(UsageError, match=rf"at least 16 .* {count} were measured"):
            ask(cells)
        with pytest.raises(UsageError, match="at least 16"):
            ask(cells * 16)  # the same ones again tell nothing new


def test_a_limit_that_was_never_met_is_named() -> None:
    limits = Limits(8e4, 1.5e9, 1e9, 3e9, 2.0)
    assert unreached(limits, cells_of(limits)) == ["reads_per_s"]
    fast = Limits(1e-3, 1e15, 1e9, 3e9, 2.0)
    assert unreached(fast, cells_of(fast)) == ["latency_ns", "lane_bytes_per_s", "reads_per_s"]


def test_time_of_a_batch() -> None:
    latency_bound = Limits(1e5, math.inf, math.inf, 1e15, 1.0)
    reads = np.full(384, 8192, np.int64)
    assert batch_ns(latency_bound, reads, 32) == pytest.approx(384 / 32 * 1e5, rel=1e-3)
    # Fewer reads than the depth: each still takes its time.
    assert batch_ns(latency_bound, reads[:4], 32) == pytest.approx(1e5, rel=1e-3)
    assert batch_ns(latency_bound, reads[:0], 32) == 0.0
    bandwidth_bound = Limits(0.0, math.inf, math.inf, 1e9, 1.0)
    assert batch_ns(bandwidth_bound, np.array([4096, 2**20], np.int64), 2) == pytest.approx(4096 + 2**20)


@given(devices, st.lists(sizes, min_size=1, max_size=20), depths)
def test_twice_the_reads_take_twice_as_long(limits: Limits, lengths: list[int], depth: int) -> None:
    batch = np.array(lengths, np.int64)
    # At the same number under way.
    assert batch_ns(limits, np.concatenate([batch, batch]), min(depth, len(batch))) == pytest.approx(
        2 * batch_ns(limits, batch, depth)
    )


@pytest.mark.parametrize(("lengths", "depth"), [([4096], 0), ([0], 1), ([4096, -1], 4)])
def test_reads_that_cannot_be(lengths: list[int], depth: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        batch_ns(Limits(1e5, 1e9, 1e5, 1e9, 2.0), np.array(lengths, np.int64), depth)


@pytest.mark.parametrize("name", ["lane_bytes_per_s", "reads_per_s", "bytes_per_s", "sharpness"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_limits_are_positive(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        replace(Limits(1e5, 1e9, 1e5, 1e9, 2.0), **{name: value})


@pytest.mark.parametrize("name", ["latency_ns", "bytes_per_s", "sharpness"])
def test_what_must_be_finite(name: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        replace(Limits(1e5, 1e9, 1e5, 1e9, 2.0), **{name: math.inf})
