"""The reads of a job of the flash scenario, for a worker elsewhere: each sequence is generated once, the first twice.

From its second time on a sequence begins with the neurons that the one before it has left in DRAM. Only of the first
sequence that changes what is read: the others follow one another from the beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.flash.io.layout import NeuronFile
from harness.flash.language_model import recording
from harness.flash.language_model.engine import Step, generate
from harness.flash.language_model.recording import Recorder
from harness.job import Job
from harness.manifest import sha256_file
from harness.protocol import Output

FILE = "reads.safetensors"


def record(
    job: Job,
    recorder: Recorder,
    token_step: Callable[[int, int], Step],
    file: NeuronFile,
    slots: int,
    dram: dict[str, int],
    sequences: npt.NDArray[np.int64],
    folder: Path,
) -> Output:
    """Generate `sequences` int64 [sequences, prompt] with `token_step`, whose reads of `file` into an arena of `slots`
    go through `recorder`, and leave them in `folder`; `dram` as for `recording.save`. Raises what the engine raises.
    """

    def recorded(token: int, position: int) -> Step:
        done = token_step(token, position)
        recorder.token(done)
        return done

    for prompt in (*sequences, sequences[0]):
        for _ in generate(recorded, prompt, job.new_tokens or 1):
            pass
    recording.save(folder / FILE, recorder, file, slots, dram)
    return Output(file=str(folder / FILE), sha256=sha256_file(folder / FILE))
