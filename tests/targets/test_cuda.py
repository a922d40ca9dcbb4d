"""The cuda target where there is no GPU: which one is meant, what NVML says of it, its clock, and what is missing.

NVML's answers are fixtures (`fakes/nvml.py`), read from no device.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
from fakes.jobs import make_job
from fakes.nvml import FakeNvml

from harness.conditions.flags import flags
from harness.conditions.readings import Reading
from harness.errors import HarnessError, UsageError
from harness.job import Files, Job
from harness.measurement import Measurement
from harness.protocol import Scalar
from harness.target import Adjustable, find_target
from harness.targets.cuda import missing, target
from harness.targets.cuda.gpus import Gpu, choose, list_gpus, visible
from harness.targets.cuda.knobs import locked
from harness.targets.cuda.missing import find_nvml, torch_cuda, wants
from harness.targets.cuda.nvml import cuda_version, read_gpu
from harness.targets.cuda.target import Cuda
from harness.worker.runtimes import executorch_cuda

FIRST, SECOND = "GPU-005a100a-1111-2222-3333-444455556666", "GPU-005a100b-1111-2222-3333-444455556666"
LARGE, SMALL = "MIG-3a20aaaa-1111-5222-8333-444455556666", "MIG-1b05bbbb-1111-5222-8333-444455556666"
BOARD, GAMING = "GPU-000a100c-1111-2222-3333-444455556666", "GPU-0004090d-1111-2222-3333-444455556666"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


def values(readings: list[Reading]) -> dict[str, str | None]:
    assert all(reading.value is not None or reading.reason for reading in readings)
    return {reading.name: reading.value for reading in readings}


def test_a_divided_gpu_is_its_instances() -> None:
    found = list_gpus(FakeNvml("mig"))
    assert [(gpu.index, gpu.uuid) for gpu in found] == [("0:0", LARGE), ("0:2", SMALL), ("1", GAMING)]
    assert [(gpu.index, gpu.uuid) for gpu in list_gpus(FakeNvml("a100"))] == [("0", FIRST), ("1", SECOND)]


@pytest.mark.parametrize(
    ("variable", "uuids"),
    [
        (None, [FIRST, SECOND]),
        ("1", [SECOND]),
        ("1,0", [SECOND, FIRST]),
        (" 1 , 0 ", [SECOND, FIRST]),
        ("GPU-005a100b", [SECOND]),
        ("0,7,1", [FIRST]),  # as in CUDA, what names none ends the list
        ("GPU-005a100", []),  # two begin so
        ("GPU-", []),
        ("", []),
        ("-1", []),
        ("none", []),
        ("0,0", [FIRST]),
    ],
)
def test_cuda_visible_devices_is_respected(variable: str | None, uuids: list[str]) -> None:
    assert [gpu.uuid for gpu in visible(list_gpus(FakeNvml("a100")), variable, None)] == uuids


def test_numbers_of_unlike_gpus_mean_something_only_in_an_order() -> None:
    gpus = list_gpus(FakeNvml("mig"))
    unlike = [*gpus, *list_gpus(FakeNvml("a100"))]
    with pytest.raises(UsageError, match="CUDA_DEVICE_ORDER"):
        visible(unlike, "1", None)
    assert [gpu.uuid for gpu in visible(gpus, "1", "PCI_BUS_ID")] == [GAMING]
    assert [gpu.uuid for gpu in visible(gpus, f"{SMALL},{LARGE}", None)] == [SMALL, LARGE]
    # CUDA takes the first instance of a divided GPU that is named as a whole.
    assert [gpu.uuid for gpu in visible(gpus, BOARD, None)] == [LARGE]
    assert [gpu.uuid for gpu in visible(gpus, "0", "PCI_BUS_ID")] == [LARGE]


@pytest.mark.parametrize(
    ("wanted", "uuid"), [(None, FIRST), ("1", SECOND), (SECOND, SECOND), ("GPU-005a100b", SECOND), ("0", FIRST)]
)
def test_a_gpu_is_chosen_by_number_or_uuid(wanted: str | None, uuid: str) -> None:
    chosen = choose(list_gpus(FakeNvml("a100")), wanted, None, None)
    assert chosen is not None
    assert chosen.uuid == uuid


@pytest.mark.parametrize("wanted", ["2", "-1", "GPU-ffff", "", "nonsense", "0:0", "GPU-005a100"])
def test_a_gpu_that_is_not_there_is_answered_with_those_that_are(wanted: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(list_gpus(FakeNvml("a100")), wanted, None, None)
    assert FIRST in caught.value.hint
    assert SECOND in caught.value.hint


def test_a_hidden_gpu_is_not_there_and_who_hides_it_is_said() -> None:
    gpus = list_gpus(FakeNvml("a100"))
    with pytest.raises(UsageError) as caught:
        choose(gpus, FIRST, "1", None)
    assert "CUDA_VISIBLE_DEVICES=1 hides" in caught.value.hint
    assert FIRST not in caught.value.hint
    with pytest.raises(UsageError, match="No GPU is visible"):
        choose(gpus, None, "", None)
    assert choose([], None, None, None) is None
    part = choose(list_gpus(FakeNvml("mig")), "0:2", None, None)
    assert part is not None
    assert part.uuid == SMALL


def test_readings_of_a_gpu_have_units_and_what_it_lacks_has_a_reason() -> None:
    nvml = FakeNvml("a100")
    found = values(read_gpu(nvml, list_gpus(nvml)[1]))
    assert found["gpu_uuid"] == SECOND
    assert found["temperature_celsius"] == "41"
    assert found["gpu_power_watts"] == "61.3"
    assert found["gpu_power_limit_watts"] == "400.0"
    assert found["throttled_by_power_s"] == "2.500000"
    assert found["clock_reasons"] == "idle"
    assert found["thermal_status"] == "0"
    assert found["gpu_clock_mhz"] == "210"
    assert found["gpu_driver"] == "580.65.06"
    nvml = FakeNvml("laptop")
    readings = read_gpu(nvml, list_gpus(nvml)[0])
    lacking = {reading.name: reading.reason for reading in readings if reading.value is None}
    assert set(lacking) == {
        *("gpu_ecc", "gpu_power_limit_watts", "gpu_power_watts", "throttled_by_heat_s", "throttled_by_power_s"),
    }
    assert set(lacking.values()) == {"NVML: Not Supported"}
    found = values(readings)
    assert found["clock_reasons"] == "software thermal slowdown, hardware thermal slowdown"
    assert found["thermal_status"] == "1"


def test_the_sensors_of_an_instance_are_its_boards_but_not_its_memory() -> None:
    nvml = FakeNvml("mig")
    found = values(read_gpu(nvml, list_gpus(nvml)[1]))
    assert (found["gpu_uuid"], found["gpu_divided"]) == (SMALL, "yes")
    assert found["gpu_memory_total_bytes"] == str(5 * 1024**3)
    assert found["temperature_celsius"] == "34"


def test_what_the_gpu_says_becomes_flags() -> None:
    def found(name: str, *, clock: str | None = None, seen: float | None = None, **more: str) -> list[str]:
        nvml = FakeNvml(name)
        before = read_gpu(nvml, list_gpus(nvml)[0])
        after = [Reading(r.name, more.get(r.name, r.value), None if r.name in more else r.reason) for r in before]
        wanted = Reading("device_clock_wanted_mhz", clock, None if clock else "no --clock was given", identity=True)
        measurement = Measurement()
        measurement.add(Scalar(name="device_clock_mhz", value=seen, reason=None if seen else "NVML"))
        return flags([*before, wanted], [*after, wanted], make_job(cpus=(0,)), measurement)

    ours = {"clock_not_locked", "clock_not_held", "power_capped", "device_shared", "throttled"}
    assert ours & set(found("a100")) == {"clock_not_locked"}
    assert ours & set(found("a100", clock="1410", seen=1410)) == set()
    assert ours & set(found("a100", clock="1410", seen=1380)) == {"clock_not_held"}
    assert ours & set(found("a100", clock="1410", throttled_by_power_s="2.6")) == {"power_capped"}
    assert ours & set(found("a100", clock="1410", throttled_by_heat_s="0.1")) == {"throttled"}
    assert ours & set(found("laptop", clock="1410")) == {"device_shared", "throttled"}


def _first(nvml: FakeNvml) -> Gpu:
    return list_gpus(nvml)[0]


def test_a_clock_is_held_in_persistence_mode_and_both_are_put_back() -> None:
    nvml = FakeNvml("a100")
    with locked(nvml, _first(nvml), 1380):
        assert nvml.calls == [("persistence", FIRST, 1), ("lock", FIRST, 1380, 1380)]
    assert nvml.calls[2:] == [("unlock", FIRST), ("persistence", FIRST, 0)]
    nvml = FakeNvml("a100")
    with pytest.raises(KeyboardInterrupt), locked(nvml, _first(nvml), 1380):
        raise KeyboardInterrupt
    assert [call[0] for call in nvml.calls] == ["persistence", "lock", "unlock", "persistence"]
    nvml = FakeNvml("a100")
    nvml.devices[0]["nvmlDeviceGetPersistenceMode"] = 1
    with locked(nvml, _first(nvml), 1380):
        pass
    assert [call[0] for call in nvml.calls] == ["lock", "unlock"], "what was on stays on"


@pytest.mark.parametrize(
    ("name", "root", "clock", "words"),
    [
        ("a100", False, 1380, "Insufficient Permissions"),
        ("a100", True, 1400, "no clock of 1400 MHz"),
        ("a100", True, 0, "no clock of 0 MHz"),
        ("mig", True, 1380, "part of a GPU"),
    ],
)
def test_a_clock_that_cannot_be_had_is_refused_and_nothing_is_changed(
    name: str, root: bool, clock: int, words: str
) -> None:
    nvml = FakeNvml(name, root=root)
    with pytest.raises(UsageError, match=words), locked(nvml, _first(nvml), clock):
        raise AssertionError("the block must not begin")
    assert nvml.calls == []


def test_a_lock_that_fails_after_persistence_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml("a100")

    def refuse(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(nvml, "nvmlDeviceSetGpuLockedClocks", refuse)
    with pytest.raises(UsageError, match="Not Supported"), locked(nvml, _first(nvml), 1380):
        raise AssertionError("the block must not begin")
    assert nvml.calls == [("persistence", FIRST, 1), ("persistence", FIRST, 0)]


def test_a_setting_that_cannot_be_put_back_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml("a100")
    with pytest.raises(HarnessError, match="nvidia-smi -i GPU-005a100a"), locked(nvml, _first(nvml), 1380):
        monkeypatch.setattr(nvml, "root", False)


def test_all_that_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "torch_cuda", lambda: None)
    monkeypatch.setattr(missing, "find_spec", lambda name: None)
    monkeypatch.setattr(missing.ctypes, "CDLL", _no_library)
    assert [what for what, _ in wants(None, 0)] == [
        "torch is a build without CUDA",
        "nvidia-ml-py is not installed",
        "there is no NVIDIA driver",
    ]


def _no_library(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


def test_a_driver_that_is_too_old_for_torch_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "torch_cuda", lambda: "13.0")
    [(what, todo)] = wants(FakeNvml("laptop"), 1)
    assert what == "driver 470.256.02 speaks CUDA 11.4, this torch was built for 13.0"
    assert todo
    assert wants(FakeNvml("a100"), 2) == []
    assert [what for what, _ in wants(FakeNvml("a100"), 0)] == ["the driver sees no GPU"]
    assert cuda_version(FakeNvml("laptop")) == (11, 4)


def test_a_driver_that_does_not_answer_says_so_in_nvmls_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def mismatch() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)

    monkeypatch.setattr(missing, "torch_cuda", lambda: "13.0")
    monkeypatch.setattr(missing.ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(pynvml, "nvmlInit", mismatch)
    assert find_nvml() is None
    [(what, todo)] = wants(None, 0)
    assert "mismatch" in what.lower()
    assert "Reboot" in todo


def test_the_real_nvml_is_asked_where_nothing_stands_in() -> None:
    state = find_target("cuda").availability()
    if torch_cuda() is None:
        assert "torch is a build without CUDA" in state.reason
    if find_nvml() is None:
        assert "driver" in state.reason
    if not state.available:
        assert "pip" in state.todo or "driver" in state.todo or "nvidia-smi" in state.todo


def test_the_version_of_cuda_is_read_without_importing_torch() -> None:
    import torch

    assert torch_cuda() == torch.version.cuda


def test_the_worker_sees_one_gpu_and_is_told_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(target, "LocalProcess", lambda command, _, environment: started.append((command, environment)))
    chosen = Cuda("1", nvml=FakeNvml("a100"))
    chosen.launch(Job(target="cuda", model="m", model_sha256="0", scenario="offline", threads=2), Files(model="m.pt2"))
    [(command, environment)] = started
    assert command[1:] == ["-P", "-m", "harness.worker", "cuda", "cuda"]
    assert environment["CUDA_VISIBLE_DEVICES"] == SECOND
    assert environment["OMP_NUM_THREADS"] == "2"
    assert chosen.device() == "NVIDIA A100-SXM4-40GB GPU-005a100b"
    assert Cuda(nvml=FakeNvml("a100")).device() != chosen.device()


def test_the_environment_has_each_reading_once_and_the_gpus_temperature() -> None:
    readings = Cuda("1", clock="1380", nvml=FakeNvml("a100")).environment()
    found = values(readings)
    assert len(found) == len(readings)
    assert found["temperature_celsius"] == "41"
    assert "host_temperature_celsius" in found
    assert found["device_clock_wanted_mhz"] == "1380"


def test_the_clock_of_a_session_is_that_of_the_chosen_gpu() -> None:
    nvml = FakeNvml("a100")
    chosen = Cuda("1", clock="1380", nvml=nvml)
    assert isinstance(chosen, Adjustable)
    with chosen.adjusted():
        assert nvml.calls == [("persistence", SECOND, 1), ("lock", SECOND, 1380, 1380)]
    nvml.calls.clear()
    with Cuda(nvml=nvml).adjusted():
        assert nvml.calls == []


@pytest.mark.parametrize(
    ("chosen", "words"),
    [({"clock": "fast"}, "no clock"), ({"runtime": "tensorrt"}, "no runtime"), ({"clock": "-5"}, "no clock")],
)
def test_what_there_is_not_is_refused(chosen: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Cuda(**chosen, nvml=FakeNvml("a100"))  # type: ignore[arg-type]


def test_pte_is_loaded_where_executorch_brings_the_delegate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = executorch_cuda.availability().available
    assert (".pte" in Cuda(nvml=FakeNvml("a100")).capabilities.formats) == here
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libexecutorch_backend_cuda.so").touch()
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(executorch_cuda, "find_spec", lambda name: spec)
    assert Cuda(nvml=FakeNvml("a100")).capabilities.formats == (".pt2", ".pte")


def test_nothing_heavy_is_imported_to_say_what_is_missing() -> None:
    import subprocess

    code = (
        "import sys; from harness.target import find_target\n"
        "find_target('cuda').availability(); find_target('x86').availability()\n"
        "print(*sorted({'torch', 'pandas', 'torchao', 'executorch', 'numpy'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() in ([], ["numpy"])
