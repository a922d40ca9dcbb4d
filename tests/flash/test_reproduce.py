"""The published tables beside the model's: every figure is the transcription's, every error within what is promised."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import pytest

from harness.flash.device_model.reproduce import ABLATED_GEOMETRY, OTHERS, Row, published, reproduce

CHECKOUT = Path(__file__).parents[2] / "results" / "published" / "llm_in_a_flash.csv"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return reproduce()


def test_the_installed_figures_are_those_of_the_repository() -> None:
    installed = (files("harness.published") / CHECKOUT.name).read_text(encoding="utf-8")
    assert installed == CHECKOUT.read_text(encoding="utf-8")


def test_every_published_row_is_met_within_five_percent(rows: list[Row]) -> None:
    *table, _ = rows
    assert [(row.model, row.method) for row in table] == [
        ("OPT 6.7B", "naive"),
        ("OPT 6.7B", "hybrid"),
        ("OPT 6.7B", "hybrid + predictor"),
        ("OPT 6.7B", "hybrid + predictor + windowing"),
        ("OPT 6.7B", "hybrid + predictor + windowing + bundling"),
        ("Falcon 7B", "naive"),
        ("Persimmon 8B", "naive"),
        ("Phi-2 2.7B", "naive"),
        ("Llama 2 7B", "naive"),
    ]
    assert [row.published_ms for row in table] == [2196, 1090, 738, 164, 87, 2295, 2622, 885, 2166]
    for row in table:
        assert abs(row.error) < 0.05, row


def test_what_uses_the_same_row_is_called_a_consistency_check(rows: list[Row]) -> None:
    checks = [row for row in rows if row.kind == "consistency check"]
    assert [row.method.count("+") for row in checks] == [1, 2, 3]
    # They use the row's own bytes and, through the profile, its own throughput.
    for row in checks:
        assert row.bytes_a_token == published(row.model, row.method, "flash_to_dram_transfer") * 1e9
        assert row.bytes_per_s == pytest.approx(published(row.model, row.method, "flash_throughput") * 1e9)


def test_a_prediction_of_bundling_from_rows_alone_is_shown_although_it_is_off(rows: list[Row]) -> None:
    bundling = rows[-1]
    assert bundling.kind == "prediction"
    # 8192 B / 1.25 GB/s = 6.5536 us = t + 8192 / 6.1 GB/s, so 16 KiB take t + 2.6859 us = 7.8965 us: 2.0748 GB/s.
    assert bundling.bytes_per_s == pytest.approx(2.0748e9, rel=1e-4)
    assert bundling.error == pytest.approx(0.2 / 2.0748 * 1e3 / 87 - 1, rel=1e-3)
    assert bundling.error > 0.1


@pytest.mark.parametrize(
    ("model", "parameters", "lookups"),
    [
        # All parameters as their makers count them; what a token only looks up (input embedding, positions).
        ("OPT 6.7B", 6_658_473_984, 2050 * 4096),
        ("Falcon 7B", 6_921_720_704, 0),
        ("Phi-2 2.7B", 2_779_683_840, 51200 * 2560),
        ("Llama 2 7B", 6_738_415_616, 32000 * 4096),
    ],
)
def test_geometry_counts_what_the_makers_count(model: str, parameters: int, lookups: int) -> None:
    geometry = {"OPT 6.7B": ABLATED_GEOMETRY, **OTHERS}[model]
    assert geometry.bytes_a_token / 2 == pytest.approx(parameters - lookups, rel=1e-3)


def test_a_figure_is_found_or_refused() -> None:
    assert published("OPT 6.7B", "naive", "io_latency") == 2196
    # The ablation's, never one of the four others of the same model with everything on.
    assert published("OPT 6.7B", "hybrid + predictor + windowing + bundling", "io_latency") == 87
    assert published("Falcon 7B", "all", "io_latency") == 161
    for wanted in (("OPT 6.7B", "naive", "speed"), ("GPT 9", "naive", "io_latency")):
        with pytest.raises(LookupError, match="0 published figures"):
            published(*wanted)
    with CHECKOUT.open(encoding="utf-8") as file:
        known = {(row["model"], row["method"], row["metric"]) for row in csv.DictReader(file)}
    assert ("OPT 6.7B", "naive", "io_latency") in known
