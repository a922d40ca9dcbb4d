"""A trace projected on devices of which the answer can be worked out by hand, and on the published one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.errors import UsageError
from harness.flash.ablation.projection import project, sizes
from harness.flash.ablation.trace import Trace, synthetic
from harness.flash.device_model.profile import find
from harness.flash.device_model.throughput import Limits

BANDWIDTH = Limits(0.0, math.inf, math.inf, 1e9, 1.0)  # 1 byte a nanosecond
LATENCY = Limits(1e5, math.inf, math.inf, 1e15, 1.0)


def trace(*tokens: list[int], neurons: int = 100) -> Trace:
    return Trace(tuple((np.array(token, np.int64),) for token in tokens), (neurons,), "by hand")


def test_bytes_and_reads_worked_out_by_hand() -> None:
    # Window 1; the tokens after it load {3} and {4, 5}.
    steps = project(BANDWIDTH, trace([1, 2], [2, 3], [3, 4, 5]), window=1, depth=8, row_bytes=512, rest_bytes=4096)
    by_name = {step.policy: step for step in steps}
    assert list(by_name) == ["none", "hybrid", "+ predictor", "+ windowing", "+ bundling"]
    assert by_name["none"].flash_bytes == 100 * 1024 + 4096
    assert by_name["hybrid"].flash_bytes == 100 * 1024
    assert (by_name["+ predictor"].flash_bytes, by_name["+ predictor"].reads) == (2.5 * 1024, 5)
    assert (by_name["+ windowing"].flash_bytes, by_name["+ windowing"].reads) == (1.5 * 1024, 3)
    assert (by_name["+ bundling"].flash_bytes, by_name["+ bundling"].reads) == (1.5 * 1024, 1.5)
    for step in steps:
        assert step.io_ns == pytest.approx(step.flash_bytes)
        assert step.bytes_per_s == pytest.approx(1e9)


def test_bundling_halves_the_time_where_latency_is_all() -> None:
    steps = project(LATENCY, trace([1], [1], [2, 3, 4, 5], [2, 3, 4, 5]), window=2, depth=1, row_bytes=512)
    windowing, bundling = steps[-2:]
    assert windowing.io_ns == pytest.approx(8 * 1e5 / 2, rel=1e-3)
    assert bundling.io_ns == pytest.approx(4 * 1e5 / 2, rel=1e-3)


def test_a_layer_with_few_reads_does_not_fill_the_depth() -> None:
    # Two layers with two new neurons each: four rows per layer, which are all that can be under way.
    active = tuple((np.array([t, t + 10], np.int64),) * 2 for t in (0, 1, 2))
    steps = project(LATENCY, Trace(active, (100, 100), "by hand"), window=1, depth=32, row_bytes=512)
    assert steps[3].reads == 8
    assert steps[3].io_ns == pytest.approx(2 * 1e5, rel=1e-3)


def test_nothing_new_is_nothing_read() -> None:
    steps = project(LATENCY, trace([1], [1], [1]), window=1, depth=32, row_bytes=512)
    assert (steps[3].flash_bytes, steps[3].io_ns) == (0, 0)
    assert math.isnan(steps[3].bytes_per_s)


def test_the_published_aggregates_on_the_published_device() -> None:
    """One of the 32 layers of OPT 6.7B; both the trace and the profile were made after the table, so this is a
    consistency check.
    """
    layer = synthetic([16384], 60, active_fraction=0.105, zipf_exponent=1.2, persistence=0.5, seed=0)
    steps = project(find("apple-m1-max").limits, layer, window=5, depth=32, row_bytes=8192)
    milliseconds = [32 * step.io_ns / 1e6 for step in steps[2:]]
    assert milliseconds == pytest.approx([738, 164, 87], rel=0.05)


@pytest.mark.parametrize("window", [0, 3])
def test_windows_that_are_none(window: int) -> None:
    with pytest.raises(UsageError, match=f"window of {window}"):
        project(BANDWIDTH, trace([1], [2], [3]), window, depth=1, row_bytes=512)


def test_sizes_cover_what_is_read() -> None:
    assert sizes(8192) == [8192, 16384, 2**20]
