"""Hand-made tables: a session in which every number is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from harness.store.dataset import Tables
from harness.store.schemas import RUNS, SAMPLES, SCALARS, TABLES
from harness.store.writer import write_attempt

# Of 31 decoded tokens each: enough for p99 of a token, but not for p90 of an answer.
ANSWERS = 22
START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
FINGERPRINT = {
    "cpu_model": "Test CPU",
    "system": "Linux 6.1.0",
    "frequency_governor": None,
    "version.executorch": "1.5.0",
}


@dataclass
class Session:
    """Collects runs; `tables` gives them as the store's reader does."""

    name: str = "20261122-100000-abcdef"
    runs: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    scalars: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        model: str,
        block: int = 0,
        *,
        measure: str = "latency",
        samples: Mapping[str, Sequence[int]] | None = None,
        scalars: Mapping[str, float | str | tuple[str, float]] | None = None,
        fingerprint: Mapping[str, Any] = FINGERPRINT,
        flags: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> str:
        """One attempt. A scalar given as text is the reason for a null; a key `name@phase` belongs to a
        phase.
        """
        position = len(self.runs)
        attempt = f"{self.name}-{position:03d}"
        text = json.dumps(fingerprint, sort_keys=True)
        row: dict[str, Any] = dict.fromkeys([*RUNS.names, "date", "target"])
        row |= {
            "attempt_id": attempt,
            "job_id": f"{model}/{measure}/{block}/{sorted(columns.items())}",
            "session_id": self.name,
            "series_id": f"{model}/{measure}",
            "position": position,
            "started_at": START + timedelta(seconds=10 * position),
            "finished_at": START + timedelta(seconds=10 * position + 8),
            "status": "ok",
            "worker": "python",
            "latency_kind": "measured",
            "device": "cpu",
            "model": model,
            "model_sha256": model.encode().hex().ljust(64, "0")[:64],
            "scenario": "single-stream",
            "measure": measure,
            "block": block,
            "threads": 1,
            "compile": False,
            "batch": 1,
            "job_json": json.dumps(dict(options or {})),
            "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16],
            "fingerprint_json": text,
            "flags": list(flags),
            "harness_version": "0.1.0",
            "harness_commit": "0123456789abcdef",
            "date": "2026-11-22",
            "target": "x86",
        }
        row |= columns
        self.runs.append(row)
        clock = 0
        for phase, durations in (samples or {}).items():
            for iteration, duration in enumerate(durations):
                self.samples.append(
                    {
                        "attempt_id": attempt,
                        "phase": phase,
                        "iteration": iteration,
                        "start_ns": clock,
                        "duration_ns": duration,
                        "instructions": None,
                    }
                )
                clock += duration
        for key, value in (scalars or {}).items():
            name, _, phase = key.partition("@")
            self.scalars.append(
                {
                    "attempt_id": attempt,
                    "name": name,
                    "phase": phase or None,
                    "value": None if isinstance(value, str) else value,
                    "reason": value if isinstance(value, str) else None,
                }
            )
        return attempt

    def tables(self) -> Tables:
        keys = pa.schema([*RUNS, ("date", pa.string()), ("target", pa.string())])
        runs, samples, scalars = (
            pa.Table.from_pylist(rows, schema=schema).to_pandas()
            for rows, schema in ((self.runs, keys), (self.samples, SAMPLES), (self.scalars, SCALARS))
        )
        return Tables(runs, samples, scalars)

    def write(self, results: Path, **others: list[dict[str, Any]]) -> None:
        """Store all attempts; `others` are rows of further tables by name."""
        rows = {"samples": self.samples, "scalars": self.scalars, **others}
        for run in self.runs:
            tables = {"runs": pa.Table.from_pylist([run], schema=RUNS)}
            for name, found in rows.items():
                mine = [row for row in found if row["attempt_id"] == run["attempt_id"]]
                tables[name] = pa.Table.from_pylist(mine, schema=TABLES[name])
            write_attempt(results, run["date"], run["target"], tables)


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def make_session() -> Callable[[str], Session]:
    return Session


@pytest.fixture
def generated() -> Session:
    """Two language models, five interleaved blocks, a memory pass each, quality measured for one and recorded
    for the other.
    """
    made = Session()
    common: dict[str, Any] = {
        "scenario": "generate",
        "prompt_tokens": 64,
        "new_tokens": 32,
        "threads": 2,
        "cpus": "2,3",
    }
    # Blocks drift by up to 8 %, both models alike; the second is nearly twice as fast in every block.
    drift = (1.00, 1.02, 1.05, 1.08, 1.04)
    noise = {"gpt-fp32": (1.000, 1.012, 0.991, 1.004, 0.997), "gpt-4bit": (1.003, 0.988, 1.009, 1.001, 0.994)}
    models = (("gpt-fp32", 1.0, 43_205_000, 32.0, 1.47), ("gpt-4bit", 0.54, 7_310_400, 4.25, 1.4912))
    for block, factor in enumerate(drift):
        for model, speed, size, bits, recorded in models if block % 2 == 0 else models[::-1]:
            jitter = noise[model][block]
            decode = int(2_000_000 * factor * speed * jitter)
            flags = ["load_high"] if model == "gpt-4bit" and block in (1, 3) else []
            made.add(
                model,
                block,
                flags=[*flags, "temperature_unknown"],
                model_bytes=size,
                bits_per_weight=bits,
                parameters=10_788_929,
                recorded_loss_nats=recorded,
                method="self-compression",
                **common,
                scalars={
                    "load_program_ns": int(900_000 * factor),
                    "load_method_ns": int(21_000_000 * speed * jitter),
                },
                samples={
                    "first": [decode * 40],
                    "warmup": [decode * 48] * 4,
                    "generate": [decode * 47] * ANSWERS,
                    "prefill": [int(decode * 16 * (1 + 0.001 * (i % 5))) for i in range(ANSWERS)],
                    "ttft": [decode * 17] * ANSWERS,
                    "decode": [decode + 2000 * (i % 9) for i in range(ANSWERS * 31)],
                },
            )
    for model, speed, size, _, recorded in models:
        made.add(
            model,
            0,
            measure="memory",
            recorded_loss_nats=recorded,
            **common,
            scalars={
                "rss_bytes@runtime": 61_000_000,
                "peak_rss_bytes@runtime": 61_000_000,
                "peak_rss_bytes@load": 61_000_000 + 2 * size,
                "peak_rss_bytes@steady": 70_000_000 + size * (1 + speed),
                "planned_bytes": 4_212_000,
            },
        )
    made.add(
        "gpt-fp32",
        0,
        measure="quality",
        data="tiny-shakespeare",
        data_sha256="86c4e6aa9db7" + "0" * 52,
        scalars={"loss_nats": 1.4689},
        **common,
        recorded_loss_nats=1.47,
    )
    made.add(
        "gpt-4bit",
        0,
        measure="quality",
        **common,
        recorded_loss_nats=1.4912,
        scalars={"loss_nats": "the evaluation text is not at hand"},
    )
    return made
