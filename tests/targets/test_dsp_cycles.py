"""The cycle model: its anchors, what was fitted and what was held out, profiles of one's own, and memory."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ModelError, UsageError
from harness.target import find_target
from harness.targets.dsp.anchors import anchors, held_out_error
from harness.targets.dsp.cycles import Work, by_evidence, cycles
from harness.targets.dsp.profile import KINDS, Profile, find, names
from harness.targets.dsp.scalars import check_memory, operators, scalars

M55 = find("cortex-m55")
SHIPPED = Path(__file__).parents[2] / "targets" / "dsp" / "cortex-m55.toml"
WORKS = (
    Work(operator="quantized_linear", kind="linear", outputs=64, inner=128, macs=8192, weight_bytes=8448),
    Work(operator="native_layer_norm", kind="portable", outputs=64, activation_bytes=512, float32=True),
    Work(operator="quantize_per_tensor", kind="quantize", outputs=64, activation_bytes=320),
)


def rows(use: str, kind: str) -> list[dict[str, str]]:
    assert M55.anchors is not None
    with M55.anchors.open(newline="") as file:
        return [row for row in csv.DictReader(file) if (row["use"], row["kind"]) == (use, kind)]


def test_the_rates_of_1x1_convolutions_are_those_that_two_published_rows_determine() -> None:
    fitted = rows("fit", "pointwise")
    vectors = [[1.0, np.ceil(int(row["inner"]) / 16)] for row in fitted]
    output, vector = np.linalg.solve(vectors, [int(row["cycles"]) / int(row["outputs"]) for row in fitted])
    for kind in ("pointwise", "conv2d"):
        assert M55.classes[kind].output == pytest.approx(output, rel=1e-3)
        assert M55.classes[kind].vector == pytest.approx(vector, rel=1e-3)


def test_rows_that_were_fitted_are_met_and_rows_held_out_within_a_twentieth() -> None:
    """The published cycles are on the right; nothing here was fitted to rows 5, 7, 9 and 10."""
    found = {each.row: each for each in anchors(M55)}
    assert {row: each.held_out for row, each in found.items()} == {row: row in (5, 7, 9, 10) for row in range(2, 11)}, (
        "both kinds are there"
    )
    for each in found.values():
        assert each.ratio == pytest.approx(1.0, abs=0.05 if each.held_out else 1e-3), each.row
    worst = max(abs(found[row].ratio - 1) for row in (5, 7, 9, 10))
    assert held_out_error(M55) == worst > 0.03, "a model of two numbers cannot be exact"


def test_the_anchors_work_is_that_of_mobilenet_s_layers() -> None:
    """Elements and products from the shapes: 10,838,016 products in the first convolution, whose window is 3x3x3."""
    by_row = {each.row: each.work for each in anchors(M55)}
    assert by_row[3].outputs * by_row[3].inner == 10_838_016
    assert by_row[3].gathered == 112 * 112 * 27
    assert by_row[10].outputs * by_row[10].inner == 4_064_256
    assert by_row[6].outputs == 96 * 112 * 112


def test_a_sum_that_begins_a_vector_pays_for_all_of_it() -> None:
    rate = M55.classes["linear"]
    costs = [cycles(Work(operator="x", kind="linear", outputs=10, inner=n), M55) for n in (1, 16, 17, 32)]
    assert costs[0] == costs[1] == pytest.approx(10 * (rate.output + rate.vector))
    assert costs[2] == costs[3] == pytest.approx(10 * (rate.output + 2 * rate.vector))


def test_every_class_says_its_source_and_what_it_rests_on() -> None:
    for name in names():
        profile = find(name)
        assert set(profile.classes) == set(KINDS)
        assert all(rate.source for rate in profile.classes.values())
    assert {kind for kind, rate in M55.classes.items() if rate.evidence == "fitted"} == {
        each.work.kind for each in anchors(M55)
    }, "what has no anchor is not called fitted"


def test_a_profile_without_anchors_is_uncalibrated_and_has_no_error() -> None:
    profile = find("vliw8")
    assert profile.calibration == "uncalibrated"
    assert anchors(profile) == []
    found = {scalar.name: scalar for scalar in scalars("decode", WORKS, 100, 100, profile)}
    assert (found["held_out_error"].value, found["held_out_error"].reason) == (None, "uncalibrated")
    assert found["fitted_share"].value == 0
    assert found["assumed_share"].value == 1
    assert "cycles uncalibrated" in find_target("dsp", device="vliw8").summary


def test_shares_of_evidence_and_float32_are_told_apart() -> None:
    found = {scalar.name: scalar.value for scalar in scalars("decode", WORKS, 4096, 9000, M55)}
    linear, norm, quantize = (cycles(work, M55) for work in WORKS)
    assert found["cycles"] == pytest.approx(linear + norm + quantize)
    assert found["float32_cycles"] == pytest.approx(norm)
    assert found["float32_operators"] == 1
    assert found["counted_share"] == pytest.approx(linear / (linear + norm + quantize))
    assert found["mac_utilisation"] == pytest.approx(8192 / (linear + norm + quantize) / 8)
    assert (found["sram_used_bytes"], found["flash_used_bytes"]) == (4096, 9000)
    assert (found["sram_traffic_bytes"], found["flash_traffic_bytes"]) == (832, 8448)
    assert sum(by_evidence(WORKS, M55).values()) == pytest.approx(linear + norm + quantize)


def test_operators_in_float32_are_listed_as_such() -> None:
    listed = {row.operator: row.delegate for row in operators("decode", WORKS, M55)}
    assert listed == {
        "decode quantized_linear": "int8, rate counted",
        "decode native_layer_norm": "float32, rate assumed",
        "decode quantize_per_tensor": "int8, rate fitted",
    }


def test_a_program_that_does_not_fit_is_refused_with_the_bytes_that_it_lacks() -> None:
    small = replace(M55, sram_bytes=1000, flash_bytes=5000)
    check_memory("m", 1000, 5000, small)
    with pytest.raises(ModelError, match=r"arena of m needs 1,234 bytes.*1,000 bytes of SRAM: 234 bytes short"):
        check_memory("m", 1234, 5000, small)
    with pytest.raises(ModelError, match=r"program of m needs 5,001 bytes.*5,000 bytes of flash: 1 bytes short"):
        check_memory("m", 1, 5001, small)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("clock_hz = 400e6", "clock_hz = 0", "clock_hz is 0"),
        ("sram_bytes = 4_194_304", 'sram_bytes = "much"', "sram_bytes is 'much'"),
        ("vector = 9.02", "vector = -1", "classes.linear.vector is -1"),
        ("vector = 9.02", "vector = nan", "classes.linear.vector is nan"),
        ("[classes.softmax]", "[classes.soft]", "lacks classes.softmax"),
        (
            "[classes.softmax]",
            "[classes.extra]\noutput = 1\nevidence='assumed'\nsource=''\n[classes.softmax]",
            "'extra'",
        ),
        ('evidence = "counted"', 'evidence = "measured"', "classes.linear.evidence is 'measured'"),
        ("lanes = 16", "lanes = 0", "lanes is 0"),
        ('cpu = "M55"', "colour = 3", "colour"),
        ("summary = ", "summary ", "is not TOML"),
    ],
)
def test_a_wrong_profile_says_what_is_wrong(tmp_path: Path, old: str, new: str, what: str) -> None:
    text = SHIPPED.read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=r"is not a readable profile|is not TOML") as caught:
        find(str(tmp_path / "mine.toml"))
    assert what in caught.value.message


def test_one_s_own_profile_is_found_by_its_path(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    text = SHIPPED.read_text().replace('anchors = "mobilenet_v2_m55.csv"\n', "")
    mine.write_text(text.replace("clock_hz = 400e6", "clock_hz = 160e6"))
    profile: Profile = find(str(mine))
    assert (profile.name, profile.clock_hz) == ("mine", 160e6)
    assert profile.digest != M55.digest


def test_an_unknown_profile_is_answered_with_the_list() -> None:
    with pytest.raises(UsageError, match="no configuration 'm99'") as caught:
        find_target("dsp", device="m99")
    assert all(name in caught.value.hint for name in names())


def test_without_the_extra_the_target_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    import harness.targets.simulated.target as module

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", version)
    state = find_target("dsp").availability()
    assert not state.available
    assert "pip install 'edge-harness[dsp]'" in state.todo


def test_the_table_of_anchors_is_printed() -> None:
    command = [sys.executable, "-m", "harness.targets.dsp.anchors"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=SHIPPED.parent).stdout
    assert "13,754,047" in said
    assert "greatest error on held-out rows: 3.9%" in said
