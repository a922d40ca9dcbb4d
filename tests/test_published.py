"""The published figures: every file has the same tidy columns, a known vocabulary and a source on each row."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / "results" / "published"
FILES = sorted(FOLDER.glob("*.csv"))

COLUMNS = [
    *("paper", "authors_year", "source", "where", "model", "method", "configuration", "dataset", "device"),
    *("metric", "value", "value_high", "qualifier", "unit", "baseline", "kind", "document", "line", "note"),
]
REQUIRED = ["paper", "source", "where", "metric", "value", "unit", "kind"]
# What tells one figure from another; the value is not part of it.
KEY = ["where", "model", "method", "configuration", "dataset", "device", "metric", "baseline", "line"]
KINDS = {"measured", "ratio", "estimate", "specification"}
QUALIFIERS = {"", "up_to", "about", "more_than"}
PERCENT, RATIO, SCORE, COUNT = {"%"}, {"x"}, {"points"}, {"count"}

# Every metric, with the units it may be in.
METRICS: dict[str, set[str]] = {
    # Quality.
    "accuracy": PERCENT,
    "average_accuracy": PERCENT,
    "average_score": SCORE,
    "bits_per_byte": {"bits/byte"},
    "bits_per_character": {"bits/character"},
    "bleu": SCORE,
    "f1": SCORE,
    "generation_score": {"unstated"},
    "gpt4_score": SCORE,
    "perplexity": {"perplexity"},
    "quality_kept": PERCENT,
    "reconstruction_error": {"unstated"},
    "rouge_1": SCORE,
    "rouge_l": SCORE,
    "score_change": PERCENT,
    "task_score": SCORE,
    # Size and sparsity.
    "activated_parameters": {"billion"},
    "activation_ratio": PERCENT,
    "bits_per_weight": {"bits/weight"},
    "bits_per_weight_reduction": PERCENT,
    "compression_ratio": RATIO,
    "memory_reduction": RATIO,
    "memory_saving": PERCENT,
    "model_size": {"GB"},
    "outlier_share": PERCENT,
    "parameter_reduction": PERCENT,
    "parameter_share": PERCENT,
    "parameters": {"count", "million", "billion"},
    "parameters_removed": {"billion"},
    "relative_size": PERCENT,
    "size_reduction": PERCENT,
    "sparsity": PERCENT,
    "trainable_parameter_reduction": RATIO,
    "trainable_parameters": PERCENT,
    "weights_kept": PERCENT,
    # Time, memory and work.
    "compute_change": PERCENT,
    "compute_latency": {"ms"},
    "compute_reduction": PERCENT,
    "decode_speedup": RATIO,
    "decode_speedup_per_block": RATIO,
    "decode_time": {"s"},
    "decode_time_per_block": {"ms", "s"},
    "dram_usage": {"GB"},
    "end_to_end_time": {"h"},
    "flash_throughput": {"GB/s"},
    "flash_to_dram_transfer": {"GB"},
    "generation_throughput": {"tokens/s"},
    "geometric_mean_speedup": RATIO,
    "inference_time": {"s"},
    "inference_time_reduction": PERCENT,
    "io_latency": {"ms"},
    "latency": {"s"},
    "latency_ratio": RATIO,
    "latency_reduction": PERCENT,
    "macs": {"GMACs"},
    "memory": {"MiB"},
    "memory_latency": {"ms"},
    "quantisation_speedup": RATIO,
    "quantisation_time": {"h", "min"},
    "relative_compute": PERCENT,
    "speedup": RATIO,
    "throughput_ratio": RATIO,
    "time_share": PERCENT,
    "total_latency": {"ms"},
    "training_epochs": COUNT,
    # Properties of a device.
    "board_power": {"W"},
    "clock": {"MHz"},
    "cuda_cores": COUNT,
    "die_area": {"mm2"},
    "l2_cache": {"MB"},
    "memory_bandwidth": {"GB/s"},
    "memory_bus_width": {"bits"},
    "memory_capacity": {"GB"},
    "memory_data_rate": {"Gbit/s"},
    "process_node": {"nm"},
    "rops": COUNT,
    "rt_cores": COUNT,
    "streaming_multiprocessors": COUNT,
    "tensor_cores": COUNT,
    "transistors": {"billion"},
}


def read(path: Path) -> pd.DataFrame:
    """Everything as text: an empty field stays empty, and a number stays as it is written."""
    return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def table(request: pytest.FixtureRequest) -> pd.DataFrame:
    return read(request.param)


def everything() -> pd.DataFrame:
    return pd.concat([read(path) for path in FILES], ignore_index=True)


def test_columns(table: pd.DataFrame) -> None:
    assert list(table.columns) == COLUMNS
    assert len(table) > 0


def test_names_its_source(table: pd.DataFrame) -> None:
    for column in REQUIRED:
        empty = table[table[column] == ""]
        assert empty.empty, f"no {column} in rows {list(empty.index)}"
    for column in ("paper", "authors_year", "source"):
        assert table[column].nunique() == 1, f"{column} differs within a file"


def test_identifiers_look_right(table: pd.DataFrame) -> None:
    arxiv = table["source"][table["source"].str.lower().str.startswith("arxiv")]
    assert arxiv.str.fullmatch(r"arXiv:\d{4}\.\d{4,5}").all()
    doi = table["source"][table["source"].str.lower().str.startswith("doi")]
    assert doi.str.fullmatch(r"doi:10\.\d{4,9}/\S+").all()


def test_documents_look_right(table: pd.DataFrame) -> None:
    """A figure that was read in the work itself has neither document nor line."""
    read = table[(table["document"] != "") | (table["line"] != "")]
    assert len(read) in (0, len(table))
    assert read["document"].str.fullmatch(r"\d{3}_[0-9a-f]{16}\.txt").all()
    assert read["line"].str.fullmatch(r"[1-9]\d*").all()


def test_numbers(table: pd.DataFrame) -> None:
    value = pd.to_numeric(table["value"])
    assert value.map(lambda number: abs(number) < float("inf")).all()
    ranges = table[table["value_high"] != ""]
    assert (pd.to_numeric(ranges["value_high"]) > value[ranges.index]).all()


def test_vocabulary(table: pd.DataFrame) -> None:
    unknown = set(table["metric"]) - METRICS.keys()
    assert not unknown
    wrong = [
        (metric, unit)
        for metric, unit in zip(table["metric"], table["unit"], strict=True)
        if unit not in METRICS[metric]
    ]
    assert not wrong
    assert set(table["kind"]) <= KINDS
    assert set(table["qualifier"]) <= QUALIFIERS


def test_one_observation_a_row(table: pd.DataFrame) -> None:
    twice = table[table.duplicated(KEY, keep=False)]
    assert twice.empty, twice[[*KEY, "value"]].to_string()


def test_only_a_ratio_has_a_baseline(table: pd.DataFrame) -> None:
    assert (table.loc[table["baseline"] != "", "kind"] == "ratio").all()


def test_text_is_clean(table: pd.DataFrame) -> None:
    for column in COLUMNS:
        text = table[column]
        assert (text == text.str.strip()).all(), column
        # The documents' own sentences are not copied, nor their markup.
        assert not text.str.contains(r"[一-鿿]|<[a-z/]|\*\*", regex=True).any(), column


def test_files_are_named_for_their_paper() -> None:
    assert FILES, f"no published figures in {FOLDER}"
    assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", path.stem) for path in FILES)
    papers = [read(path)["paper"].iloc[0] for path in FILES]
    assert len(set(papers)) == len(papers)


def test_no_word_of_the_vocabulary_is_unused() -> None:
    table = everything()
    assert set(table["metric"]) == METRICS.keys()
    assert set(table["unit"]) == set[str]().union(*METRICS.values())


def test_flash_ablation_is_complete() -> None:
    """Five steps, from none of the four techniques to all of them, with four figures each."""
    table = read(FOLDER / "llm_in_a_flash.csv")
    steps = table[table["configuration"].str.contains("windowing")]
    figures = steps.pivot(index="configuration", columns="metric", values="value").astype(float)
    assert figures.shape == (5, 4)
    last = figures.loc["hybrid yes; predictor yes; windowing yes; bundling yes"]
    assert last.to_dict() == {
        "dram_usage": 6.5,
        "flash_throughput": 2.25,
        "flash_to_dram_transfer": 0.2,
        "io_latency": 87.0,
    }


def test_flash_latencies_add_up() -> None:
    table = read(FOLDER / "llm_in_a_flash.csv")
    ends = table[table["metric"].isin(["io_latency", "memory_latency", "compute_latency", "total_latency"])]
    ends = ends[ends["configuration"] == ""]
    figures = ends.pivot(index=["model", "method", "device"], columns="metric", values="value").astype(float)
    assert len(figures) == 21
    parts = figures["io_latency"] + figures["memory_latency"] + figures["compute_latency"]
    assert (parts == figures["total_latency"]).all()
