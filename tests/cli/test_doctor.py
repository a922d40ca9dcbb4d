"""`harness doctor`, on this machine and on readings that are made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli.driving import Home
from fakes.target import CAPABILITIES, FakeTarget

from harness.analysis.flags import advice, meaning
from harness.conditions.readings import Reading
from harness.experiment import readiness
from harness.experiment.readiness import Check, condition_checks, disk_check, examine, memory_check
from harness.target import Availability, find_target

X86 = find_target("x86")


def readings(**values: str | None) -> list[Reading]:
    quiet = {
        "frequency_governor": "performance",
        "cpu_frequency_mhz": "3000",
        "temperature_celsius": "50",
        "load_average_1min": "0.01",
        "affinity": "0,1",
        "clock_s": "0",
        "cpu_busy_s": "0",
        "harness_cpu_s": "0",
        "cpu_steal_s": "0",
    }
    return [Reading(name, value) for name, value in (quiet | values).items()]


def states(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def test_a_quiet_machine_has_one_warning_that_a_run_should_pin() -> None:
    checks = condition_checks(X86, readings(), readings(clock_s="2"))
    assert states(checks) == {
        "governor": "ok",
        "clock": "ok",
        "temperature": "ok",
        "other load": "ok",
        "stolen time": "ok",
        "pinning": "warning",
    }
    assert "--cpus" in str(checks[-1].todo)


@pytest.mark.parametrize(
    ("name", "flag", "now"),
    [
        ("governor", "governor_not_performance", {"frequency_governor": "powersave"}),
        ("governor", "governor_unknown", {"frequency_governor": None}),
        ("clock", "throttled", {"cpu_frequency_mhz": "2000"}),
        ("temperature", "temperature_unknown", {"temperature_celsius": None}),
        ("other load", "load_high", {"cpu_busy_s": "1"}),
        ("stolen time", "steal", {"cpu_steal_s": "1"}),
        ("battery", "charging", {"battery_status": "charging"}),
    ],
)
def test_what_a_run_would_flag_is_said_before_it(name: str, flag: str, now: dict[str, str | None]) -> None:
    checks = condition_checks(X86, readings(), readings(clock_s="2", **now))
    (check,) = [check for check in checks if check.name == name]
    assert (check.what, check.todo) == (meaning(flag), advice(flag))
    assert check.state == ("unknown" if flag.endswith("unknown") else "warning")


def test_little_memory_and_a_full_disk_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (check,) = memory_check(readings(memory_available_bytes="5e8"))
    assert (check.state, check.value) == ("warning", "0.5 GB free")
    assert memory_check(readings()) == [], "a device that does not say"
    assert disk_check(tmp_path / "not" / "there").value is not None
    monkeypatch.setattr(readiness, "_LEAST_DISK_BYTES", 1e30)
    assert disk_check(tmp_path).state == "warning"


def test_a_target_that_is_not_available_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(X86, "availability", lambda: Availability(False, "it is switched off", "switch it on"))
    (check,) = examine(X86, tmp_path)
    assert (check.state, check.todo) == ("problem", "switch it on")


def test_this_machine(home: Home) -> None:
    ended = home.harness("doctor", "--json")
    assert ended.code == 0, ended.err
    made = json.loads(ended.out)
    assert (made["version"], made["kind"], made["data"]["can_measure"]) == (1, "doctor", True)
    assert {"target", "governor", "memory", "disk"} <= {check["name"] for check in made["data"]["checks"]}
    assert not home.results.exists(), "nothing is written"
    shown = home.harness("doctor")
    assert (shown.code, "what to do" in shown.out) == (0, True)
    home.harness("doctor", "-t", "nowhere").explained(2, "nowhere")


def test_a_machine_that_cannot_measure_has_exit_code_1(home: Home) -> None:
    ended = home.harness("doctor", "-t", "cuda")
    if "not available" in ended.out:  # where there is a GPU it can measure
        assert ended.code == 1


def test_runtimes_are_listed_and_what_one_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Availability(False, "onyx is not installed", "pip install onyx")
    monkeypatch.setattr(
        readiness, "availability", lambda runtime: lacking if "cuda" in runtime.name else Availability(True)
    )
    target = FakeTarget(capabilities=replace(CAPABILITIES, runtimes=("torch", "torch-cuda")))
    usable, missing = readiness.runtime_checks(target)
    assert (usable.state, usable.value) == ("ok", "torch")
    assert (missing.name, missing.state) == ("runtime torch-cuda", "unknown")
    assert (missing.what, missing.todo) == ("onyx is not installed", "pip install onyx")
    assert readiness.runtime_checks(FakeTarget()) == []
    nothing = FakeTarget(capabilities=replace(CAPABILITIES, runtimes=("torch-cuda",)))
    assert readiness.runtime_checks(nothing)[0].state == "problem"
