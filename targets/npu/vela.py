"""What Arm's compiler Vela estimates for a TOSA program on a configuration: cycles, bytes, and where they go."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.atomic_files import replacing_files
from harness.errors import ModelError
from harness.targets.npu.configuration import Configuration, ini_path

_SUMMARY, _LAYERS = "summary.csv", "layers.csv"


@dataclass(frozen=True)
class Layer:
    """One operator as Vela splits it: cycles of the whole, of the array, and of each memory's traffic; `macs` a run."""

    operator: str
    cycles: int
    npu_cycles: int
    sram_cycles: int
    dram_cycles: int
    flash_cycles: int
    macs: int


@dataclass(frozen=True)
class Estimate:
    """Vela's own summary by the names of its columns, numbers as they are, and its operators in order."""

    summary: dict[str, float]
    layers: tuple[Layer, ...]

    @property
    def duration_ns(self) -> int:
        """One run of the program."""
        return max(1, round(self.summary["inference_time"] * 1e9))


def estimate(tosa: Path, configuration: Configuration) -> Estimate:
    """Compile `tosa` for a configuration, or read what it gave the last time: Vela gives the same for the same.

    Its tables are stored next to `tosa`. Raises ModelError where Vela refuses the program.
    """
    tables = tosa.parent / f"vela-{configuration.digest()}"
    if not (tables / _SUMMARY).exists():
        with replacing_files(tables, last=_SUMMARY) as scratch:
            _compile(tosa, configuration, scratch)
    with (tables / _SUMMARY).open(newline="") as file:
        (row,) = csv.DictReader(file)
    with (tables / _LAYERS).open(newline="") as file:
        layers = tuple(_layer(row) for row in csv.DictReader(file))
    return Estimate({key: number for key, text in row.items() if (number := _number(text)) is not None}, layers)


def _compile(tosa: Path, configuration: Configuration, folder: Path) -> None:
    """Leave Vela's two tables in `folder`."""
    from ethosu.vela import vela
    from ethosu.vela.errors import VelaError

    with tempfile.TemporaryDirectory(dir=tosa.parent) as scratch:
        arguments = [
            f"--accelerator-config={configuration.accelerator}",
            f"--config={ini_path(configuration)}",
            f"--system-config={configuration.system_config}",
            f"--memory-mode={configuration.memory_mode}",
            "--output-format=raw",
            "--verbose-performance",
            f"--output-dir={scratch}",
            str(tosa),
        ]
        try:
            vela.main(arguments)
            tables = {name: next(Path(scratch).glob(f"*_{name}*.csv")) for name in ("summary", "per-layer")}
        except (VelaError, RuntimeError, AssertionError, ValueError, SystemExit, StopIteration) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].strip("'\"").rstrip(".")
            raise ModelError(
                f"Vela cannot compile the program for {configuration.name}: {reason}.",
                "Its standard error says more (`harness report`); choose another configuration with --device.",
            ) from error
        tables["summary"].rename(folder / _SUMMARY)
        tables["per-layer"].rename(folder / _LAYERS)


def _layer(row: dict[str, str]) -> Layer:
    """Columns by the names that Vela 5.1 gives them, OnFlash and OffFlash together."""
    return Layer(
        operator=row["Original Operator"],
        cycles=round(float(row["Op Cycles"])),
        npu_cycles=round(float(row["NPU"])),
        sram_cycles=round(float(row["SRAM AC"])),
        dram_cycles=round(float(row["DRAM AC"])),
        flash_cycles=round(float(row["OnFlash AC"]) + float(row["OffFlash AC"])),
        macs=round(float(row["MAC Count"])),
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
