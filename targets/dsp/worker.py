"""`python -m harness.targets.dsp.worker [PROFILE]`: what a cycle model says of a model on a profile.

What it makes is cached (`prepared`): a second run of the same model, on any profile of the variant, imports no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from harness import __version__
from harness.job import Files, Job
from harness.protocol import PROTOCOL, Event, Hello, Samples, Scalar
from harness.targets.dsp.prepared import prepared, versions, works_of
from harness.targets.dsp.profile import Profile, find
from harness.targets.dsp.scalars import REASONS, check_memory, operators, scalars
from harness.targets.simulated.program_cache import CachedProgram
from harness.targets.simulated.worker import Emit, answer, certification_scalars, serve


def _work(job: Job, files: Files, emit: Emit) -> None:
    profile = find(sys.argv[1] if len(sys.argv) > 1 else None)
    emit(
        Hello(
            protocol=PROTOCOL,
            worker=f"dsp {__version__}",
            versions={"python": sys.version.split()[0], **versions(), "profile": profile.digest},
            device={"profile": profile.summary, "calibration": profile.calibration},
        )
    )
    answer(
        job,
        files,
        emit,
        profile.name,
        lambda path, sha256, phase, on_step: prepared(path, sha256, phase, profile.cpu, on_step),
        lambda phase, made: _estimate(job.model, phase, made, profile),
    )


def _estimate(model: str, phase: str, made: CachedProgram, profile: Profile) -> Iterator[Event]:
    works, arena, program = works_of(made), made.facts["arena_bytes"], made.facts["program_bytes"]
    check_memory(f"{model} ({phase})", arena, program, profile)
    figures = scalars(phase, works, arena, program, profile)
    total = next(scalar.value for scalar in figures if scalar.name == "cycles") or 0.0
    yield Samples(phase=phase, start_ns=[0], duration_ns=[max(1, round(total / profile.clock_hz * 1e9))])
    yield from figures
    yield from certification_scalars(phase, made.facts["certified"], REASONS)
    yield Scalar(name="lowering_cpu_s", value=made.facts["lowering_cpu_s"], phase=phase)
    yield Scalar(name="calibrated_on_text", value=float(made.facts["text"]), phase=phase)
    yield from operators(phase, works, profile)


if __name__ == "__main__":
    serve(_work)
