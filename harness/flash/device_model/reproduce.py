"""The published I/O latencies of "LLM in a flash" (arXiv 2312.11514) beside those of the device model.

A prediction comes from what is known without the figure it is set against: the geometry of a model, and 6.10 GB/s, the
throughput of long reads in the same ablation. A consistency check uses bytes and throughputs of the same table: it says
that the table agrees with itself, not that the model is good. The document prints four I/O latencies for OPT 6.7B with
everything on, each under other conditions: only the ablation's is set against the ablation's bytes.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Literal

from harness.flash.device_model.profile import find
from harness.flash.device_model.throughput import Limits, throughput

Kind = Literal["prediction", "consistency check"]

PROFILE = "apple-m1-max"
BYTES_A_WEIGHT = 2
ROW_BYTES = 8192  # a row of OPT 6.7B: 4096 weights of 16 bits; a bundle is two
HYBRID_SHARE = 0.5  # of the weights stay in DRAM (arXiv 2312.11514, section 4)


@dataclass(frozen=True)
class Geometry:
    """What of a decoder is read for a token. `keys` is the width of keys and of values (less than `width` where heads
    share them), `matrices` the number of feed-forward matrices of a block, 3 where there is a gate.
    """

    source: str
    layers: int
    width: int
    keys: int
    inner: int
    matrices: int
    vocabulary: int

    @property
    def bytes_a_token(self) -> int:
        """Bytes of all weights but the input embedding, of which a token needs one row. Biases and norms, less than
        0.1 % of it, are left out.
        """
        attention = 2 * self.width * (self.width + self.keys)
        block = attention + self.matrices * self.width * self.inner
        return BYTES_A_WEIGHT * (self.layers * block + self.vocabulary * self.width)


ABLATED = "OPT 6.7B"
ABLATED_GEOMETRY = Geometry("arXiv:2205.01068", 32, 4096, 4096, 16384, 2, 50272)
OTHERS = {
    "Falcon 7B": Geometry("arXiv:2311.16867", 32, 4544, 64, 18176, 2, 65024),
    "Persimmon 8B": Geometry("huggingface.co/adept/persimmon-8b-base", 36, 4096, 4096, 16384, 2, 262144),
    "Phi-2 2.7B": Geometry("huggingface.co/microsoft/phi-2", 32, 2560, 2560, 10240, 2, 51200),
    "Llama 2 7B": Geometry("arXiv:2307.09288", 32, 4096, 4096, 11008, 3, 32000),
}


@dataclass(frozen=True)
class Row:
    """An I/O latency per token: published, and by the model. `basis` says what the model's comes from."""

    model: str
    method: str
    bytes_a_token: float
    bytes_per_s: float
    published_ms: float
    kind: Kind
    basis: str

    @property
    def model_ms(self) -> float:
        """Milliseconds by the model."""
        return self.bytes_a_token / self.bytes_per_s * 1e3

    @property
    def error(self) -> float:
        """Model over published, less one."""
        return self.model_ms / self.published_ms - 1


def reproduce() -> list[Row]:
    """The five rows of the ablation of OPT 6.7B, the naive rows of the other models, and one prediction more: bundling
    from what rows of 8 KiB alone tell.
    """
    limits = find(PROFILE).limits
    return [*ablation(limits), *naive(limits), bundling_from_rows(limits)]


def ablation(limits: Limits) -> list[Row]:
    """The ablation of OPT 6.7B, in the published order."""
    rows = []
    for method, share in (("naive", 1.0), ("hybrid", 1 - HYBRID_SHARE)):
        basis = "geometry, long reads" if share == 1 else f"geometry, {HYBRID_SHARE:.0%} of it in DRAM, long reads"
        size = ABLATED_GEOMETRY.bytes_a_token * share
        rows.append(_row(ABLATED, method, size, limits.bytes_per_s, "prediction", basis))
    for method, read_bytes, basis in (
        ("hybrid + predictor", ROW_BYTES, "published bytes, rows of 8 KiB"),
        ("hybrid + predictor + windowing", ROW_BYTES, "published bytes, rows of 8 KiB"),
        ("hybrid + predictor + windowing + bundling", 2 * ROW_BYTES, "published bytes, bundles of 16 KiB"),
    ):
        size = published(ABLATED, method, "flash_to_dram_transfer") * 1e9
        rate = float(throughput(limits, read_bytes, 1))
        rows.append(_row(ABLATED, method, size, rate, "consistency check", basis))
    return rows


def naive(limits: Limits) -> list[Row]:
    """The naive rows of the other models: all weights, read in one go."""
    return [
        _row(model, "naive", geometry.bytes_a_token, limits.bytes_per_s, "prediction", "geometry, long reads")
        for model, geometry in OTHERS.items()
    ]


def bundling_from_rows(limits: Limits) -> Row:
    """The last row of the ablation without the published throughput of bundles: a fixed cost a read and the bandwidth,
    both known from rows of 8 KiB and long reads.
    """
    rate = published(ABLATED, "hybrid + predictor", "flash_throughput") * 1e9
    fixed = replace(limits, sharpness=1.0, reads_per_s=1 / (ROW_BYTES / rate - ROW_BYTES / limits.bytes_per_s))
    method = "hybrid + predictor + windowing + bundling"
    size = published(ABLATED, method, "flash_to_dram_transfer") * 1e9
    bundles = float(throughput(fixed, 2 * ROW_BYTES, 1))
    return _row(ABLATED, method, size, bundles, "prediction", "published bytes, fixed cost and bandwidth from 8 KiB")


def published(model: str, method: str, metric: str) -> float:
    """The figure of that name in the packaged transcription, in its own unit; the ablation's where both tables have it,
    otherwise the CPU's. Raises LookupError where there is not exactly one.
    """
    text = (files("harness.published") / "llm_in_a_flash.csv").read_text(encoding="utf-8")
    published_rows = [
        row
        for row in csv.DictReader(text.splitlines())
        if (row["model"], row["method"], row["metric"]) == (model, method, metric) and row["device"] in ("", "CPU")
    ]
    published_rows = [row for row in published_rows if row["device"] == ""] or published_rows
    if len(published_rows) != 1:
        raise LookupError(f"{len(published_rows)} published figures of {model}, {method}, {metric}")
    return float(published_rows[0]["value"])


def _row(model: str, method: str, size: float, rate: float, kind: Kind, basis: str) -> Row:
    return Row(model, method, size, rate, published(model, method, "io_latency"), kind, basis)
