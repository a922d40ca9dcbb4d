"""What a device says of itself, in the words of Linux and of Android (in the form of AOSP's `dump()`s, no phone's own),
and the gate that waits for it to cool down.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest
from fakes.jobs import make_job
from fakes.phone import BATTERY, THERMAL
from fakes.target import FakeTarget

from harness.conditions.gate import wait_until_cool
from harness.conditions.readings import Reading
from harness.experiment.runner import run_job
from harness.job import Files
from harness.targets.transports.conditions import SCRIPT, read_device

BIG_LITTLE = "".join(
    f"processor\t: {number}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
    for number, part in enumerate(["0xd05"] * 2 + ["0xd0b"] * 2 + ["0xfff"])
)
BOARD = f"""#uname
aarch64
Linux 6.6.31+rpt-rpi-2712
#cpuinfo
{BIG_LITTLE}#meminfo
MemTotal:        8245764 kB
MemAvailable:    7654321 kB
#stat
cpu  1000 50 500 9000 10 20 30 40 0 0
cpu0 1 2
cpu1 1 2
#model
Raspberry Pi 5 Model B Rev 1.0
#files
/sys/devices/system/cpu/cpu10/cpufreq/cpuinfo_max_freq\t2400000
/sys/devices/system/cpu/cpu2/cpufreq/cpuinfo_max_freq\t1500000
/sys/devices/system/cpu/cpu10/cpufreq/scaling_max_freq\t2400000
/sys/devices/system/cpu/cpu2/cpufreq/scaling_max_freq\t1500000
/sys/devices/system/cpu/cpu10/cpufreq/scaling_governor\tondemand
/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor\tperformance
/sys/class/thermal/thermal_zone0/type\tcpu-thermal
/sys/class/thermal/thermal_zone1/type\tgpu
/sys/class/thermal/thermal_zone2/type\tbroken-cpu
/sys/class/thermal/thermal_zone3/type\tcpu-degrees
/sys/class/thermal/thermal_zone0/temp\t51250
/sys/class/thermal/thermal_zone1/temp\t70000
/sys/class/thermal/thermal_zone2/temp\t-274000
/sys/class/thermal/thermal_zone3/temp\t52
/proc/uptime\t100.25 300.00
/proc/loadavg\t0.52 0.58 0.59 1/234 5678
"""
PHONE = f"""#uname
aarch64
Linux 5.15.104-android14
#files
#getprop
ro.product.manufacturer\tAcme
ro.product.model\tFake 8
ro.soc.manufacturer\t
ro.soc.model\t
ro.board.platform\ttaro
ro.product.cpu.abi\tarm64-v8a
ro.build.fingerprint\tacme/fake
#battery
{BATTERY}#thermal
{THERMAL}"""


def _read(text: str) -> dict[str, str | None]:
    readings = read_device(text)
    assert all((reading.value is None) == bool(reading.reason) for reading in readings)
    assert len({reading.name for reading in readings}) == len(readings)
    return {reading.name: reading.value for reading in readings}


def test_a_board() -> None:
    found = _read(BOARD)
    assert found["machine"] == "aarch64"
    assert found["system"] == "Linux 6.6.31+rpt-rpi-2712"
    assert found["device_model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["cpu_model"] == "2x Cortex-A55 + 2x Cortex-A76 + 1x part 0x41:0xfff"
    assert found["cpu_max_mhz"] == "1500 2400"
    assert found["cpu_frequency_limit_mhz"] == "1950"
    assert found["frequency_governor"] == "ondemand+performance"
    assert found["temperature_celsius"] == "52.0", "the hottest processor, not the GPU, and no broken sensor"
    assert found["thermal_zones"] == "cpu-thermal=51.25 gpu=70 cpu-degrees=52"
    assert found["memory_total_bytes"] == str(8245764 * 1024)
    assert (found["clock_s"], found["cpu_busy_s"], found["cpu_steal_s"]) == ("100.25", "16.00", "0.40")
    assert found["load_average_1min"] == "0.52"
    assert (found["logical_cpus"], found["online_cpus"]) == ("2", "0,1")
    assert found["android_build"] is found["battery_status"] is found["thermal_status"] is None


def test_a_phone_whose_sensors_only_android_may_read() -> None:
    found = _read(PHONE)
    assert found["device_model"] == "Acme Fake 8"
    assert found["soc"] == "taro"
    assert found["battery_status"] == "charging"
    assert found["thermal_status"] == "0"
    assert found["temperature_celsius"] == "39.3", "of now, not the cached one; a sensor at 0 is asleep"
    assert found["thermal_zones"] == "CPU0=39.3 battery=28.9"
    assert found["frequency_governor"] is found["cpu_busy_s"] is None


def test_a_phone_that_knows_its_battery_alone() -> None:
    found = _read(PHONE.partition("#thermal")[0].replace("status: 2", "status: 3"))
    assert found["temperature_celsius"] == "28.9"
    assert found["thermal_zones"] == "battery=28.9"
    assert found["thermal_status"] is None
    assert found["battery_status"] == "discharging"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#files",
        "#stat\ncpu  1 x\n#files\nno tab\n/proc/uptime\t\n",
        "#getprop\n#battery\n#thermal\n",
        "#cpuinfo\nCPU part\t: nonsense\n#thermal\nTemperature{mValue=NaN, mType=0, mName=x}\n#uname\n",
        "\0\n#meminfo\nMemTotal:\n#battery\nstatus: 99\ntemperature: hot\n",
    ],
)
def test_nonsense_is_null_with_a_reason(text: str) -> None:
    found = _read(text)
    assert found["temperature_celsius"] is found["frequency_governor"] is found["clock_s"] is None


@pytest.mark.parametrize("shell", ["sh", "bash", "mksh"])
def test_the_script_means_the_same_to_every_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    ended = subprocess.run([shell, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = _read(ended.stdout)
    assert found["machine"]
    assert float(found["clock_s"] or 0) > 0


class Oven:
    """A device that cools by a degree whenever it is left alone."""

    def __init__(self, celsius: float) -> None:
        self.celsius, self.slept, self.told = celsius, 0.0, [(-1, -1)]

    def read(self) -> list[Reading]:
        return [Reading("temperature_celsius", f"{self.celsius:.1f}")]

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.celsius -= 1

    def tell(self, waited: int, limit: int) -> None:
        self.told.append((waited, limit))


@pytest.mark.parametrize(("celsius", "slept"), [(39.9, 0), (40.0, 2), (45.0, 12), (90.0, 30)])
def test_the_gate_waits_until_it_is_cool_and_not_for_ever(celsius: float, slept: float) -> None:
    oven = Oven(celsius)
    wait_until_cool(oven.read, 40.0, 30.0, oven.tell, oven.sleep)
    assert oven.slept == slept
    assert len(oven.told) - 1 == slept / 2
    assert all(limit == 30 for _, limit in oven.told[1:])


class Kettle(FakeTarget):
    """A target with wishes; it notes in which order it is asked what."""

    cpus = None

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def prepare(self, on_wait: Callable[[int, int], None] | None = None) -> None:
        self.asked.append("prepare")
        if on_wait is not None:
            on_wait(1, 2)

    def environment(self) -> list[Reading]:
        self.asked.append("environment")
        return super().environment()


def test_a_job_waits_before_the_state_is_read() -> None:
    kettle, told = Kettle(), []
    run_job(
        kettle,
        make_job(),
        Files(model="m"),
        session_id="s",
        position=0,
        timeout_s=20.0,
        model_bytes=1,
        on_progress=lambda *progress: told.append(progress),
    )
    assert kettle.asked == ["prepare", "environment", "environment"]
    assert told == [(1, 2)]


def test_the_gate_does_not_wait_for_what_it_cannot_read() -> None:
    oven = Oven(90.0)
    wait_until_cool(lambda: [Reading("temperature_celsius", None, "no sensor")], 40.0, 30.0, oven.tell, oven.sleep)
    assert oven.slept == 0
