"""Programs that were lowered once: in the cache by model, phase and kind of accelerator.

Lowering takes minutes; Vela takes a second. So the TOSA program is stored, with the fake-quantised one for evaluations
and what certification said, and is never made twice.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.durations import OnStep
from harness.targets.npu.configuration import Configuration
from harness.targets.simulated.program_cache import FAKE_QUANT, CachedProgram, cached_program, folder_for

TOSA = "model.tosa"
CODE = ("harness.targets.npu.prepared",)
"""The modules that, with all that they import, decide what is prepared."""
_PACKAGES = ("executorch", "ethos-u-vela", "tosa-tools", "torch", "torchao")


def versions() -> dict[str, str]:
    """What decides the outcome, without importing any of it."""
    return {name: version(name) for name in _PACKAGES}


def prepared(path: Path, sha256: str, phase: str, configuration: Configuration, on_step: OnStep) -> CachedProgram:
    """The lowered program of a phase, made now where it is not there yet. Errors as for `lowering.lower`.

    `on_step` hears of each step of making it. `facts` has the scalars of certification, `text` (whether ranges come
    from real text) and `lowering_cpu_s`.
    """
    folder = folder_for("npu", CODE, versions(), sha256, phase, configuration.tosa)
    return cached_program(folder, lambda scratch: _prepare(path, phase, configuration, scratch, on_step))


def _prepare(path: Path, phase: str, configuration: Configuration, scratch: Path, on_step: OnStep) -> dict[str, Any]:
    on_step("reading the model")
    import torch

    from harness.targets.npu.certification import certify
    from harness.targets.npu.lowering import lower
    from harness.targets.simulated.programs import program, read_archive

    begin = time.process_time()
    chosen = program(path, read_archive(path), phase)
    lowered = lower(chosen, configuration, on_step)
    spent = time.process_time() - begin
    torch.export.save(lowered.fake_quant, scratch / FAKE_QUANT)
    (scratch / TOSA).write_bytes(lowered.tosa)
    on_step("comparing integers with float32")
    return certify(lowered, chosen.held_out) | {"text": chosen.text, "lowering_cpu_s": spent}
