"""The warm start after a cold one: the same file, loaded and asked once in one more new process, when the pages that
the first has read are still in memory.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.children import ending_with_us
from harness.errors import WorkerError
from harness.job import Files, Job, request_json
from harness.protocol import Error, Event, Io, Loaded, Samples, Scalar, decode

PHASE = "warm"


def warm_start(job: Job, files: Files, arguments: Sequence[str] = ()) -> Iterator[Event]:
    """What a second process says of its load and its first inference, as scalars of phase `warm`, and of its reads.
    `arguments` are those that this worker was started with.

    Raises WorkerError where it fails, though the first has just done the same.
    """
    once = replace(
        job, scenario="single-stream", min_iterations=1, min_duration_s=0.0, max_duration_s=0.0, max_warmup_s=0.0
    )
    command = (sys.executable, "-P", "-m", "harness.worker", *arguments)
    ended = subprocess.run(
        command,
        input=request_json(once, files) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=ending_with_us(),
    )
    events = [decode(line) for line in ended.stdout.splitlines()]
    if not any(isinstance(event, Samples) and event.phase == "first" for event in events):
        why = next((event.message for event in events if isinstance(event, Error)), "The second load gave no reason.")
        raise WorkerError("worker", f"The second, warm start failed after a cold one. {why}", "Run it again.")
    for event in events:
        match event:
            case Loaded():
                yield Scalar(name="load_program_ns", value=event.program_ns, phase=PHASE)
                yield Scalar(name="load_method_ns", value=event.method_ns, phase=PHASE)
            case Samples(phase="first", duration_ns=[duration, *_]):
                yield Scalar(name="first_inference_ns", value=duration, phase=PHASE)
            case Io(phase="load"):
                yield replace(event, phase="warm_load")
            case _:
                pass
