"""Every metric of the catalogue on small tables, against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from harness.metrics import CATALOGUE, SECTIONS
from harness.metrics.load import LOAD
from harness.store.dataset import Tables
from harness.store.schemas import RUNS, SAMPLES, SCALARS

METRICS = {metric.name: metric for metric in CATALOGUE}

# Attempts a and b of two processes: durations a phase, in nanoseconds.
DURATIONS: dict[str, dict[str, list[int]]] = {
    "a": {
        "first": [900],
        "warmup": [700, 800],
        "prefill": [100, 200],
        "decode": [10, 20, 30, 40],
        "ttft": [110, 230],
        "generate": [400, 500],
        "steady": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        "decode_io": [1, 2, 3, 10],
        "decode_read": [1, 2, 3, 10],
        "decode_mem": [1, 1, 1, 3],
        "decode_compute": [8, 9],
        "multi_stream": [70, 90],
        "prefill_device": [80, 90],
        "decode_device": [7, 8, 30],
        "batch_device": [60],
    },
    "b": {"first": [500], "decode": [20, 20], "steady": [7], "decode_io": [0, 0], "steady_device": [5, 6]},
}
# Attempt f has samples enough for every percentile of a table: 1, 2, ... 1001.
DURATIONS["f"] = {phase: list(range(1, 1002)) for phase in ("prefill", "decode", "steady", "multi_stream")}
# Attempt d was emulated: instructions a phase, and no duration.
INSTRUCTIONS = {
    "load": [50],
    "first": [41],
    "prefill": [30, 34],
    "decode": [4, 5, 6, 7],
    "steady": [9],
    "batch": [20, 22],
}
CLASSES = ("load_store", "branch", "simd_fp", "fmla_f32", "dot_i8", "mmla_i8")
COUNTED = ("prefill", "decode", "steady", "batch")
# Attempt e was simulated: scalars a phase.
ESTIMATED = ("prefill", "decode", "steady")
ESTIMATES = (
    "cycles",
    "npu_cycles",
    "float32_cycles",
    "float32_operators",
    "fitted_share",
    "counted_share",
    "assumed_share",
    "held_out_error",
    *(f"{memory}_{name}" for memory in ("sram", "dram", "flash") for name in ("cycles", "traffic_bytes", "used_bytes")),
    "weight_bytes",
    "encoded_weight_bytes",
    "mac_utilisation",
    "macs",
    "roofline_ns",
    *(f"vela_over_roofline_{kind}" for kind in ("linear", "matmul", "other")),
    "tosa_sqnr_db",
    "tosa_argmax_agreement",
    "cmsis_nn_sqnr_db",
    "cmsis_nn_argmax_agreement",
    "fake_quant_argmax_agreement",
    "fake_quant_within_1_lsb",
    "fake_quant_max_lsb",
    "certified_elements",
    "out_of_range",
)
WEIGHTS = ("weight_bytes", "encoded_weight_bytes")
SIMULATION = tuple(
    name
    for name in ESTIMATES
    if name not in WEIGHTS and not name.endswith(("cycles", "traffic_bytes", "used_bytes", "roofline_ns"))
)
SCALAR_ROWS: list[tuple[str, str, str | None, float | None]] = [
    ("a", "load_program_ns", None, 100.0),
    ("a", "load_method_ns", None, 50.0),
    ("b", "load_program_ns", None, 100.0),
    ("a", "load_program_ns", "warm", 30.0),
    ("a", "load_method_ns", "warm", 10.0),
    ("a", "first_inference_ns", "warm", 400.0),
    ("a", "planned_bytes", None, 4096.0),
    ("b", "planned_bytes", None, None),
    ("a", "cache_bytes", None, 512.0),
    ("a", "mean_squared_error", None, 0.0625),
    ("a", "rss_bytes", "runtime", 60.0),
    ("a", "energy_j", "generate", 12.0),
    ("a", "net_energy_j", "generate", 3.0),
    ("a", "power_w", "generate", 30.0),
    ("a", "energy_resolution_j", "generate", 0.25),
    ("a", "idle_power_w", None, 22.5),
    ("c", "energy_j", "batch", 9.0),
    ("c", "net_energy_j", "batch", 6.0),
    ("b", "energy_j", "steady", None),
    ("a", "peak_rss_bytes", "runtime", 500.0),
    ("a", "peak_rss_bytes", "load", 200.0),
    ("a", "peak_rss_bytes", "steady", 180.0),
    ("b", "peak_rss_bytes", "load", 300.0),
    ("a", "peak_allocated_bytes", "load", 40.0),
    ("a", "peak_allocated_bytes", "steady", 70.0),
    ("b", "peak_allocated_bytes", "steady", None),
    ("a", "peak_reserved_bytes", "first", 96.0),
    ("a", "peak_reserved_bytes", "steady", 64.0),
    ("a", "device_bytes", "runtime", 512.0),
    ("a", "device_bytes", "steady", 600.0),
    ("a", "loss_nats", None, 2.0),
    ("b", "loss_nats", None, None),
    ("a", "predicted_tokens", None, 10.0),
    ("a", "predicted_bytes", None, 25.0),
    ("a", "predicted_words", None, 5.0),
    ("a", "max_abs_difference", None, 0.25),
    ("a", "sqnr_db", None, -3.0),
    ("a", "argmax_agreement", None, 0.75),
    ("a", "accuracy_top1", None, 0.625),
    ("a", "accuracy_top5", None, None),
    ("b", "accuracy_top5", None, 0.875),
    ("a", "labelled_samples", None, 16.0),
    ("a", "decode_flash_bytes", None, 800.0),
    ("b", "decode_flash_bytes", None, 0.0),
    ("a", "decode_flash_reads", None, 6.0),
    ("a", "decode_active_neurons", None, 40.0),
    ("a", "decode_hits", None, 30.0),
    ("a", "dram_bytes", None, 7000.0),
    ("a", "token_agreement", None, 1.0),
    ("a", "whole_loss_nats", None, 1.875),
    ("a", "peer_ratio", None, 0.875),
    ("b", "peer_ratio", None, None),
    ("a", "predictor_active", None, 400.0),
    ("a", "predictor_missed", None, 50.0),
    ("a", "predictor_predicted", None, 500.0),
    ("a", "predictor_false_alarms", None, 150.0),
    ("d", "max_abs_difference_x86", None, 0.5),
    ("d", "argmax_agreement_x86", None, 0.875),
    *(
        ("d", f"instructions_{kind}", phase, 10.0 * i + j)
        for i, phase in enumerate(COUNTED)
        for j, kind in enumerate(CLASSES)
    ),
    *(("e", name, phase, 100.0 * i + j) for i, phase in enumerate(ESTIMATED) for j, name in enumerate(ESTIMATES)),
]
EXPECTED: dict[str, dict[str, float]] = {
    "prefill_latency_ns_p50": {"a": 150.0, "f": 501.0},
    "decode_latency_ns_p50": {"a": 25.0, "b": 20.0, "f": 501.0},
    # Beyond the median a percentile takes samples enough, which a and b have not.
    **{
        f"{phase}_latency_ns_{name}": {"f": value}
        for phase in ("prefill", "decode", "steady", "multi_stream")
        for name, value in (("p90", 901.0), ("p99", 991.0))
    },
    "decode_latency_ns_p999": {},
    # Two answers of 900 ns, 400 of which the model executed, six tokens in all.
    "sampling_ns_per_token": {"a": 500 / 6},
    "ttft_ns_p50": {"a": 170.0},
    "decode_tokens_per_s": {"a": 4 / 100e-9, "b": 2 / 40e-9, "f": 1001 / 501_501e-9},
    "prefill_tokens_per_s": {"a": 2 * 8 / 300e-9},
    "steady_latency_ns_p50": {"a": 6.0, "b": 7.0, "f": 501.0},
    "prefill_device_ns_p50": {"a": 85.0},
    "decode_device_ns_p50": {"a": 8.0},
    "steady_device_ns_p50": {"b": 5.5},
    "batch_device_ns_p50": {"a": 60.0},
    # The peaks of a process are the greatest of its phases'.
    "peak_allocated_bytes": {"a": 70.0},
    "peak_reserved_bytes": {"a": 96.0},
    "device_bytes": {"a": 600.0},
    "multi_stream_latency_ns_p50": {"a": 80.0, "f": 501.0},
    "warm_load_ns": {"a": 40.0},
    "warm_first_inference_ns": {"a": 400.0},
    # Servers and sustained load have tables of their own, in test_metrics_load.py.
    **{metric.name: {} for metric in LOAD if not metric.name.startswith("multi_stream")},
    # c: three batches of four, from 1,000 to 1,700 ns, the gap between the second and the third included.
    "samples_per_s": {"c": 12 / 700e-9},
    # u: two executes from 1,000 to 2,500 ns, of a model whose batch is not known.
    "queries_per_s": {"u": 2 / 1500e-9},
    "load_ns": {"a": 150.0},
    "load_program_ns": {"a": 100.0, "b": 100.0},
    "load_method_ns": {"a": 50.0},
    "first_inference_ns": {"a": 900.0, "b": 500.0},
    "peak_rss_bytes": {"a": 500.0, "b": 300.0},
    # The peak before loading is not the model's.
    "peak_over_idle_bytes": {"a": 140.0},
    "load_over_idle_bytes": {"a": 140.0},
    "first_over_idle_bytes": {},
    "steady_over_idle_bytes": {"a": 120.0},
    "cache_bytes": {"a": 512.0},
    "planned_bytes": {"a": 4096.0},
    # Two answers, whose four steps of decoding follow one token each.
    "joules_per_token": {"a": 2.0},
    "net_joules_per_token": {"a": 0.5},
    "joules_per_query": {"c": 3.0},
    "net_joules_per_query": {"c": 2.0},
    "power_w": {"a": 30.0},
    "idle_power_w": {"a": 22.5},
    "energy_j": {"a": 12.0, "c": 9.0},
    "energy_resolution_j": {"a": 0.25},
    "model_bytes": {"a": 1000.0, "b": 1000.0, "c": 2000.0},
    "parameters": {"a": 250.0},
    "bits_per_weight": {"a": 4.25},
    "bits_per_weight_stored": {"a": 8.0},
    "weights_bytes": {"a": 640.0},
    "loss_nats": {"a": 2.0},
    "perplexity": {"a": math.exp(2.0)},
    "bits_per_byte": {"a": 2.0 * 10 / 25 / math.log(2)},
    "word_perplexity": {"a": math.exp(2.0 * 10 / 5)},
    "recorded_loss_nats": {"a": 1.5},
    "max_abs_difference": {"a": 0.25},
    "sqnr_db": {"a": -3.0},
    "argmax_agreement": {"a": 0.75},
    "accuracy_top1": {"a": 0.625},
    "accuracy_top5": {"b": 0.875},
    "mean_squared_error": {"a": 0.0625},
    "labelled_samples": {"a": 16.0},
    # b waited for nothing, and read nothing.
    "decode_io_ns_p50": {"a": 2.5},
    "decode_mem_ns_p50": {"a": 1.0},
    "decode_compute_ns_p50": {"a": 8.5},
    "flash_bytes_per_token": {"a": 200.0},
    "flash_reads_per_token": {"a": 1.5},
    "flash_hit_rate": {"a": 0.75},
    "dram_bytes": {"a": 7000.0},
    "token_agreement": {"a": 1.0},
    "peer_ratio": {"a": 0.875},
    "missed_neurons": {"a": 0.125},
    "vain_neurons": {"a": 0.3},
    "added_loss_nats": {"a": 0.125},
    "load_instructions": {"d": 50.0},
    "first_instructions": {"d": 41.0},
    "prefill_instructions": {"d": 32.0},
    "decode_instructions": {"d": 5.5},
    "steady_instructions": {"d": 9.0},
    "batch_instructions": {"d": 21.0},
    **{
        f"{phase}_instructions_{kind}": {"d": 10.0 * i + j}
        for i, phase in enumerate(COUNTED)
        for j, kind in enumerate(CLASSES)
    },
    **{
        f"{phase}_{name}": {"e": 100.0 * i + j} for i, phase in enumerate(ESTIMATED) for j, name in enumerate(ESTIMATES)
    },
    "max_abs_difference_x86": {"d": 0.5},
    "argmax_agreement_x86": {"d": 0.875},
}


def frame(rows: list[dict[str, Any]], schema: pa.Schema) -> pd.DataFrame:
    """As the store's reader makes it, with the types of the schema."""
    table: pd.DataFrame = pa.Table.from_pylist(rows, schema=schema).to_pandas()
    return table


@pytest.fixture(scope="module")
def tables() -> Tables:
    samples: list[tuple[str, str, int, int, int]] = []
    for attempt, phases in DURATIONS.items():
        for phase, durations in phases.items():
            for i, duration in enumerate(durations):
                samples.append((attempt, phase, i, 1000 * i, duration))
    samples += [("c", "batch", 0, 1000, 200), ("c", "batch", 1, 1200, 200), ("c", "batch", 2, 1500, 200)]
    samples += [("u", "batch", 0, 1000, 500), ("u", "batch", 1, 2000, 500)]
    keys = ("attempt_id", "phase", "iteration", "start_ns", "duration_ns")
    known = {
        "parameters": 250,
        "bits_per_weight": 4.25,
        "bits_per_weight_stored": 8.0,
        "weights_bytes": 640,
        "recorded_loss_nats": 1.5,
    }
    runs: list[dict[str, Any]] = [
        {"attempt_id": "a", "prompt_tokens": 8, "batch": 1, "model_bytes": 1000, **known},
        {"attempt_id": "b", "prompt_tokens": None, "batch": 1, "model_bytes": 1000},
        {"attempt_id": "c", "prompt_tokens": None, "batch": 4, "model_bytes": 2000},
        {"attempt_id": "u", "prompt_tokens": None, "batch": None},
    ]
    counted = [
        {"attempt_id": "d", "phase": phase, "iteration": i, "start_ns": i, "instructions": count}
        for phase, counts in INSTRUCTIONS.items()
        for i, count in enumerate(counts)
    ]
    scalars = [dict(zip(("attempt_id", "name", "phase", "value"), row, strict=True)) for row in SCALAR_ROWS]
    return Tables(
        frame(runs, RUNS),
        frame([*(dict(zip(keys, row, strict=True)) for row in samples), *counted], SAMPLES),
        frame(scalars, SCALARS),
    )


@pytest.mark.parametrize("name", sorted(METRICS))
def test_one_value_a_process_as_worked_out_by_hand(name: str, tables: Tables) -> None:
    found = METRICS[name].per_process(tables)
    assert found.to_dict() == pytest.approx(EXPECTED[name])


@pytest.mark.parametrize("name", sorted(METRICS))
def test_empty_tables_give_no_values(name: str) -> None:
    empty = Tables(frame([], RUNS), frame([], SAMPLES), frame([], SCALARS))
    assert METRICS[name].per_process(empty).to_dict() == {}


def test_every_metric_is_tested_and_named_once() -> None:
    assert len(METRICS) == len(CATALOGUE)
    assert set(METRICS) == set(EXPECTED)


def test_units_stand_in_the_names() -> None:
    marks = {"ns": "_ns", "bytes": "_bytes", "tokens/s": "tokens_per_s", "samples/s": "samples_per_s"}
    marks |= {"queries/s": "queries_per_s", "J": "_j", "W": "_w"}
    marks |= {"nats": "_nats", "dB": "_db", "bits": "bits_", "instructions": "_instructions", "cycles": "cycles"}
    for metric in CATALOGUE:
        if metric.unit != "1":
            assert marks[metric.unit] in metric.name.replace("joules", "_j"), metric.name


def test_size_holds_sizes_and_what_is_said_of_a_simulation_stands_apart() -> None:
    def names(section: str) -> set[str]:
        return {metric.name for metric in CATALOGUE if metric.section == section}

    phases = {f"{phase}_" for phase in ESTIMATED}
    files = {"model_bytes", "parameters", "bits_per_weight", "bits_per_weight_stored", "weights_bytes"}
    assert names("Size") == files | {f"{phase}{name}" for phase in phases for name in WEIGHTS}
    assert names("Simulation") == {f"{phase}{name}" for phase in phases for name in SIMULATION}
    moved = {f"{phase}{memory}_traffic_bytes" for phase in phases for memory in ("sram", "dram", "flash")}
    assert names("Traffic") == moved | {
        "flash_bytes_per_token",
        "flash_reads_per_token",
        "flash_hit_rate",
        "peer_ratio",
    }
    assert {metric.section for metric in CATALOGUE} == set(SECTIONS)


def test_what_is_compared_has_a_direction() -> None:
    for metric in CATALOGUE:
        assert metric.compare is None or metric.better is not None, metric.name


def test_a_loss_beyond_the_range_of_floats_is_no_error(tables: Tables) -> None:
    scalars = frame([{"attempt_id": "a", "name": "loss_nats", "value": 1e4}], SCALARS)
    found = METRICS["perplexity"].per_process(Tables(tables.runs, tables.samples, scalars))
    assert found.to_dict() == {"a": math.inf}
