"""`.xml` models of OpenVINO, with their weights in the `.bin` next to them, and `.onnx` models where it is asked for by
name, on the processor.

A model is compiled with one stream of `job.threads` threads, and otherwise with OpenVINO's own defaults, which may
compute in bfloat16 where the processor has it and keep the cache of a language model in 8 bits: what a compiled model
says of these stands in its settings, and options change them. The library's telemetry is off, and files are not
trusted: no extensions are loaded, and only what is OpenVINO's format is given to the library as such.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from harness.errors import ModelError, UsageError
from harness.job import Files, Job
from harness.model_description import find_method, may_vary
from harness.protocol import Describe, Loaded, Ops
from harness.runtime import LoadedModel, RuntimeCapabilities, RuntimeOption, option_values
from harness.worker.openvino_errors import explain, shortened
from harness.worker.runtimes.onnx_cache import CachedModel, Generation
from harness.worker.runtimes.onnx_file import check_locations, read_onnx
from harness.worker.runtimes.onnxruntime import describe_onnx, weights_of
from harness.worker.runtimes.openvino_file import check_header, describe_model
from harness.worker.runtimes.torch import all_logits_of

name = "openvino"
_AUTOMATIC = "automatic"
_PRECISIONS = (_AUTOMATIC, "f32", "bf16", "f16")
OPTIONS = (
    RuntimeOption(
        name="inference_precision",
        default=_AUTOMATIC,
        values=_PRECISIONS,
        help="what products of float32 are computed in; automatic is bf16 on a processor that has it",
    ),
    RuntimeOption(
        name="execution_mode",
        default="performance",
        values=("performance", "accuracy"),
        help="accuracy: the precision of the file, activations not rounded, and the cache in float32",
    ),
    RuntimeOption(
        name="dynamic_quantization_group_size",
        default=_AUTOMATIC,
        values=(_AUTOMATIC, "0", "32", "64", "128"),
        help="how many activations share a step where weights are integers; 0: they are not rounded",
    ),
    RuntimeOption(
        name="kv_cache_precision",
        default=_AUTOMATIC,
        values=(*_PRECISIONS, "u8"),
        help="what the cache of a language model is kept in; automatic is u8",
    ),
)
_PROPERTIES = {
    "inference_precision": "INFERENCE_PRECISION_HINT",
    "execution_mode": "EXECUTION_MODE_HINT",
    "dynamic_quantization_group_size": "DYNAMIC_QUANTIZATION_GROUP_SIZE",
    "kv_cache_precision": "KV_CACHE_PRECISION",
}
"""OpenVINO's name of each option."""
_ALSO_SHOWN = {
    "performance_hint": "PERFORMANCE_HINT",
    "streams": "NUM_STREAMS",
    "threads": "INFERENCE_NUM_THREADS",
    "pinning": "ENABLE_CPU_PINNING",
    "hyper_threading": "ENABLE_HYPER_THREADING",
}
_ISA = "RUNTIME_REQUIREMENTS"
capabilities = RuntimeCapabilities(
    formats=(".xml",),
    on_request=(".onnx",),
    distributions=("openvino",),
    install="pip install 'edge-harness[openvino]'",
    weights=("{stem}.bin",),
    generates=True,
    arrays=True,
    per_operator=True,
    options=OPTIONS,
)
DEVICE = "CPU"


def start(device: str) -> dict[str, str]:
    """Import the library, with its plugin for the processor. Its whole version, which names the commit."""
    _core().get_versions(DEVICE)
    return {"openvino-build": str(_openvino().get_version())}


def prepare(path: Path) -> None:
    """Look at the file before OpenVINO does, and refuse what it must not open."""
    if path.suffix == ".onnx":
        check_locations(path, read_onnx(path))
    else:
        check_header(path)


def describe(path: Path) -> Describe:
    """What the file says of itself, as OpenVINO reads it: an operator that it lacks is told before anything is
    measured.
    """
    prepare(path)
    if path.suffix != ".onnx":
        return _describe(path, _read(path))[0]
    file = read_onnx(path)
    if all((path.parent / location).is_file() for location in file.locations):
        _read(path)
    return describe_onnx(path, file)[0]


def load(path: Path, job: Job, files: Files) -> LoadedModel:
    """Compile the model for `job.threads` threads. `execute` takes a dictionary of arrays of numpy, whose names are
    those of the model's inputs.

    Raises ModelError for a file that OpenVINO refuses, or with inputs that numpy does not have, UsageError for an
    option that it does not follow here.
    """
    given = _given_options(job)
    settings: dict[str, Any] = {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": job.threads,
        "PERF_COUNT": job.measure == "profile",
    }
    settings |= {_PROPERTIES[option]: value.upper() if "mode" in option else value for option, value in given.items()}
    start_ns = time.perf_counter_ns()
    model = _read(path)
    read_ns = time.perf_counter_ns()
    with _refusing(path):
        compiled = _core().compile_model(model, DEVICE, settings)
        request = compiled.create_infer_request()
    ready_ns = time.perf_counter_ns()
    shown = _settings(compiled)
    for option, value in given.items():
        if shown[option] != value:
            raise UsageError(
                f"OpenVINO does not follow {option} {value} on this processor: it takes {shown[option]}.",
                "Leave out this --runtime-option, or give another value.",
            )
    # Not before: a cold start must not find in memory what lies beside the weights.
    description, cached = _describe(path, model)
    find_method(description, job.method)
    parts = [path, *_weights(path, files)]
    loaded = Loaded(
        program_ns=read_ns - start_ns,
        method_ns=ready_ns - read_ns,
        program_bytes=sum(part.stat().st_size for part in parts),
        planned_bytes=None,
        settings=shown,
    )
    profile = _Profile(request) if job.measure == "profile" else None
    operators = None if profile is None else profile.operators
    infer = _inferring(request, profile)
    if cached is not None:
        return _language_model(description, loaded, cached, infer, request, compiled, operators)
    inputs = description.methods[0]["inputs"]
    _check_dtypes(path, [*inputs, *description.methods[0]["outputs"]])
    names = [str(described["name"]) for described in inputs]
    varies = any(map(may_vary, inputs))

    import numpy as np

    def arrange(given: Sequence[Any]) -> Sequence[Any]:
        feed = {input_name: np.asarray(each) for input_name, each in zip(names, given, strict=True)}
        if varies:
            _check_sizes(path, tuple((input_name, array.shape) for input_name, array in feed.items()))
        return (feed,)

    def execute(arranged: Sequence[Any]) -> Sequence[Any]:
        return infer(arranged[0])

    all_logits, window = all_logits_of(description, execute, arrange)
    return LoadedModel(description, loaded, execute, all_logits, window, arrange=arrange, operators=operators)


def _describe(path: Path, model: Any) -> tuple[Describe, CachedModel | None]:
    if path.suffix == ".onnx":
        return describe_onnx(path, read_onnx(path))
    with _refusing(path):
        return describe_model(path, model)


def _language_model(
    description: Describe,
    loaded: Loaded,
    cached: CachedModel,
    infer: Callable[[dict[str, Any]], list[Any]],
    request: Any,
    compiled: Any,
    operators: Callable[[], list[Ops]] | None,
) -> LoadedModel:
    places = {output: place for place, port in enumerate(compiled.outputs) for output in port.get_names()}

    def run(outputs: list[str], feed: dict[str, Any]) -> list[Any]:
        computed = infer(feed)
        return [computed[places[output]] for output in outputs]

    generation = Generation(cached, run, request.reset_state if cached.stateful else None)
    all_logits = generation.all_logits()
    window = cached.longest if all_logits is not None else None
    return LoadedModel(
        description,
        loaded,
        generation.execute,
        all_logits,
        window,
        arrange=generation.arrange,
        operators=operators,
    )


def _openvino() -> Any:
    """The library, without its telemetry: importing it would report to a server, from a process of its own, and write
    into the home folder.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # so that importing it fails
    import openvino

    return openvino


@functools.cache
def _core() -> Any:
    return _openvino().Core()


def _read(path: Path) -> Any:
    with _refusing(path):
        return _core().read_model(path)


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turns what OpenVINO raises about the file at `path` into a ModelError; a UnicodeDecodeError is about a name in
    the file, or a message of its own that repeats one.
    """
    try:
        yield
    except (RuntimeError, UnicodeDecodeError) as error:
        what, todo = explain(str(error))
        raise ModelError(f"OpenVINO refuses {path}: {what}.", todo) from error


def _given_options(job: Job) -> dict[str, str]:
    """The options that are set to something else than OpenVINO's own choice. Raises UsageError."""
    values = option_values(capabilities, job)
    defaults = {option.name: option.default for option in OPTIONS}
    return {option: value for option, value in values.items() if value != defaults[option]}


def _settings(compiled: Any) -> dict[str, str]:
    """What a compiled model says that it runs with."""
    shown = {option: _text(compiled.get_property(key)) for option, key in (_PROPERTIES | _ALSO_SHOWN).items()}
    core = _core()
    shown["version"] = str(_openvino().get_version())
    shown["device"] = str(core.get_property(DEVICE, "FULL_DEVICE_NAME")).strip()
    shown["device_computes_in"] = " ".join(core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"))
    if _ISA in compiled.get_property("SUPPORTED_PROPERTIES"):  # from 2026 on
        shown["isa"] = str(compiled.get_property(_ISA)).rpartition("isa=")[2]
    return shown


def _text(value: Any) -> str:
    """A property as an option is written."""
    if hasattr(value, "get_type_name"):
        return str(value.get_type_name())
    return str(getattr(value, "name", value)).lower()


def _weights(path: Path, files: Files) -> list[Path]:
    """The files of the model's weights. Raises UsageError where the job names another than the model does."""
    if path.suffix == ".onnx":
        return weights_of(path, read_onnx(path), files)
    weights = path.with_suffix(".bin")
    if files.data is not None and Path(files.data).resolve() != weights.resolve():
        raise UsageError(
            f"{path.name} takes its weights from {weights.name} next to it, not from {files.data}.",
            "Put them there under that name, or leave out --data-file.",
        )
    return [weights] if weights.is_file() else []


def _check_dtypes(path: Path, tensors: Sequence[dict[str, Any]]) -> None:
    import numpy as np

    for tensor in tensors:
        if tensor["kind"] != "tensor" or not hasattr(np, tensor["dtype"].replace("bool", "bool_")):
            kind = tensor["dtype"] if tensor["kind"] == "tensor" else "a text"
            raise ModelError(
                f"{tensor['name']} of {path} is {kind}, which harness cannot give or read.",
                "Export the model with such inputs and outputs as float32 or float16.",
            )


@functools.cache
def _check_sizes(path: Path, sizes: tuple[tuple[str, tuple[int, ...]], ...]) -> None:
    """Raises UsageError for inputs of sizes that do not fit together; OpenVINO does not always say so itself."""
    try:
        _read(path).reshape({input_name: list(shape) for input_name, shape in sizes})
    except RuntimeError as error:
        given = ", ".join(f"{input_name} {list(shape)}" for input_name, shape in sizes)
        raise UsageError(
            f"{path.name} cannot take inputs of these sizes, {given}: {shortened(str(error))}.",
            "Give others with --inputs, or another --batch.",
        ) from error


def _inferring(request: Any, profile: _Profile | None) -> Callable[[dict[str, Any]], list[Any]]:
    """Inputs by name, which are not copied, to all outputs in their order, which are: arrays of numpy of their own."""

    def infer(feed: dict[str, Any]) -> list[Any]:
        return [*request.infer(feed, share_inputs=True).values()]

    def infer_and_add(feed: dict[str, Any]) -> list[Any]:
        computed = infer(feed)
        assert profile is not None
        profile.add()
        return computed

    return infer if profile is None else infer_and_add


class _Profile:
    """Adds up OpenVINO's own counters, which tell of the last run alone, in whole microseconds: an operator that took
    less than one is not counted (`findings/openvino_counters.sh`).
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self._calls: dict[str, int] = {}
        self._total: dict[str, timedelta] = {}

    def add(self) -> None:
        """After each run."""
        for node in self._request.get_profiling_info():
            if not node.real_time:
                continue
            operator = f"{node.node_type} {node.exec_type}"
            self._calls[operator] = self._calls.get(operator, 0) + 1
            self._total[operator] = self._total.get(operator, timedelta()) + node.real_time

    def operators(self) -> list[Ops]:
        """By operator and the kernel that ran it."""
        return [
            Ops(operator=operator, delegate=None, calls=calls, total_ns=1000 * (self._total[operator] // _MICROSECOND))
            for operator, calls in self._calls.items()
        ]


_MICROSECOND = timedelta(microseconds=1)
