"""What a runtime raised, as the last word of a worker."""

from __future__ import annotations

from harness.job import Job
from harness.protocol import Error
from harness.worker.executorch_errors import explain
from harness.worker.executorch_log import failed_operator, printed

# As torch says it of a GPU, of cuBLAS, and of the host's memory; none of them has a type of its own for all.
_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")
# ExecuTorch has no kernel of this operator for these numbers, whatever their values are.
_NO_KERNEL = "Unhandled dtype"
_ANOTHER_DTYPE = (
    "Export the model so that this operator gets a dtype that ExecuTorch has a kernel for: convert the input to "
    "float32 or int32 before it goes in, or lower that part to a delegate."
)


def failure(error: Exception, job: Job | None) -> Error:
    """Kind `memory`, with the batch that was too large, or `runtime`, with what ExecuTorch's error number means.

    Inputs that harness made are a likely cause, so that the user is told how to give others.
    """
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
        what, todo = known
        message = f"The model failed to run: {what}."
        if (failed := failed_operator(printed())) is not None:
            operator, cause = failed
            message = f"The model failed to run: the operator {operator} failed: {cause.rstrip(': .')}."
            if cause.startswith(_NO_KERNEL):
                return Error(kind="runtime", message=message, todo=_ANOTHER_DTYPE)
    else:
        message = f"The model failed to run: {type(error).__name__}: {line}".strip().rstrip(".:") + "."
        todo = "`harness report` shows what the runtime printed."
    if job is not None and job.measure != "describe" and job.inputs_sha256 is None:
        message += " Its inputs were made by harness from their declared dtypes and sizes."
        if "--inputs" not in todo:
            todo = f"If it needs others, give them with --inputs; {todo[:1].lower()}{todo[1:]}"
    return Error(kind="runtime", message=message, todo=todo)
