"""`.pte` programs through ExecuTorch's C++ runtime and its Python bindings."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.job import Files, Job
from harness.model_description import FORWARD, find_method
from harness.protocol import Describe, Loaded
from harness.runtime import LoadedModel, RuntimeCapabilities
from harness.worker.executorch_errors import explain
from harness.worker.operator_libraries import register

if TYPE_CHECKING:
    from harness.worker.runtimes.pte import MethodHeader

name = "executorch"
# The second is what ExecuTorch's exporter calls it where nobody chooses a name.
WEIGHTS = ("{stem}.ptd", "_default_external_constant.ptd")
capabilities = RuntimeCapabilities(
    formats=(".pte",), distributions=("executorch",), weights=WEIGHTS, generates=True, planned_bytes=True
)

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
    27: "uint16",
    28: "uint32",
    29: "uint64",
}
ALL_LOGITS = "forward_all_logits"
# A constant that is a tensor is shown with its values up to so many.
_SHOWN_ELEMENTS = 64


def start(device: str) -> dict[str, str]:
    """Import the bindings, so that loading a model is charged for the model alone."""
    _bindings()
    return {}


def prepare(path: Path) -> None:
    """Load the libraries of the operators that a program calls beyond the core set, which are no part of the model:
    their time and memory are the runtime's. Raises ModelError naming an operator that there is nowhere.
    """
    from harness.worker.runtimes.pte import read_methods

    called = {operator for header in read_methods(path) for operator in header.operators}
    register(called)
    if missing := sorted(called - set(_bindings()._get_operator_names())):
        raise ModelError(
            f"{path} calls {', '.join(missing)}, which ExecuTorch's libraries do not have.",
            "Export the model without it: as an operator of the core set, or lowered to a delegate.",
        )


def describe(path: Path) -> Describe:
    """What the program says of itself; runs nothing but its constant methods."""
    from harness.worker.runtimes.pte import read_methods

    headers = read_methods(path, counted=True)
    return _describe(_open(path), headers)


def load(path: Path, job: Job, files: Files) -> LoadedModel:
    """Open the program, with its weights of `files.data` where they lie in a file of their own, and prepare the method
    `job.method` (None: `forward`, or the only one) on `job.threads` threads.

    Raises ModelError when a file is damaged or missing, or when the program needs a delegate or an operator that this
    build of ExecuTorch lacks.
    """
    from harness.worker.runtimes.pte import read_methods

    headers = read_methods(path)
    _check_delegates(path, headers)
    if files.data is None and any(header.external for header in headers):
        raise ModelError(
            f"The weights of {path.name} are in a .ptd file of their own.",
            "Give it with --data-file, or put it next to the program under the same name (model.pte, model.ptd).",
        )
    # Before load_method: resetting the pool of a loaded delegate corrupts the heap.
    _bindings()._unsafe_reset_threadpool(job.threads)
    start_ns = time.perf_counter_ns()
    program = _open(path, files.data)
    opened_ns = time.perf_counter_ns()
    wanted = _main_method(headers, job.method)
    method = _load_method(path, program, wanted)
    ready_ns = time.perf_counter_ns()
    description = _describe(program, headers)
    sizes = [path.stat().st_size, *([Path(files.data).stat().st_size] if files.data else [])]
    model = LoadedModel(
        description,
        Loaded(
            program_ns=opened_ns - start_ns,
            method_ns=ready_ns - opened_ns,
            program_bytes=sum(sizes),
            planned_bytes=next(header.planned_bytes for header in headers if header.name == wanted),
            settings={
                "threads": str(_bindings()._threadpool_get_thread_count()),
                "delegates": " ".join(next(header.delegates for header in headers if header.name == wanted)) or "none",
                "delegates_of_build": " ".join(sorted(_bindings()._get_registered_backend_names())) or "none",
            },
        ),
        method,
    )
    if job.measure != "quality" or wanted != FORWARD or not any(h.name == ALL_LOGITS for h in headers):
        return model
    window = program.method_meta(ALL_LOGITS).input_tensor_meta(0).sizes()[1]
    return replace(model, all_logits=_load_method(path, program, ALL_LOGITS), window=window)


def load_stages(path: Path, threads: int) -> tuple[Describe, Loaded, list[Any]]:
    """Every method that is no constant, in the order of the file, each of a program of its own: methods of one loaded
    program share their planned memory, and so the state that one keeps is overwritten by the next.

    Raises ModelError as `load` does.
    """
    from harness.worker.runtimes.pte import read_methods

    prepare(path)
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


def _open(path: Path, data: str | None = None) -> Any:
    try:
        return _bindings()._load_program(str(path), data_path=data)
    except RuntimeError as error:
        raise ModelError(
            f"ExecuTorch refuses {path}: {_first_line(error)}.", "Export it again with this version of ExecuTorch."
        ) from error


def _load_method(path: Path, program: Any, name: str) -> Any:
    try:
        return program.load_method(name)
    except RuntimeError as error:
        what, todo = explain(str(error)) or (_first_line(error), "`harness report` shows what ExecuTorch printed.")
        raise ModelError(f"ExecuTorch cannot load method {name!r} of {path}: {what}.", todo) from error


def _main_method(headers: Sequence[MethodHeader], wanted: str | None) -> str:
    runnable: list[dict[str, Any]] = [{"name": header.name} for header in headers if not header.constant]
    constants = {header.name: None for header in headers if header.constant}
    return str(find_method(Describe(format="pte", methods=runnable, metadata=constants, delegates=[]), wanted)["name"])


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
        if header.constant:
            values = [_constant(value) for value in program.load_method(header.name)([])]
            metadata[header.name] = values[0] if len(values) == 1 else values
        else:
            methods.append(
                {
                    "name": header.name,
                    "planned_bytes": header.planned_bytes,
                    "delegates": list(header.delegates),
                    **({"operators": header.counts} if header.counts else {}),
                    "inputs": [_value(meta, "input", i, known) for i, known in enumerate(header.inputs)],
                    "outputs": [_value(meta, "output", i, known) for i, known in enumerate(header.outputs)],
                }
            )
    names = sorted({name for header in headers for name in header.delegates})
    external = any(header.external for header in headers)
    return Describe(format="pte", methods=methods, metadata=metadata, delegates=names, external_data=external)


def _constant(value: Any) -> Any:
    """What a constant method returns, as JSON: a tensor as its values, or where they are many as its dtype and
    sizes.
    """
    if not hasattr(value, "dtype"):
        return _number(value)
    if value.numel() <= _SHOWN_ELEMENTS:
        return _number(value.tolist())
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def _number(value: Any) -> Any:
    """Infinities and NaN, which JSON has not, as texts."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _value(meta: Any, side: str, index: int, known: dict[str, Any]) -> dict[str, Any]:
    """An input or output; `known` is what the file's tables say of it."""
    if known["kind"] != "tensor":
        return {**known, "dtype": "none", "sizes": []}
    tensor = getattr(meta, f"{side}_tensor_meta")(index)
    dtype = _DTYPES.get(tensor.dtype(), f"dtype {tensor.dtype()}")
    return {**known, "dtype": dtype, "sizes": list(tensor.sizes())}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
