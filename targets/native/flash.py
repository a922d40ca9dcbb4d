"""What the native worker needs for the flash scenario: the neurons, and the reads of a run of the engine on this
machine, in a Python worker, as the job has it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from harness import protocol
from harness.errors import WorkerError
from harness.flash.ablation.policies import named
from harness.flash.language_model.files import BUILD, neurons_path
from harness.job import Files, Job, request_json
from harness.protocol import Error, Output
from harness.scenarios.catalogue import SCENARIOS
from harness.targets.transports.local import LocalProcess

_LIMIT_S = 600.0
# What the reads of a model depend on.
_DECIDING = (
    *("prompt_tokens", "new_tokens", "seed", "prompts_sha256"),
    *("window", "dram_budget_bytes", "policy", "predictor"),
)


def in_flash(job: Job) -> bool:
    """Whether the native worker has to be given reads."""
    return job.scenario in SCENARIOS and SCENARIOS[job.scenario].in_flash and job.measure not in ("describe", "quality")


def reads_of(job: Job, files: Files, folder: Path) -> dict[str, Path]:
    """Files for the fields `neurons` and `reads` of the worker's request. Reads are recorded once for all jobs that
    differ in nothing that decides them, and stay in the folder `folder`. Raises WorkerError with what the recording
    said.
    """
    neurons = neurons_path(Path(files.model), "bundled" if named(job.policy or "").bundled else "plain")
    deciding = Job(
        target=job.target,
        model=job.model,
        model_sha256=job.model_sha256,
        scenario=job.scenario,
        measure="reads",
        reader="threads",
        depth=1,
        **{name: getattr(job, name) for name in _DECIDING},
    )
    path = folder / f"{deciding.job_id}.safetensors"
    if not path.exists():
        os.replace(_recorded(deciding, replace(files, output=str(folder))), path)
    if not neurons.exists():
        raise WorkerError("model", f"{neurons} is gone.", BUILD)
    return {"neurons": neurons, "reads": path}


def _recorded(job: Job, files: Files) -> str:
    process = LocalProcess(
        [sys.executable, "-P", "-m", "harness.worker"], request_json(job, files), {"OMP_NUM_THREADS": "1"}
    )
    try:
        for event in map(protocol.decode, process.lines(_LIMIT_S)):
            if isinstance(event, Error):
                raise WorkerError(event.kind, event.message, event.todo)
            if isinstance(event, Output):
                return event.file
    finally:
        process.close()
    raise WorkerError("ended", "The reads were not recorded: the worker ended without its last word.", "Run it again.")
