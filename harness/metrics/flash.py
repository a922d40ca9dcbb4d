"""Of a model whose feed-forward weights lie in flash: what a token waits for, moves, computes and reads."""

from __future__ import annotations

from harness.metrics.derivations import added_loss, hit_rate, per_token, percentile, scalar, share, waits
from harness.metrics.latency import time
from harness.metrics.metric import Metric
from harness.metrics.quality import quality

FLASH = (
    time("decode_io_ns_p50", "waiting for flash per token p50", waits, median_of="decode_io"),
    time("decode_mem_ns_p50", "moving in memory per token p50", percentile("decode_mem", 0.5), median_of="decode_mem"),
    time(
        "decode_compute_ns_p50",
        "computing per token p50",
        percentile("decode_compute", 0.5),
        median_of="decode_compute",
    ),
    Metric(
        "flash_bytes_per_token",
        "flash to DRAM per token",
        "bytes",
        "lower",
        "ratio",
        "latency",
        "Traffic",
        per_token("decode_flash_bytes"),
    ),
    Metric(
        "flash_reads_per_token",
        "reads per token",
        "1",
        "lower",
        "ratio",
        "latency",
        "Traffic",
        per_token("decode_flash_reads"),
    ),
    Metric("flash_hit_rate", "active neurons in DRAM", "1", "higher", None, "latency", "Traffic", hit_rate),
    Metric(
        "dram_bytes", "DRAM, neurons and the rest", "bytes", "lower", "ratio", "memory", "Memory", scalar("dram_bytes")
    ),
    Metric(
        "token_agreement",
        "tokens equal to the full model's",
        "1",
        "higher",
        None,
        "latency",
        "Quality",
        scalar("token_agreement"),
    ),
    Metric(
        "peer_ratio",
        "throughput of its reads over fio's",
        "1",
        "higher",
        None,
        "latency",
        "Traffic",
        scalar("peer_ratio"),
    ),
    quality(
        "missed_neurons",
        "active neurons that predictors miss",
        "1",
        "lower",
        share("predictor_missed", "predictor_active"),
    ),
    quality(
        "vain_neurons",
        "neurons predicted but inactive",
        "1",
        "lower",
        share("predictor_false_alarms", "predictor_predicted"),
    ),
    quality("added_loss_nats", "loss by neurons missed", "nats", "lower", added_loss),
)
