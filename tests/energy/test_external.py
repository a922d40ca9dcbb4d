"""The recording of a meter: what it must look like, and what is said of one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.energy.external import read_csv
from harness.energy.series import window
from harness.energy.source import NoEnergy

START = 1_795_000_000


def write(folder: Path, text: str) -> Path:
    path = folder / "meter.csv"
    path.write_text(text)
    return path


def test_watts_and_joules_of_one_device_tell_the_same(tmp_path: Path) -> None:
    rows = [(START + 0.1 * step, 4.0, 0.4 * step) for step in range(200)]
    watts = read_csv(write(tmp_path, "#Time,Watts\n" + "".join(f"{at:.3f},{power}\n" for at, power, _ in rows)))
    joules = read_csv(write(tmp_path, "\ufefftime,joules,V\n" + "".join(f"{at:.3f},{e:.2f},5\n" for at, _, e in rows)))
    for series in (watts, joules):
        assert window(series, START + 2.0, START + 12.0).joules == pytest.approx(40.0, rel=1e-3)


def test_a_time_may_be_written_out(tmp_path: Path) -> None:
    text = "time,watts\n2026-11-22T10:00:00Z,1\n2026-11-22T11:00:01.5+01:00,1\n"
    series = read_csv(write(tmp_path, text))
    assert series.at_s[1] - series.at_s[0] == 1.5
    assert series.joules[-1] == pytest.approx(1.5)


def test_a_recording_that_has_just_begun_is_none_yet(tmp_path: Path) -> None:
    for text in ("time,watts\n", f"time,watts\n{START},1\n"):
        with pytest.raises(NoEnergy, match="do not cover"):
            window(read_csv(write(tmp_path, text)), START, START + 1.0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must have columns time and watts .or joules., and has nothing"),
        ("time,mW\n1795000000,5\n", "has time, mw"),
        ("Timestamp (s),watts\n1795000000,5\n", "has timestamp .s., watts"),
        ("time,watts\n12.5,5\n", "line 2: the time '12.5' is not in Unix seconds"),
        ("time,watts\n1795000000000,5\n", "is not in Unix seconds"),
        ("time,watts\n2026-11-22T10:00:00,5\n", "has no zone"),
        ("time,watts\nyesterday,5\n", "'yesterday' is no time"),
        ("time,watts\n1795000000,much\n", "line 2: 'much' are no watts"),
        ("time,watts\n1795000000\n", "line 2: '' are no watts"),
        ("time,joules\n1795000000,nan\n", "are no joules"),
        ("time,watts\n1795000000,5\n1795000002,5\n1795000001,5\n", "line 4: the time does not rise"),
        ("time,watts\n1795000000,5\n1795000001,50000\n", "not in watts"),
        ("time,joules\n1795000000,5\n1795000001,4\n", "joules of meter.csv was reset"),
    ],
)
def test_a_recording_that_is_none_says_where(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(NoEnergy, match=why):
        read_csv(write(tmp_path, text))


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoEnergy, match=r"none\.csv cannot be read \(No such file"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NoEnergy, match=r"binary\.csv cannot be read"):
        read_csv(tmp_path / "binary.csv")
