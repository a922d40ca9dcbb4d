"""The reads of a job of the flash scenario, for a worker elsewhere: each sequence is generated once, the first twice.

From its second time on a sequence begins with the neurons that the one before it has left in DRAM. Only of the first
sequence that changes what is read: the others follow one another from the beginning.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.flash import recording
from harness.flash.engine import Stages, Step, generate
from harness.flash.layout import NeuronFile
from harness.flash.policies import Policy
from harness.flash.recording import Recorder
from harness.flash.selector import Selector
from harness.job import Job
from harness.manifest import sha256_file
from harness.protocol import Output
from harness.worker.flash import opened

FILE = "reads.safetensors"


def record(
    job: Job,
    policy: Policy,
    stages: Stages,
    file: NeuronFile,
    chooser: Selector,
    neurons: tuple[int, ...],
    sequences: npt.NDArray[np.int64],
    folder: Path,
) -> Output:
    """Run the engine as the job has it, `neurons` from `flash_rehearsal.room_for` and `sequences` int64 [sequences,
    prompt], and leave what it reads in `folder`. Raises what the engine raises.
    """
    recorder = Recorder()
    with opened(job, policy, stages, file, chooser, neurons, recorder.through) as ready:

        def one(token: int, position: int) -> Step:
            done = ready.one(token, position)
            recorder.token(done)
            return done

        for prompt in (*sequences, sequences[0]):
            for _ in generate(one, prompt, job.new_tokens or 1):
                pass
    dram = {name: getattr(ready, name) for name in ("arena_bytes", "kept_bytes", "dram_bytes")}
    recording.save(folder / FILE, recorder, file, file.arena_slots(sum(neurons)), dram)
    return Output(file=str(folder / FILE), sha256=sha256_file(folder / FILE))
