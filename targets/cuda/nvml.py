"""What NVML says of a GPU, as readings; and whether it says anything at all.

Every function takes the module `pynvml` (nvidia-ml-py), so that recorded answers can stand in for it. What a GPU does
not support is null with NVML's own words. Of a GPU that is divided (MIG) the sensors are those of the whole board.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.conditions.readings import Reading
from harness.targets.cuda.gpus import Gpu

# By the name of NVML's bit; thermal ones are about heat, the others about power, choice or idleness.
_REASONS = {
    "GpuIdle": "idle",
    "ApplicationsClocksSetting": "applications clocks",
    "SwPowerCap": "power cap",
    "HwSlowdown": "hardware slowdown",
    "SyncBoost": "sync boost",
    "SwThermalSlowdown": "software thermal slowdown",
    "HwThermalSlowdown": "hardware thermal slowdown",
    "HwPowerBrakeSlowdown": "power brake",
    "DisplayClockSetting": "display clocks",
}
_THERMAL = ("SwThermalSlowdown", "HwThermalSlowdown")


def read_gpu(nvml: Any, gpu: Gpu) -> list[Reading]:
    """Identity and state of a GPU, every value as text with its unit in its name. Takes some milliseconds.

    `throttled_by_heat_s` and `throttled_by_power_s` are counters: their growth over a job is the time for which the
    clock was held back, whatever it is when somebody looks.
    """
    board, part = gpu.board, gpu.handle

    def reading(name: str, read: Callable[[], object], *, identity: bool = False) -> Reading:
        try:
            return Reading(name, str(read()), None, identity)
        except nvml.NVMLError as error:
            return Reading(name, None, f"NVML: {error}", identity)

    def violation(policy: int) -> str:
        return f"{nvml.nvmlDeviceGetViolationStatus(board, policy).violationTime / 1e9:.6f}"

    return [
        reading("gpu_model", lambda: gpu.name, identity=True),
        reading("gpu_uuid", lambda: gpu.uuid, identity=True),
        reading("gpu_driver", nvml.nvmlSystemGetDriverVersion, identity=True),
        reading("gpu_divided", lambda: "no" if gpu.instance is None else "yes", identity=True),
        reading("gpu_ecc", lambda: _on(nvml.nvmlDeviceGetEccMode(board)[0]), identity=True),
        reading("gpu_power_limit_watts", lambda: _watts(nvml.nvmlDeviceGetEnforcedPowerLimit(board)), identity=True),
        reading("gpu_persistence", lambda: _on(nvml.nvmlDeviceGetPersistenceMode(board)), identity=True),
        reading("gpu_max_clock_mhz", lambda: nvml.nvmlDeviceGetMaxClockInfo(board, nvml.NVML_CLOCK_SM), identity=True),
        reading("gpu_clock_mhz", lambda: nvml.nvmlDeviceGetClockInfo(board, nvml.NVML_CLOCK_SM)),
        reading("gpu_memory_clock_mhz", lambda: nvml.nvmlDeviceGetClockInfo(board, nvml.NVML_CLOCK_MEM)),
        reading("gpu_performance_state", lambda: f"P{nvml.nvmlDeviceGetPerformanceState(board)}"),
        reading("gpu_power_watts", lambda: _watts(nvml.nvmlDeviceGetPowerUsage(board))),
        reading("gpu_memory_total_bytes", lambda: nvml.nvmlDeviceGetMemoryInfo(part).total, identity=True),
        reading("gpu_memory_used_bytes", lambda: nvml.nvmlDeviceGetMemoryInfo(part).used),
        reading("gpu_processes", lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(part))),
        reading("clock_reasons", lambda: _names(nvml, nvml.nvmlDeviceGetCurrentClocksThrottleReasons(board))),
        reading("throttled_by_heat_s", lambda: violation(nvml.NVML_PERF_POLICY_THERMAL)),
        reading("throttled_by_power_s", lambda: violation(nvml.NVML_PERF_POLICY_POWER)),
        # As every device names them: the flags look for these.
        reading("temperature_celsius", lambda: nvml.nvmlDeviceGetTemperature(board, nvml.NVML_TEMPERATURE_GPU)),
        reading("thermal_status", lambda: _hot(nvml, nvml.nvmlDeviceGetCurrentClocksThrottleReasons(board))),
    ]


def cuda_version(nvml: Any) -> tuple[int, int]:
    """The newest CUDA that the driver speaks, such as (12, 4). Raises NVMLError."""
    number = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    return number // 1000, number % 1000 // 10


def _names(nvml: Any, bits: int) -> str:
    reasons = [words for name, words in _REASONS.items() if bits & _bit(nvml, name)]
    return ", ".join(reasons) or ("none" if bits == 0 else f"0x{bits:x}")


def _hot(nvml: Any, bits: int) -> int:
    return int(any(bits & _bit(nvml, name) for name in _THERMAL))


def _bit(nvml: Any, name: str) -> int:
    """HwSlowdown has kept its first name."""
    return int(getattr(nvml, f"nvmlClocksThrottleReason{name}"))


def _on(value: int) -> str:
    return "on" if value else "off"


def _watts(milliwatts: int) -> str:
    return f"{milliwatts / 1e3:.1f}"
