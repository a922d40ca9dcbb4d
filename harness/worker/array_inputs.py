"""The inputs of one execute as arrays of numpy, made in a process of their own: `make_inputs` needs torch, and a
process whose memory is measured imports it only where the model's runtime does.

Importing torch leaves glibc's malloc in another state: freed blocks of up to 32 MiB stay with the process from then on
(M_MMAP_THRESHOLD in mallopt(3)), which made ONNX Runtime's memory over idle up to 6 MB more than that of a process
without torch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError, UsageError, WorkerError
from harness.job import Files, Job, parse_request, request_json
from harness.protocol import Describe, decode, encode

_ARRAYS, _ANSWER = "inputs.npz", "answer.json"


def inputs_as_arrays(job: Job, files: Files, description: Describe) -> tuple[Any, ...]:
    """What `make_inputs` gives, its tensors as arrays. Raises UsageError as it does, WorkerError where the process
    ends otherwise.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "harness.worker.array_inputs", str(folder)],
            input=f"{request_json(job, files)}\n{encode(description)}\n",
            stdout=sys.stderr.fileno(),
            text=True,
            check=False,
        )
        if ended.returncode:
            raise WorkerError(
                "worker",
                f"The process that makes inputs ended with exit code {ended.returncode}.",
                "`harness report` shows what it printed.",
            )
        answer = json.loads((folder / _ANSWER).read_text())
        if "error" in answer:
            raise UsageError(*answer["error"])
        with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
            return tuple(
                arrays[str(place)] if str(place) in arrays.files else value
                for place, value in enumerate(answer["values"])
            )


def touch_numpy() -> None:
    """Make the calls that inputs and next tokens need, whose first ones import parts of numpy and take memory: the
    worker's, and no model's.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _ARRAYS
        np.savez(path, a=np.random.default_rng(0).integers(0, 2, (1, 2)))
        with np.load(path, allow_pickle=False) as arrays:
            np.asarray(arrays["a"], dtype=np.int32).reshape(-1, 2)[-1].argmax()


def main() -> None:
    """Make the inputs of the job and the description in the two lines of standard input."""
    import torch

    from harness.worker.inputs import make_inputs

    folder = Path(sys.argv[1])
    job, files = parse_request(sys.stdin.readline())
    description = decode(sys.stdin.readline())
    assert isinstance(description, Describe)
    try:
        inputs = make_inputs(job, description, files.inputs)
    except HarnessError as error:
        (folder / _ANSWER).write_text(json.dumps({"error": [error.message, error.hint]}))
        return
    tensors = {str(place): each for place, each in enumerate(inputs) if isinstance(each, torch.Tensor)}
    np.savez(folder / _ARRAYS, allow_pickle=False, **{place: tensor.numpy() for place, tensor in tensors.items()})
    values = [None if str(place) in tensors else each for place, each in enumerate(inputs)]
    (folder / _ANSWER).write_text(json.dumps({"values": values}))


if __name__ == "__main__":
    main()
