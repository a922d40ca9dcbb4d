"""`.pte` programs through ExecuTorch's C++ runtime and its Python bindings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import ModelError, UsageError
from harness.job import Job
from harness.protocol import Describe, Loaded
from harness.worker.model import Model
from harness.worker.pte import MethodHeader, read_methods

# Numbers of c10::ScalarType, which the bindings return.
_DTYPES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
    15: "bfloat16",
}
ALL_LOGITS = "forward_all_logits"


def versions() -> dict[str, str]:
    """Import all that the runtime itself needs, so that loading a model is charged for the model alone; name and
    version.
    """
    from importlib.metadata import version

    _bindings()
    return {"executorch": version("executorch")}


def describe(path: Path) -> Describe:
    """What the program says of itself; runs nothing but its constant methods."""
    headers = read_methods(path)
    return _describe(_open(path), headers)


def load(path: Path, job: Job) -> Model:
    """Open the program and prepare `forward` (or its only method), on `job.threads` threads.

    Raises ModelError when the file is damaged or needs a delegate that this build of ExecuTorch lacks.
    """
    headers = read_methods(path)
    _check_delegates(path, headers)
    # Before load_method: resetting the pool of a loaded delegate corrupts the heap.
    _bindings()._unsafe_reset_threadpool(job.threads)
    start_ns = time.perf_counter_ns()
    program = _open(path)
    opened_ns = time.perf_counter_ns()
    header = _main_method(path, headers)
    method = _load_method(path, program, header.name)
    ready_ns = time.perf_counter_ns()
    description = _describe(program, headers)
    model = Model(
        description,
        Loaded(
            program_ns=opened_ns - start_ns,
            method_ns=ready_ns - opened_ns,
            program_bytes=path.stat().st_size,
            planned_bytes=header.planned_bytes,
        ),
        method,
    )
    if job.measure != "quality" or not any(h.name == ALL_LOGITS for h in headers):
        return model
    window = program.method_meta(ALL_LOGITS).input_tensor_meta(0).sizes()[1]
    return Model(description, model.loaded, method, _load_method(path, program, ALL_LOGITS), window)


def load_stages(path: Path, threads: int) -> tuple[Describe, Loaded, list[Any]]:
    """Every method that is no constant, in the order of the file, each of a program of its own: methods of one loaded
    program share their planned memory, and so the state that one keeps is overwritten by the next.

    Raises ModelError as `load` does.
    """
    headers = read_methods(path)
    _check_delegates(path, headers)
    _bindings()._unsafe_reset_threadpool(threads)
    start_ns = time.perf_counter_ns()
    description = _describe(_open(path), headers)
    programs = [_open(path) for _ in description.methods]
    opened_ns = time.perf_counter_ns()
    names = [method["name"] for method in description.methods]
    methods = [_load_method(path, program, name) for program, name in zip(programs, names, strict=True)]
    ready_ns = time.perf_counter_ns()
    loaded = Loaded(
        program_ns=opened_ns - start_ns,
        method_ns=ready_ns - opened_ns,
        program_bytes=path.stat().st_size,
        planned_bytes=sum(method["planned_bytes"] for method in description.methods),
    )
    return description, loaded, methods


def _bindings() -> Any:
    """The compiled bindings alone. `executorch.runtime` would be the public door, but it imports the whole exporter
    (5 s), which no worker needs; torch must come first, since the bindings link against its libraries.
    """
    import torch  # noqa: F401
    from executorch.extension.pybindings import _C

    return _C


def _open(path: Path) -> Any:
    try:
        return _bindings()._load_program(str(path))
    except RuntimeError as error:
        raise ModelError(
            f"ExecuTorch refuses {path}: {_first_line(error)}.", "Export it again with this version of ExecuTorch."
        ) from error


def _load_method(path: Path, program: Any, name: str) -> Any:
    try:
        return program.load_method(name)
    except RuntimeError as error:
        raise ModelError(
            f"ExecuTorch cannot load method {name!r} of {path}: {_first_line(error)}.",
            "Its standard error names the operator or the delegate; export it again for this version.",
        ) from error


def _main_method(path: Path, headers: Sequence[MethodHeader]) -> MethodHeader:
    runnable = [header for header in headers if header.operators or header.delegates]
    for header in runnable:
        if header.name == "forward":
            return header
    if len(runnable) == 1:
        return runnable[0]
    raise UsageError(
        f"{path} has no method `forward` (it has {', '.join(h.name for h in headers) or 'none'}).",
        "Export the method to be measured as `forward`.",
    )


def _check_delegates(path: Path, headers: Sequence[MethodHeader]) -> None:
    here = set(_bindings()._get_registered_backend_names())
    if missing := sorted({name for header in headers for name in header.delegates} - here):
        raise ModelError(
            f"{path} needs the delegate {', '.join(missing)}, which this build of ExecuTorch lacks "
            f"(it has {', '.join(sorted(here))}).",
            "Run it on a target that has the delegate, or export it for XNNPACK.",
        )


def _describe(program: Any, headers: Sequence[MethodHeader]) -> Describe:
    methods, metadata = [], {}
    for header in headers:
        meta = program.method_meta(header.name)
        if header.operators == 0 and not header.delegates and meta.num_inputs() == 0:
            values = program.load_method(header.name)([])
            metadata[header.name] = values[0] if len(values) == 1 else list(values)
        else:
            methods.append(
                {
                    "name": header.name,
                    "planned_bytes": header.planned_bytes,
                    "delegates": list(header.delegates),
                    "inputs": [_tensor(meta, "input", i) for i in range(meta.num_inputs())],
                    "outputs": [_tensor(meta, "output", i) for i in range(meta.num_outputs())],
                }
            )
    names = sorted({name for header in headers for name in header.delegates})
    return Describe(format="pte", methods=methods, metadata=metadata, delegates=names)


def _tensor(meta: Any, side: str, index: int) -> dict[str, Any]:
    try:
        tensor = getattr(meta, f"{side}_tensor_meta")(index)
    except RuntimeError:
        return {"dtype": "none", "sizes": []}  # an int or a bool, not a tensor
    return {"dtype": _DTYPES.get(tensor.dtype(), f"dtype {tensor.dtype()}"), "sizes": list(tensor.sizes())}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
