"""Whether a device computes what x86 computes: the outputs of a job against those of the same job on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness import protocol
from harness.errors import HarnessError
from harness.experiment.deviation import deviation
from harness.job import Files, Job
from harness.protocol import Error, Output, Scalar
from harness.scratch import ScratchFolder
from harness.targets.native import build
from harness.targets.native.process import NativeWorker
from harness.targets.transports.local import Local

_LIMIT_S = 600.0
# Under these names for readers, since `deviation` compares a model with its parent.
_NAMES = {"max_abs_difference": "max_abs_difference_x86", "argmax_agreement": "argmax_agreement_x86"}


def agreement(job: Job, files: Files, outputs: Path) -> list[Scalar]:
    """The largest absolute difference and the share of equal argmax, or nulls that say why x86 could not be asked."""
    try:
        return _compared(job, files, outputs)
    except HarnessError as error:
        return [
            Scalar(name=name, value=None, reason=f"x86 could not be asked: {error.message}") for name in _NAMES.values()
        ]


def _compared(job: Job, files: Files, outputs: Path) -> list[Scalar]:
    worker = NativeWorker(Local(), lambda: build.bundle(build.X86_64))
    with ScratchFolder() as folder:
        process = worker.launch(replace(job, cpus=None), replace(files, output=folder))
        try:
            events = [protocol.decode(line) for line in process.lines(_LIMIT_S)]
        finally:
            process.close()
        for event in events:
            if isinstance(event, Error):
                raise HarnessError(event.message, event.todo)
        path = next((event.file for event in events if isinstance(event, Output)), None)
        if path is None:
            raise HarnessError("it left no outputs.")
        scalars = deviation(Path(path), outputs)
    return [replace(scalar, name=_NAMES[scalar.name]) for scalar in scalars if scalar.name in _NAMES]
