"""`.onnx` models through ONNX Runtime, on the processor.

A session has the threads of its job, and unless the user chooses otherwise no pool that spins between runs (it would
burn the processor that the next process is measured on), and all graph optimisations, which is ONNX Runtime's default.
Files are not trusted: no libraries of operators are loaded, and weights lie next to their model or it is refused.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import ModelError, UsageError
from harness.job import Files, Job
from harness.model_description import FORWARD, Input, find_method
from harness.protocol import Describe, Loaded, Ops
from harness.runtime import LoadedModel, RuntimeCapabilities, RuntimeOption, option_values
from harness.worker.onnxruntime_errors import explain
from harness.worker.runtimes.onnx_cache import CachedModel, Generation, find_cached_model
from harness.worker.runtimes.onnx_file import OnnxFile, check_onnx, read_onnx, sums_may_clip
from harness.worker.runtimes.torch import all_logits_of

name = "onnxruntime"
# As torch names it, Hugging Face, and others who write one.
WEIGHTS = ("{name}.data", "{name}_data", "{stem}.data", "{stem}.bin")
capabilities = RuntimeCapabilities(
    formats=(".onnx",),
    distributions=("onnxruntime",),
    install="pip install 'edge-harness[onnx]'",
    weights=WEIGHTS,
    generates=True,
    arrays=True,
    per_operator=True,
    options=(
        RuntimeOption(
            name="graph_optimization",
            default="all",
            values=("all", "extended", "basic", "off"),
            help="How far ONNX Runtime rewrites the graph before it runs it.",
        ),
        RuntimeOption(
            name="spinning",
            default="off",
            values=("on", "off"),
            help="Whether idle threads wait in a loop. ONNX Runtime's own default is on, which makes short runs faster "
            "on several threads; off here, since such a loop goes on for milliseconds after a run and takes the "
            "processor from the process that is measured next.",
        ),
    ),
)
PROVIDER = "CPUExecutionProvider"
_DEFAULTS = {option.name: option.default for option in capabilities.options}
_LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC"}
_NO_NUMPY = "Export the model with such inputs and outputs as float32 or float16."


def start(device: str) -> dict[str, str]:
    """Import the library."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # what goes wrong is raised; warnings are about the export
    return {}


def prepare(path: Path) -> None:
    """Look at the file before ONNX Runtime does, and refuse what it must not open (`check_onnx`)."""
    check_onnx(path, read_onnx(path))


def describe(path: Path) -> Describe:
    """What the file says of itself. ONNX Runtime opens it too where its weights are there, so that an operator that it
    lacks is reported before anything is measured.
    """
    file = read_onnx(path)
    check_onnx(path, file)
    if all(os.path.isfile(path.parent / location) for location in file.locations):
        _open(path, _options(1, _DEFAULTS))
    elif file.locations[0] not in {pattern.format(stem=path.stem, name=path.name) for pattern in WEIGHTS}:
        raise ModelError(
            f"The weights of {path} are in {file.locations[0]}, which is not there.", "Put that file next to the model."
        )
    return describe_onnx(path, file)[0]


def load(path: Path, job: Job, files: Files) -> LoadedModel:
    """Make a session on `job.threads` threads. `execute` takes a dictionary of arrays of numpy, whose names are those
    of the model's inputs.

    Raises ModelError for a file that ONNX Runtime refuses, or with inputs that numpy does not have.
    """
    chosen = option_values(capabilities, job)
    options = _options(job.threads, chosen)
    profile = tempfile.TemporaryDirectory() if job.measure == "profile" else None
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(profile.name) / "operators")
    start_ns = time.perf_counter_ns()
    session = _open(path, options)
    opened_ns = time.perf_counter_ns()
    outputs = [output.name for output in session.get_outputs()]
    providers = session.get_providers()
    ready_ns = time.perf_counter_ns()
    assert providers == [PROVIDER], f"the session runs on {providers}"
    # Not before: a cold start must not find in memory what lies beside the weights.
    file = read_onnx(path)
    data = weights_of(path, file, files)
    description, cached = describe_onnx(path, file)
    find_method(description, job.method)
    loaded = Loaded(
        program_ns=opened_ns - start_ns,
        method_ns=ready_ns - opened_ns,
        program_bytes=sum(part.stat().st_size for part in (path, *data)),
        planned_bytes=None,
        # Not where memory is measured, since it reads weights.
        sums_may_clip=job.measure != "memory" and sums_may_clip(path),
        settings=_settings(session, chosen, file),
    )
    operators = None if profile is None else _operators(session, profile)
    if cached is not None:
        generation = Generation(cached, session.run)
        all_logits = generation.all_logits()
        return LoadedModel(
            description,
            loaded,
            generation.execute,
            all_logits,
            cached.longest if all_logits is not None else None,
            arrange=generation.arrange,
            operators=operators,
        )
    _check_dtypes(path, [*file.inputs, *file.outputs])
    names = [str(described["name"]) for described in file.inputs]

    import numpy as np

    def arrange(inputs: Sequence[Any]) -> Sequence[Any]:
        return ({input_name: np.asarray(each) for input_name, each in zip(names, inputs, strict=True)},)

    def execute(inputs: Sequence[Any]) -> Sequence[Any]:
        computed: Sequence[Any] = session.run(outputs, inputs[0])
        return computed

    all_logits, window = all_logits_of(description, execute, arrange)
    return LoadedModel(description, loaded, execute, all_logits, window, arrange=arrange, operators=operators)


def _options(threads: int, chosen: Mapping[str, str]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    level = _LEVELS.get(chosen["graph_optimization"], "ORT_DISABLE_ALL")
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    for pool in ("intra", "inter"):
        options.add_session_config_entry(f"session.{pool}_op.allow_spinning", str(int(chosen["spinning"] == "on")))
    return options


def _settings(session: Any, chosen: Mapping[str, str], file: OnnxFile) -> dict[str, str]:
    """What the session says of itself, and what the file asks of its 4-bit products."""
    options = session.get_session_options()
    levels = {0: "unset", 1: "1 (fp32)", 2: "2 (fp16)", 3: "3 (bf16)", 4: "4 (int8)"}
    accuracy = [levels.get(level, str(level)) for level in file.accuracy_levels]
    return {
        "provider": " ".join(session.get_providers()),
        "threads": str(options.intra_op_num_threads),
        "execution": "sequential",
        **chosen,
        **({"accuracy_level": " and ".join(accuracy)} if accuracy else {}),
    }


def _open(path: Path, options: Any) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
    except Exception as error:  # its exceptions have no type in common
        what, todo = explain(str(error))
        raise ModelError(f"ONNX Runtime refuses {path}: {what}.", todo) from error


def weights_of(path: Path, file: OnnxFile, files: Files) -> list[Path]:
    """The files of the model's weights. Raises UsageError where the job names another than the model does."""
    weights = [path.parent / location for location in file.locations]
    if files.data is not None and weights and Path(files.data).resolve() != weights[0].resolve():
        raise UsageError(
            f"{path.name} takes its weights from {weights[0].name} next to it, not from {files.data}.",
            "Put them there under that name, or leave out --data-file.",
        )
    return weights


def describe_onnx(path: Path, file: OnnxFile) -> tuple[Describe, CachedModel | None]:
    """What a file takes and gives, and what it is as a language model; None where it is none that is recognised.
    Raises ModelError for an input whose dimensions are not known.
    """
    metadata = {key: _value(text) for key, text in file.metadata.items()}
    external = bool(file.locations)
    cached = find_cached_model(file.inputs, file.outputs, metadata)
    if cached is not None:
        return replace(cached.describe(metadata, "onnx"), external_data=external), cached
    for described in file.inputs:
        if described["kind"] == "tensor" and "dynamic" not in described:
            raise ModelError(
                f"{path} does not say how many dimensions its input {described['name']} has.",
                "Export it with the shapes of its inputs.",
            )
    forward: dict[str, Any] = {
        "name": FORWARD,
        "planned_bytes": None,
        "delegates": [],
        "inputs": file.inputs,
        "outputs": file.outputs,
        "ranges": {},
    }
    return Describe(format="onnx", methods=[forward], metadata=metadata, delegates=[], external_data=external), None


def _value(text: str) -> int | str:
    """Metadata are texts; whole numbers among them are those of ExecuTorch's constant methods."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text


def _check_dtypes(path: Path, tensors: Iterable[Input]) -> None:
    import numpy as np

    for tensor in tensors:
        if tensor["kind"] != "tensor" or not hasattr(np, tensor["dtype"].replace("bool", "bool_")):
            kind = tensor["dtype"] if tensor["kind"] == "tensor" else {"str": "a text"}.get(tensor["kind"], "no tensor")
            raise ModelError(f"{tensor['name']} of {path} is {kind}, which harness cannot give or read.", _NO_NUMPY)


def _operators(session: Any, folder: tempfile.TemporaryDirectory[str]) -> Callable[[], list[Ops]]:
    """What ONNX Runtime's own profiler says of each operator: at least a microsecond a call, its own work included
    (`findings/onnxruntime_profiler.sh`).
    """

    def times() -> list[Ops]:
        events = json.loads(Path(session.end_profiling()).read_text())
        folder.cleanup()
        calls: dict[str, list[int]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                calls[event["args"]["op_name"]].append(1000 * int(event["dur"]))
        return [
            Ops(operator=operator, delegate=None, calls=len(durations_ns), total_ns=sum(durations_ns))
            for operator, durations_ns in calls.items()
        ]

    return times
