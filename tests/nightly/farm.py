"""A fake device: a session is written to a real store with the figures that were chosen, and no process is started."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from report.conftest import FINGERPRINT, Session

from harness.errors import HarnessError
from harness.experiment.request import RunRequest
from harness.metrics import CATALOGUE, Metric
from harness.nightly.artifacts import keep, kept_file
from harness.nightly.config import NightlyConfig
from harness.nightly.night import run_night
from harness.nightly.nights import Night, begin, end
from harness.nightly.requests import Measured
from harness.nightly.verdict import Pair
from harness.nightly.watch import Watched

METRICS = ("steady_latency_ns_p50", "model_bytes", "loss_nats")
START = datetime(2026, 11, 1, 2, 17, tzinfo=UTC)


def metrics(*names: str) -> tuple[Metric, ...]:
    return tuple(metric for name in names for metric in CATALOGUE if metric.name == name)


@dataclass
class Farm:
    """`file` is the model; `latency_ns`, `losses` say what a file with these bytes takes, `device` by what factor the
    whole device is slower; `noise` is the standard deviation of a process, `weather` that of a night, of all that runs
    in it. `reference` is measured every night where there is one. `asked` are the pairs of each of `reruns`.
    """

    folder: Path
    latency_ns: dict[bytes, float] = field(default_factory=lambda: {b"old": 1e6, b"new": 1.2e6})
    losses: dict[bytes, float] = field(default_factory=dict)
    device: float = 1.0
    noise: float = 0.004
    weather: float = 0.0
    reference: Path | None = None
    processes: int = 2
    fingerprint: Mapping[str, str | None] = field(default_factory=lambda: dict(FINGERPRINT))
    now: datetime = START
    failing: str | None = None
    reruns: list[Pair] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    def __post_init__(self) -> None:
        self.file = self.folder / "model.pte"
        self.file.write_bytes(b"old")
        self.config = NightlyConfig(
            name="nightly.toml",
            sha256="c" * 64,
            request=RunRequest(target="x86", models=[self.file]),
            results=self.folder / "results",
            metrics=metrics(*METRICS),
        )

    def session(self, files: Mapping[str, Path], processes: int, *, quality: bool) -> str:
        """Of these models by name, interleaved."""
        made = Session(uuid.uuid4().hex[:12])
        tonight = self.device * float(np.exp(self.random.normal(0, self.weather)))
        started = {"started_at": self.now, "finished_at": self.now, "date": self.now.date().isoformat()}
        for block in range(processes):
            for name, file in files.items():
                data = file.read_bytes()
                value = self.latency_ns[data] * tonight * np.exp(self.random.normal(0, self.noise))
                common = {"model_sha256": hashlib.sha256(data).hexdigest(), "model_bytes": len(data), **started}
                made.add(
                    name,
                    block,
                    samples={"steady": [int(value)]},
                    scalars={"load_program_ns": value / 10},
                    fingerprint=self.fingerprint,
                    **common,
                )
        for name, file in files.items() if quality else ():
            data = file.read_bytes()
            made.add(
                name,
                measure="quality",
                scalars={"loss_nats": self.losses.get(data, 1.5)},
                data="text",
                data_sha256="d" * 64,
                fingerprint=self.fingerprint,
                model_sha256=hashlib.sha256(data).hexdigest(),
                model_bytes=len(data),
                **started,
            )
        made.write(self.config.results)
        return made.name

    def measure(self) -> Measured:
        if self.failing is not None:
            return Measured(None, failed=True, reason=self.failing)
        files = {"model": self.file}
        if self.reference is not None:
            name = self.config.reference.name if self.config.reference else None
            kept = kept_file(self.config.results, keep(self.config.results, self.reference))
            files[name or kept.stem] = kept  # before nights recorded the name, the sha256 was it
        return Measured(self.session(files, self.processes, quality=True))

    def rerun(self, pair: Pair, pairs: int) -> str:
        self.reruns.append(pair)
        self.asked.append(pairs)
        if self.failing is not None:
            raise HarnessError(self.failing)
        return self.session(dict(zip(pair.names, (pair.good, pair.bad), strict=True)), pairs, quality=False)

    def clock(self) -> datetime:
        return self.now

    def quick(self, nights: int) -> None:
        """Nights that are written and not looked at."""
        for _ in range(nights):
            keep(self.config.results, self.file)
            night: Night = begin(self.config, self.now)
            end(self.config.results, night, self.now, "complete", self.measure().session_id, None)
            self.now += timedelta(days=1)

    def night(self) -> Watched:
        """A whole night, on the day after the last."""
        watched = run_night(self.config, [self.file], self.measure, self.rerun, self.clock)
        self.now += timedelta(days=1)
        return watched

    def nights(self, count: int) -> Watched:
        """So many nights; what the last said, which alone is a whole one: looking takes time."""
        self.quick(count - 1)
        return self.night()
