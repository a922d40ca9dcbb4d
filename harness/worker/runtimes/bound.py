"""`.bound` models through hand-written loops for our own language model (`harness.bound`): a yardstick for the others.

To the scenarios such a model is one by ExecuTorch's convention, `forward(tokens, input_pos)`, like its `.pte`: a call
at position 0 begins a new sequence, and the logits of a call's last token are computed. One thread.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError, UsageError
from harness.job import Files, Job
from harness.model_description import cached_generation, find_method
from harness.protocol import Describe, Loaded
from harness.runtime import Execute, LoadedModel, RuntimeCapabilities, RuntimeOption, option_values
from harness.target import Availability

if TYPE_CHECKING:
    from harness.bound.file import BoundFile
    from harness.bound.library import Program

name = "bound"
capabilities = RuntimeCapabilities(
    formats=(".bound",),
    generates=True,
    options=(
        RuntimeOption(
            name="instructions",
            values=("auto", "avx512-vnni", "avx2", "neon-dotprod", "plain"),
            default="auto",
            help="which loops compute; auto takes the fastest that the processor has the instructions for. plain is "
            "for tests, and bounds nothing.",
        ),
    ),
)
_AUTOMATIC = "auto"


def availability() -> Availability:
    """It needs a C compiler, and instructions that it is written for."""
    from harness.bound.library import missing

    lacks = missing()
    return Availability(True) if lacks is None else Availability(False, *lacks)


def start(device: str) -> dict[str, str]:
    """Compile the loops where that has not been done, and what the compiler is."""
    from harness.bound.library import load_library

    return {"bound-compiler": load_library().made_by}


def describe(path: Path) -> Describe:
    """What the header says."""
    from harness.bound.file import read_bound

    return _describe(read_bound(path))


def load(path: Path, job: Job, files: Files) -> LoadedModel:
    """Read the file, and lay its weights out for the loops. Raises ModelError for a damaged one, UsageError for more
    threads than one and for instructions that this processor lacks.
    """
    from harness.bound.file import read_bound
    from harness.bound.library import Program, load_library

    asked = option_values(capabilities, job)["instructions"]
    if job.threads != 1:
        raise UsageError(f"The bound runs on one thread, not on {job.threads}.", "Measure it with --threads 1.")
    library = load_library(None if asked == _AUTOMATIC else asked)
    start_ns = time.perf_counter_ns()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    opened_ns = time.perf_counter_ns()
    program = Program(library, path, content)
    ready_ns = time.perf_counter_ns()
    file = read_bound(path)
    description = _describe(file)
    find_method(description, job.method)
    loaded = Loaded(
        program_ns=opened_ns - start_ns,
        method_ns=ready_ns - opened_ns,
        program_bytes=len(content),
        planned_bytes=None,
        settings={
            "threads": "1",
            "instructions": library.name,
            "weights": ", ".join(f"{kind} x {count}" for kind, count in file.weights.items()),
            "yardstick": "loops for this network alone",
        },
    )
    generation = _Generation(program, file)
    return LoadedModel(
        description,
        loaded,
        generation.execute,
        generation.all_logits if job.measure == "quality" else None,
        file.context,
        arrange=generation.arrange,
    )


def _describe(file: BoundFile) -> Describe:
    """The model by ExecuTorch's convention."""
    facts = {
        "get_vocab_size": file.vocabulary,
        "get_max_seq_len": file.context,
        "get_max_context_len": file.context,
        "get_n_layers": file.layers,
        "use_kv_cache": True,
    }
    return Describe(
        format="bound", methods=[cached_generation(file.context, file.vocabulary)], metadata=facts, delegates=[]
    )


class _Generation:
    """Runs a model. Its cache is the program's."""

    def __init__(self, program: Program, file: BoundFile) -> None:
        self._program, self._file = program, file
        self.execute = self._executed()

    def arrange(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Tokens int32 [1, n] and the position of the first, as tensors of torch, to what `execute` takes: of a step
        the token is written into the tensor once it is known.
        """
        tokens, input_pos = inputs
        tokens = tokens.contiguous()
        count, begin = tokens.shape[1], int(input_pos.reshape(-1)[0])
        if count > self._file.context:
            raise UsageError(
                f"{count} tokens do not fit into the model's context of {self._file.context}.", "Give a shorter prompt."
            )
        return ctypes.c_void_p(tokens.data_ptr()), count, begin, tokens

    def all_logits(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Tokens [1, T] to the logits float32 [1, T, vocabulary] of every position."""
        import numpy as np
        import torch

        tokens = inputs[0].to(torch.int32).contiguous()
        logits = np.empty((1, tokens.shape[1], self._file.vocabulary), np.float32)
        self._program.run(tokens.data_ptr(), tokens.shape[1], 0, True, logits.ctypes.data)
        return [logits]

    def _executed(self) -> Execute:
        import numpy as np

        run = self._program.run
        logits = np.zeros((1, self._file.vocabulary), np.float32)
        address = ctypes.c_void_p(logits.ctypes.data)

        def execute(inputs: Sequence[Any]) -> Sequence[Any]:
            tokens, count, begin, _ = inputs
            run(tokens, count, begin, False, address)
            return [logits.copy()]  # the next call writes to the same place

        return execute
