"""A process that is metered: its window is cut out of what was read meanwhile, by any worker's own clock."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from energy.devices import RANGE_UJ, powercap
from fakes.jobs import make_job
from fakes.target import CAPABILITIES, DONE, HELLO, FakeTarget, fails, say

from harness.energy import rapl
from harness.energy.meter import Meter
from harness.energy.source import NoEnergy, Source
from harness.experiment.runner import Attempt, run_job
from harness.job import Files, Job
from harness.protocol import Samples, Scalar

IDLE_W, BUSY_W = 20.0, 50.0
WINDOW_S = 0.6
# Whatever the worker's clock began at: nothing of it may be taken for this machine's time.
ORIGIN_NS = 123_456_789_000_000_000


def script(queries: int = 8, worked_s: float = WINDOW_S) -> list[dict[str, Any]]:
    """A worker that loads for a while, works for `worked_s`, says so, and lingers."""
    step = int(worked_s * 1e9 / queries)
    starts = [ORIGIN_NS + step * number for number in range(queries)]
    return [
        HELLO,
        {"sleep": 0.1},
        say(Samples(phase="warmup", start_ns=[ORIGIN_NS - 9], duration_ns=[9])),
        say(Scalar(name="warmup_steady", value=1.0)),
        {"sleep": worked_s},
        say(Scalar(name="queries", value=queries)),
        {"sleep": 0.1},
        say(Samples(phase="steady", start_ns=starts, duration_ns=[step] * queries)),
        DONE,
    ]


class Device:
    """A made-up counter: `IDLE_W` until its worker was launched, `BUSY_W` after, in steps of a millijoule."""

    def __init__(self, wraps_j: float | None = None, fails_after: int | None = None) -> None:
        self._wraps_j, self._fails_after = wraps_j, fails_after
        self._begin = time.perf_counter()
        self.busy_from: float | None = None
        self.reads = 0

    def read(self) -> Sequence[float]:
        self.reads += 1
        if self.reads == self._fails_after:
            raise NoEnergy("the device is on its charger")
        now = time.perf_counter()
        busy_s = 0.0 if self.busy_from is None else now - self.busy_from
        joules = round((now - self._begin) * IDLE_W + busy_s * (BUSY_W - IDLE_W), 3)
        return [joules if self._wraps_j is None else joules % self._wraps_j]

    def source(self, **changes: Any) -> Source:
        known: dict[str, Any] = {
            "name": "fixture",
            "tier": "counter",
            "read": self.read,
            "wraps_j": (self._wraps_j,),
            "period_s": 0.01,
            "window_s": WINDOW_S,
        }
        return Source(**known | changes)


class Metered(FakeTarget):
    """A fake target whose launch wakes a device."""

    def __init__(self, device: Device, steps: list[dict[str, Any]]) -> None:
        super().__init__(steps, capabilities=CAPABILITIES)
        self._device = device

    def launch(self, job: Job, files: Files) -> Any:
        self._device.busy_from = time.perf_counter()
        return super().launch(job, files)


def run(device: Device, steps: list[dict[str, Any]] | None = None, source: Source | None = None) -> Attempt:
    return run_job(
        Metered(device, steps or script()),
        make_job(measure="energy", min_duration_s=0.0),
        Files(model="m.fake"),
        session_id="s",
        position=0,
        timeout_s=20.0,
        model_bytes=1,
        meter=Meter(source or device.source()),
    )


def scalars(made: Attempt) -> dict[str, Any]:
    return {row["name"]: row["value"] for row in made.tables["scalars"].to_pylist()}


def reasons(made: Attempt) -> dict[str, Any]:
    return {row["name"]: row["reason"] for row in made.tables["scalars"].to_pylist() if row["value"] is None}


def environment(made: Attempt) -> dict[str, Any]:
    return {row["name"]: row["value"] for row in made.tables["environment"].to_pylist() if row["moment"] == "after"}


@pytest.mark.parametrize("wraps_j", [None, 17.0])
def test_the_energy_of_the_window_alone_is_counted_and_that_of_idleness_beside_it(wraps_j: float | None) -> None:
    made = run(Device(wraps_j))
    found = scalars(made)
    # Loosely, since it is real time on a machine that may be busy; how exact the arithmetic is, test_series says.
    assert found["energy_j"] == pytest.approx(BUSY_W * WINDOW_S, rel=0.1)
    assert found["power_w"] == pytest.approx(BUSY_W, rel=0.1)
    assert found["idle_power_w"] == pytest.approx(IDLE_W, rel=0.2)
    assert found["net_energy_j"] == pytest.approx(found["energy_j"] - found["idle_power_w"] * WINDOW_S)
    assert 0 < found["energy_resolution_j"] < 0.2 * found["energy_j"]
    (phases,) = {row["phase"] for row in made.tables["scalars"].to_pylist() if row["name"] == "energy_j"}
    assert phases == "steady"
    read = environment(made)
    assert (read["energy_source"], read["energy_tier"]) == ("fixture", "counter")
    assert read["energy_window"].count("+00:00") == 2


def test_idleness_is_covered_from_its_first_moment_however_late_the_thread_comes() -> None:
    """What began before the first reading would have no power: on a busy machine it once did."""
    device = Device()
    meter = Meter(device.source(window_s=0.0), sleep=lambda seconds: None)
    meter.begin()
    assert device.reads >= 1
    assert meter._recorder is not None
    assert meter._recorder.at_s[0] <= meter._idle[0]
    meter.end()


def test_a_source_that_fails_in_between_has_no_energy_and_the_process_is_none_the_worse() -> None:
    made = run(Device(fails_after=30))
    assert made.status == "ok"
    assert "energy_j" in reasons(made)
    assert reasons(made)["joules_per_query"] == "the device is on its charger"


def test_what_was_drawn_over_idle_is_null_where_it_cannot_be_told_from_idle() -> None:
    device = Device()
    steady = device.source()
    made = run(Device(), source=steady)  # another device works: the metered one stays idle
    assert scalars(made)["power_w"] == pytest.approx(IDLE_W, rel=0.1)
    assert "is within the resolution" in reasons(made)["net_joules_per_query"]
    assert reasons(made)["net_energy_j"] == reasons(made)["net_joules_per_query"]


def test_a_window_of_too_few_ticks_has_no_energy() -> None:
    device = Device()
    made = run(device, source=device.source(period_s=0.2))
    assert "and 20 are needed" in reasons(made)["joules_per_query"]


def test_a_worker_that_times_nothing_has_no_energy() -> None:
    made = run(Device(), [HELLO, DONE])
    assert reasons(made)["energy_j"] == "the worker timed no window of many queries"
    assert environment(made)["energy_window"] is None


def test_a_job_that_fails_is_a_failed_job_and_nothing_reads_on() -> None:
    device = Device()
    made = run(device, [HELLO, fails("model")])
    assert made.error is not None
    assert made.error.kind == "model"
    assert scalars(made) == {}
    reads = device.reads
    time.sleep(0.05)
    assert device.reads == reads


@pytest.mark.parametrize(("tier", "flag"), [("sampled", "energy_sampled"), ("estimated", "energy_estimated")])
def test_a_tier_that_is_no_counter_is_flagged(tier: Any, flag: str) -> None:
    device = Device()
    target = Metered(device, [HELLO, DONE])
    target.capabilities = type(CAPABILITIES)(**{**vars(CAPABILITIES), "latency": "measured"})
    made = run_job(
        target,
        make_job(measure="energy", min_duration_s=0.0),
        Files(model="m.fake"),
        session_id="s",
        position=0,
        timeout_s=20.0,
        model_bytes=1,
        meter=Meter(device.source(tier=tier, window_s=0.0)),
    )
    (row,) = made.tables["runs"].to_pylist()
    assert [name for name in row["flags"] if name.startswith("energy")] == [flag]


def test_a_tree_of_powercap_is_read_while_a_worker_works(tmp_path: Path) -> None:
    """Files that another process moves on, over the end of their range; memory is added, the board is not."""
    step_uj = 50_000
    zones = {
        "intel-rapl:0": ("package-0", RANGE_UJ - 20 * step_uj),
        "intel-rapl:0:0": ("dram", 0),
        "intel-rapl:1": ("psys", 0),
    }
    root = powercap(tmp_path, zones)
    turning = f"""
import os, time
at, end = [{RANGE_UJ - 20 * step_uj}, 0, 0], time.monotonic() + 120
while time.monotonic() < end:
    for number, folder in enumerate({list(zones)!r}):
        at[number] = (at[number] + {step_uj} * (1, 1, 10)[number]) % {RANGE_UJ + 1}
        path = os.path.join({str(root)!r}, folder, 'energy_uj')
        with open(path + '.part', 'w') as file:
            file.write(str(at[number]))
        os.replace(path + '.part', path)
    time.sleep(0.005)
"""
    turner = subprocess.Popen([sys.executable, "-c", turning])
    try:
        time.sleep(0.2)
        found = rapl.find(root)
        assert isinstance(found, Source)
        made = run(Device(), source=Source(**{**vars(found), "window_s": WINDOW_S, "period_s": 0.01}))
    finally:
        turner.kill()
        turner.wait()
    told = scalars(made)
    parts = told["energy_package_0_j"] + told["energy_dram_0_j"]
    assert told["energy_j"] == pytest.approx(parts, rel=0.1)
    assert told["energy_psys_j"] > 4 * told["energy_j"]
    assert told["energy_package_0_j"] == pytest.approx(told["energy_dram_0_j"], rel=0.2), "it wrapped, and was followed"
