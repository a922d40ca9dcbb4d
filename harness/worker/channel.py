"""The worker's way to its harness: events on the real standard output, everything else on standard error; and what a
worker says last when something was raised.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TextIO

from harness import protocol
from harness.errors import HarnessError, ModelError, UsageError
from harness.job import Job
from harness.protocol import Error
from harness.worker import onnxruntime_errors, openvino_errors
from harness.worker.executorch_errors import explain
from harness.worker.executorch_log import failed_operator, printed

# As torch says it of a GPU, of cuBLAS and of the host's memory, and as ONNX Runtime does; none of them has a type of
# its own for all.
_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory", "Failed to allocate memory")
# ExecuTorch has no kernel of this operator for these numbers, whatever their values are.
_NO_KERNEL = "Unhandled dtype"
_ANOTHER_DTYPE = (
    "Export the model so that this operator gets a dtype that ExecuTorch has a kernel for: convert the input to "
    "float32 or int32 before it goes in, or lower that part to a delegate."
)


class LoadError(Exception):
    """What a runtime raised, its cause, while it loaded a model: no input was given to it yet."""


class Channel:
    """Writes events. Once it is open, file descriptor 1 leads to standard error: what libraries print (torchao and
    the native runtimes do) cannot break the stream.
    """

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)

    def emit(self, event: protocol.Event) -> None:
        """Write one event at once. Raises BrokenPipeError when the harness is gone."""
        self._out.write(protocol.encode(event) + "\n")
        self._out.flush()


def failure(error: Exception, job: Job | None) -> Error:
    """The last event of a worker in which `error` was raised. Of kind `model`, `usage` or `worker` where harness raised
    it; else `memory`, with the batch that was too large, or `runtime`, with what ExecuTorch's error number means and
    with a traceback on standard error.

    Inputs that harness made are a likely cause, so that the hint says how to give others.
    """
    if isinstance(error, HarnessError):
        kind = {ModelError: "model", UsageError: "usage"}.get(type(error), "worker")
        return Error(kind=kind, message=error.message, todo=error.hint)
    traceback.print_exception(error)
    loading = isinstance(error, LoadError)
    if isinstance(error, LoadError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    what = "load" if loading else "run"
    line = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, MemoryError) or any(words in str(error) for words in _MEMORY):
        batch = f" at batch {job.batch}" if job is not None and job.batch is not None else ""
        return Error(
            kind="memory",
            message=f"The worker ran out of memory{batch}{': ' if line else ''}{line}".rstrip(".") + ".",
            todo="Free memory, or give a smaller --batch.",
        )
    known = explain(line) if "error 0x" in line else None
    if known is not None:
        meaning, todo = known
        message = f"The model failed to {what}: {meaning}."
        if (failed := failed_operator(printed())) is not None:
            operator, cause = failed
            message = f"The model failed to {what}: the operator {operator} failed: {cause.rstrip(': .')}."
            if cause.startswith(_NO_KERNEL):
                return Error(kind="runtime", message=message, todo=_ANOTHER_DTYPE)
    else:
        cause = _cause(error, line)
        message = f"The model failed to {what}: {cause}".strip().rstrip(".:") + "."
        todo = "`harness report` shows what the runtime printed."
        if loading:
            todo = f"Export it again with the version of the runtime that is installed here; {todo}"
    if not loading and job is not None and job.measure != "describe" and job.inputs_sha256 is None:
        message += " Its inputs were made by harness from their declared dtypes and sizes."
        if "--inputs" not in todo:
            todo = f"If it needs others, give them with --inputs; {todo[:1].lower()}{todo[1:]}"
    return Error(kind="runtime", message=message, todo=todo)


def _cause(error: Exception, line: str) -> str:
    """What an exception that a runtime raised says, without the places in its source; `line` is its first."""
    if onnxruntime_errors.NAME in line:
        return onnxruntime_errors.shortened(str(error))
    if openvino_errors.is_openvino(line):
        return openvino_errors.shortened(str(error))
    return f"{type(error).__name__}: {line}"
