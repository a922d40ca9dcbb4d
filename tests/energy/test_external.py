"""The recording of a meter: what it must look like, and what is said of one that does not."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


WATTS = st.lists(st.integers(1, 2_000_000), min_size=2, max_size=8)


def recorded(watts: list[str], between: str, mark: str) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since the start, and joules, of these watts at every half second, as a meter writes them: columns are
    separated by `between`, and decimals, those of the time too, have `mark`.
    """
    rows = [f"{START + step / 2:.3f}{between}{text}{between}V" for step, text in enumerate(watts)]
    with TemporaryDirectory() as folder:
        text = "\n".join([f"time{between}watts{between}note", *(row.replace(".", mark) for row in rows)]) + "\n"
        series = read_csv(write(Path(folder), text))
    return series.at_s - START, series.joules


@given(milliwatts=WATTS, decimals=st.integers(0, 6), layout=st.sampled_from([",.", ";,", ";.", "\t,", "\t."]))
def test_whatever_marks_a_meter_writes_its_watts_are_the_same(
    milliwatts: list[int], decimals: int, layout: str
) -> None:
    texts = [f"{value / 1000:.{decimals}f}" for value in milliwatts]
    at_s, joules = recorded(texts, *layout)
    watts = np.array([float(text) for text in texts])
    assert at_s.tolist() == [step / 2 for step in range(len(texts))]
    assert joules.tolist() == pytest.approx([0.0, *np.cumsum((watts[1:] + watts[:-1]) / 2 * 0.5)])


@given(milliwatts=WATTS, decimals=st.integers(0, 6))
def test_commas_that_separate_columns_and_decimals_are_refused(milliwatts: list[int], decimals: int) -> None:
    with pytest.raises(NoEnergy, match=r"line 2: [45] columns, of 3 in the header; .* semicolons"):
        recorded([f"{value / 1000:.{decimals}f}" for value in milliwatts], ",", ",")


def test_a_time_of_commas_that_is_quoted_or_written_out_is_one(tmp_path: Path) -> None:
    text = f'time,watts\n"{START},0",5\n"{START},5",5\n"2026-11-18T11:06:41,5Z",5\n'
    assert (read_csv(write(tmp_path, text)).at_s - START).tolist() == [0.0, 0.5, 1.5]


def test_a_line_that_is_still_being_written_is_passed_over(tmp_path: Path) -> None:
    """Of 12.75 watts a meter has written the first digit when its file is read."""
    text = f"time,watts\n{START},12.75\n{START + 1},12.75\n{START + 2},1"
    assert read_csv(write(tmp_path, text)).joules.tolist() == [0.0, 12.75]
    assert read_csv(write(tmp_path, text + "\n")).joules.tolist() == [0.0, 12.75, 12.75 + 6.875]


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
        ("time,watts\n1795000000\n", "line 2: 1 column, of 2 in the header$"),
        ("time,watts\n1795000000,\n", "line 2: '' are no watts"),
        ("time,watts\n\n1795000000,much\n", "line 3: 'much' are no watts"),
        ("time,watts\n1795000000,5,25\n", "line 2: 3 columns, of 2 in the header; .* semicolons"),
        ("time,watts\n1795000000,5\n1795000001,5,\n", "line 3: 3 columns, of 2"),
        ("time,watts,\n1795000000,5,25\n", "line 2: a value in a column without a name"),
        ("time,watts,volts\n1795000000,500,5,25,230\n", "line 2: 5 columns, of 3"),
        ('time,watts\n1795000000,"5,25"\n', "line 2: '5,25' has a comma; save it with decimal points"),
        ("time,watts,Watts\n1795000000,5,6\n", "line 1: the header names the column 'watts' twice"),
        ("time;watts;note;note\n1795000000;5;a;b\n", "line 1: the header names the column 'note' twice"),
        ("time;watts\n1795000000;5;25\n", "line 2: 3 columns, of 2 in the header$"),
        ("time;watts\n1795000000;5,25\n1795000001;5.25\n", "line 3: '5.25', where the watts above have another"),
        ("time;watts\n1795000000;1.234,5\n", "line 2: '1.234,5' are no watts"),
        ("time;watts\n1795000000;999\n1795000001;1.001\n", "line 3: '1.001' may be a thousand and more"),
        ("time;watts\n1795000000;999\n1795000001;1,001\n", "line 3: '1,001' may be a thousand and more"),
        ("time,watts\n1795000000,1_0\n", "line 2: '1_0' are no watts"),
        ("time,watts\n1795000000,1e400\n", "line 2: '1e400' are no watts"),
        ('time,watts\n1795000000,"5\n', "cannot be read .unexpected end of data"),
        ("time,joules\n1795000000,nan\n", "are no joules"),
        ("time,watts\n1795000000,5\n1795000002,5\n1795000001,5\n", "line 4: the time does not rise"),
        ("time,watts\n1795000000,5\n1795000000,5\n", "line 3: the time does not rise"),
        ("time,watts\n1795000000,-5\n1795000001,-6\n", "line 2: -5 watts, .* connected the other way round"),
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
