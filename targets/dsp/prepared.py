"""Programs that were lowered once: in the cache by model, phase and the variant of CMSIS-NN.

Lowering takes up to minutes; what the operators cost on a profile is then arithmetic.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.durations import OnStep
from harness.targets.dsp.cycles import Work
from harness.targets.simulated.program_cache import FAKE_QUANT, CachedProgram, cached_program, folder_for

CODE = ("harness.targets.dsp.prepared",)
"""The modules that, with all that they import, decide what is prepared."""
_PACKAGES = ("executorch", "torch", "torchao")


def versions() -> dict[str, str]:
    """What decides the outcome, without importing any of it."""
    return {name: version(name) for name in _PACKAGES}


def prepared(path: Path, sha256: str, phase: str, cpu: str, on_step: OnStep) -> CachedProgram:
    """The lowered program of a phase, made now where it is not there yet.

    `on_step` hears of each step of making it. `facts` has `certified` (scalars), `works`, `program_bytes`,
    `arena_bytes`, `lowering_cpu_s`, and `text`: whether ranges come from real text. Raises ModelError for an operator
    without a cycle model.
    """
    folder = folder_for("dsp", CODE, versions(), sha256, phase, cpu)
    return cached_program(folder, lambda scratch: _prepare(path, phase, cpu, scratch, on_step))


def works_of(made: CachedProgram) -> list[Work]:
    """The operators of a lowered program."""
    return [Work(**work) for work in made.facts["works"]]


def _prepare(path: Path, phase: str, cpu: str, scratch: Path, on_step: OnStep) -> dict[str, Any]:
    on_step("reading the model")
    import torch

    from harness.targets.dsp.integers import Integers, output_steps
    from harness.targets.dsp.lowering import lower
    from harness.targets.dsp.operators import works
    from harness.targets.simulated.certification import compare
    from harness.targets.simulated.programs import program, read_archive

    begin = time.process_time()
    chosen = program(path, read_archive(path), phase)
    lowered = lower(chosen, cpu, on_step)
    spent = time.process_time() - begin
    torch.export.save(lowered.fake_quant, scratch / FAKE_QUANT)
    fake_quant = lowered.fake_quant.module(check_guards=False)
    steps = output_steps(lowered.integers)
    integers = Integers(lowered.integers)
    on_step("comparing integers with float32")
    return {
        "certified": compare("cmsis_nn", chosen.held_out, lowered.float32, fake_quant, integers.run, steps),
        "works": [asdict(work) for work in works(lowered.integers)],
        "program_bytes": lowered.program_bytes,
        "arena_bytes": lowered.arena_bytes,
        "text": chosen.text,
        "lowering_cpu_s": spent,
    }
