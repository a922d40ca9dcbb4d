"""`python -m harness.targets.npu.worker [CONFIGURATION]`: what Vela estimates of a model on a configuration.

What it makes is cached (`prepared`): a second run of the same model imports neither torch nor Vela.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from harness import __version__
from harness.job import Files, Job
from harness.protocol import PROTOCOL, Event, Hello, Samples, Scalar
from harness.targets.npu.configuration import Configuration, find
from harness.targets.npu.prepared import TOSA, prepared, versions
from harness.targets.npu.scalars import certified, operators, scalars
from harness.targets.npu.vela import estimate
from harness.targets.npu.vela_ini import memories
from harness.targets.simulated.program_cache import CachedProgram
from harness.targets.simulated.worker import Emit, answer, serve


def _work(job: Job, files: Files, emit: Emit) -> None:
    configuration = find(sys.argv[1] if len(sys.argv) > 1 else None)
    memories(configuration)  # a vela.ini with an error is refused before minutes are spent
    emit(
        Hello(
            protocol=PROTOCOL,
            worker=f"npu {__version__}",
            versions={"python": sys.version.split()[0], **versions(), "configuration": configuration.digest()},
            device={"accelerator": configuration.accelerator, "summary": configuration.summary},
        )
    )
    answer(
        job,
        files,
        emit,
        configuration.name,
        lambda path, sha256, phase, on_step: prepared(path, sha256, phase, configuration, on_step),
        lambda phase, made: _estimate(phase, made, configuration),
    )


def _estimate(phase: str, made: CachedProgram, configuration: Configuration) -> Iterator[Event]:
    tosa = made.folder / TOSA
    vela, areas = estimate(tosa, configuration), memories(configuration)
    yield Samples(phase=phase, start_ns=[0], duration_ns=[vela.duration_ns])
    yield from scalars(phase, vela, configuration, areas, tosa.read_bytes())
    yield from certified(phase, made)
    yield Scalar(name="calibrated_on_text", value=float(made.facts["text"]), phase=phase)
    yield from operators(phase, vela, areas.clock_hz)


if __name__ == "__main__":
    serve(_work)
