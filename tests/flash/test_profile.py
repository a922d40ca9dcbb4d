"""Profiles: the shipped ones are what their sources say, and a file is read back as it was written or refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import UsageError
from harness.flash.device_model.profile import HeldOut, Parameter, Profile, find, from_cells, read, shipped, write
from harness.flash.device_model.throughput import NAMES, Cell, Limits, throughput

LIMITS = Limits(8e4, 1.5e9, 2e5, 3e9, 2.0)
SIZES, DEPTHS = [4096, 16384, 65536, 2**20], [1, 4, 16, 64]


def cells_of(limits: Limits) -> list[Cell]:
    return [Cell(size, depth, float(throughput(limits, size, depth))) for size in SIZES for depth in DEPTHS]


@pytest.mark.parametrize("name", shipped())
def test_each_shipped_parameter_names_its_source(name: str) -> None:
    profile = find(name)
    assert profile.name == name
    assert profile.summary
    for parameter in profile.parameters.values():
        assert parameter.origin != "measured", "it was not measured by harness"
        cited = any(word in parameter.source for word in ("arXiv:", "github.com/", "doi:"))
        assert cited == (parameter.origin != "illustrative")


def test_the_phone_is_the_fit_of_its_published_cells() -> None:
    phone = find("oneplus-15r")
    again = from_cells(phone.name, phone.summary, phone.cells, "derived", "")
    assert again.held_out is not None
    assert phone.held_out is not None
    assert again.held_out.rms == pytest.approx(phone.held_out.rms, rel=0.02)
    assert again.held_out.worst == pytest.approx(phone.held_out.worst, rel=0.05)
    assert phone.held_out.worst < 0.25
    for cell in phone.cells:
        assert throughput(again.limits, cell.read_bytes, cell.depth) == pytest.approx(
            throughput(phone.limits, cell.read_bytes, cell.depth), rel=0.01
        )
    # 4 MiB on one and on two threads: 1809.9 and 2459.8 MiB/s.
    published = {(cell.read_bytes, cell.depth): cell.bytes_per_s / 2**20 for cell in phone.cells[:2]}
    assert published == {(2**22, 1): pytest.approx(1809.9), (2**22, 2): pytest.approx(2459.8)}


@pytest.mark.parametrize(
    ("name", "size", "bytes_per_s"),
    [
        ("apple-m1-max", 8192, 1.25e9),
        ("apple-m1-max", 16384, 2.25e9),
        ("ufs4", 4096, 850e6),
        ("ufs4", 524288, 3.5e9),
    ],
)
def test_derived_parameters_give_back_what_they_were_derived_from(name: str, size: int, bytes_per_s: float) -> None:
    for depth in (1, 32):
        assert throughput(find(name).limits, size, depth) == pytest.approx(bytes_per_s, rel=1e-6)


def test_a_measured_profile_survives_its_file(tmp_path: Path) -> None:
    cells = cells_of(LIMITS)
    profile = replace(from_cells("mine", 'a "disk"\n\x7f', cells, "measured", "here"), notes=("é", "one\\two"))
    write(tmp_path / "mine.toml", profile)
    assert read(tmp_path / "mine.toml") == profile == find(str(tmp_path / "mine.toml"))
    assert (profile.sizes, profile.depths) == ((4096, 2**20), (1, 64))
    assert profile.held_out is not None
    assert profile.held_out.worst < 0.05
    assert np.abs(throughput(profile.limits, 4096, 4) / throughput(LIMITS, 4096, 4) - 1) < 0.01


def test_what_is_not_known_survives_too(tmp_path: Path) -> None:
    unknown = Profile("plain", "no cells", {name: Parameter(1e9, "illustrative", "made up") for name in NAMES})
    write(tmp_path / "plain.toml", unknown)
    assert read(tmp_path / "plain.toml") == unknown
    assert (unknown.sizes, unknown.depths, unknown.held_out, unknown.cells) == (None, None, None, ())


def test_a_limit_that_was_never_met_stays_unknown() -> None:
    limits = replace(LIMITS, reads_per_s=1e11)
    profile = from_cells("fast", "", cells_of(limits), "measured", "here")
    assert profile.parameters["reads_per_s"].value == math.inf
    assert "no limit was met" in profile.parameters["reads_per_s"].source
    assert throughput(profile.limits, 4096, 4) == pytest.approx(throughput(limits, 4096, 4), rel=0.02)


def test_doubts() -> None:
    phone, table = find("oneplus-15r"), find("apple-m1-max")
    assert phone.doubts([8192, 16384], 32) == []
    assert phone.doubts([], 32) == []
    (small,) = phone.doubts([4096, 16384], 32)
    assert "4096 to 16384 bytes are an extrapolation" in small
    (deep,) = phone.doubts([16384], 64)
    assert "Depth 64 is an extrapolation" in deep
    (assumed,) = table.doubts([8192], 32)
    assert "Illustrative in apple-m1-max: latency_ns, lane_bytes_per_s: no figure" in assumed


GOOD = """
name = "x"
summary = "y"
sizes = [1, 2]
""" + "".join(f'[parameters.{name}]\nvalue = 1.0\norigin = "measured"\nsource = "z"\n' for name in NAMES)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "x"\n', "", "lacks 'name'"),
        ("[parameters.sharpness]", "[parameters.blunt]", "unknown parameter 'blunt'"),
        ('summary = "y"', 'summary = "y"\nsize = 3', "unknown key 'size'"),
        ("value = 1.0", "value = 0.0", "lane_bytes_per_s is 0.0"),
        ("value = 1.0", "value = nan", "latency_ns is nan"),
        ("value = 1.0", "value = inf", "must be finite"),
        ("value = 1.0", 'value = "1"', "not a number"),
        ("value = 1.0", "value = true", "not a number"),
        ('origin = "measured"', 'origin = "guessed"', "'guessed'"),
        ('source = "z"', 'source = " "', "names no source"),
        ('source = "z"', "", "source"),
        ("sizes = [1, 2]", "sizes = [2, 1]", "sizes is [2, 1]"),
        ("sizes = [1, 2]", "sizes = [1]", ""),
        ("sizes = [1, 2]", 'cells = [{ read_bytes = "a", depth = 1, bytes_per_s = 1.0 }]', "read_bytes is 'a'"),
        ("sizes = [1, 2]", "held_out = { rms = 0.1 }", "worst"),
        ("sizes = [1, 2]", "sizes = [", ""),
        (GOOD, "parameters = 3\nname = 'x'\nsummary = 'y'", ""),
        (GOOD, "\0", ""),
        (GOOD, "a = " + "[" * 5000, ""),
    ],
)
def test_a_file_that_is_no_profile(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(GOOD)
    assert read(path).limits == Limits(1.0, 1.0, 1.0, 1.0, 1.0)
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError, match=r"not a readable device profile|is not TOML") as refused:
        read(path)
    assert words in refused.value.message
    assert refused.value.hint


def test_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a shipped device profile nor a file") as refused:
        find("ufs5")
    assert "ufs4" in refused.value.hint
    with pytest.raises(UsageError, match="neither"):
        find(str(tmp_path))
    (tmp_path / "latin.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(UsageError, match=r"not a readable|is not TOML"):
        find(str(tmp_path / "latin.toml"))
    profile = Profile("x", "y", find("ufs4").parameters, held_out=HeldOut(0.1, 0.2))
    with pytest.raises(UsageError, match="cannot be written"):
        write(tmp_path / "no" / "such.toml", profile)
