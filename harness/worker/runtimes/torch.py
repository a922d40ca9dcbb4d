"""`.pt2` archives (torch.export.save) through torch: eager, or torch.compile on request.

An archive whose extra file `metadata.json` has the values of ExecuTorch's constant methods (`get_vocab_size`,
`use_kv_cache` and so on) is a language model by the same convention as a `.pte`: `forward(tokens int64 [1, n],
input_pos int64 [1]) -> logits [1, n, vocabulary]`.
"""

from __future__ import annotations

import json
import re
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import ModelError
from harness.job import Files, Job
from harness.model_description import FORWARD, find_method, is_language_model, longest_prompt
from harness.protocol import Describe, Loaded
from harness.runtime import Arrange, Execute, LoadedModel, RuntimeCapabilities, as_given
from harness.worker.operator_libraries import register_torch
from harness.worker.pt2_inputs import inputs_of, outputs_of, ranges_of
from harness.worker.runtimes.pt2_guard import check_archive, no_code
from harness.worker.torch_outputs import leaves

name = "torch"
capabilities = RuntimeCapabilities(formats=(".pt2",), distributions=("torch",), compiles=True, generates=True)
METADATA = "metadata.json"
_NAMESPACE = re.compile(rb"torch\.ops\.(\w+)\.")
_UNKNOWN_OPERATOR = re.compile(r"torch\.ops\.([\w.]+)")


def start(device: str) -> dict[str, str]:
    """Import torch and what reads archives, so that loading a model is charged for the model alone. torch says more of
    its build than its distribution does.
    """
    import torch
    import torch.export.pt2_archive

    return {"torch": torch.__version__}


def describe(path: Path) -> Describe:
    """The inputs and outputs of the exported program."""
    prepare(path)
    return describe_program(*open_program(path))


def prepare(path: Path) -> None:
    """Register the operators that an archive calls beyond torch's own, which are no part of the model: their time and
    memory are the runtime's. Raises ModelError.
    """
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.namelist() if entry.endswith(".json") and "/models/" in entry]
        graphs = [archive.read(entry) for entry in entries]
    register_torch(namespace.decode() for graph in graphs for namespace in _NAMESPACE.findall(graph))


def load(path: Path, job: Job, files: Files) -> LoadedModel:
    """Read the archive and make a callable of it on `job.threads` threads, compiled if the job says so.

    Compilation happens at the first call, so it shows in the first inference, as it does for a user. Raises
    ModelError for a file that torch refuses or that contains pickles.
    """
    import torch

    torch.set_num_threads(job.threads)
    start_ns = time.perf_counter_ns()
    program, metadata = open_program(path)
    opened_ns = time.perf_counter_ns()
    module: Any = program.module()
    if job.compile:
        module = torch.compile(module)
    ready_ns = time.perf_counter_ns()

    call, arrange = calling(program, module)

    def execute(inputs: Sequence[Any]) -> Sequence[Any]:
        with torch.inference_mode():
            result = call(inputs)
        return result if isinstance(result, (tuple, list)) else (result,)

    description = describe_program(program, metadata)
    find_method(description, job.method)
    loaded = Loaded(
        program_ns=opened_ns - start_ns,
        method_ns=ready_ns - opened_ns,
        program_bytes=path.stat().st_size,
        planned_bytes=None,
        settings=_settings(compiled=job.compile),
    )
    return LoadedModel(description, loaded, execute, *all_logits_of(description, execute, arrange), arrange=arrange)


def _settings(*, compiled: bool) -> dict[str, str]:
    """What torch says of itself and of its build."""
    import torch

    libraries = (("MKL", torch.backends.mkl), ("oneDNN", torch.backends.mkldnn))
    built_with = [name for name, library in libraries if library.is_available()]
    return {
        "threads": str(torch.get_num_threads()),
        "mode": "torch.compile" if compiled else "eager",
        "kernels_for": torch.backends.cpu.get_cpu_capability(),
        "built_with": " ".join(built_with) or "neither MKL nor oneDNN",
    }


def calling(program: Any, module: Any) -> tuple[Callable[[Sequence[Any]], Any], Arrange]:
    """How `module` of a program is called with inputs, and how these are made of a flat list: most programs take them
    one by one, others by keyword, or in dictionaries and tuples, as `call_spec` says.
    """
    from torch.utils import _pytree as tree

    spec = program.call_spec.in_spec
    plain = tree.tree_structure(((0,) * spec.num_leaves, {}))
    if spec == plain:
        return lambda inputs: module(*inputs), as_given

    def arrange(inputs: Sequence[Any]) -> Sequence[Any]:
        positional, by_keyword = tree.tree_unflatten(list(inputs), spec)
        return positional, by_keyword

    return lambda inputs: module(*inputs[0], **inputs[1]), arrange


def open_program(path: Path) -> tuple[Any, dict[str, int]]:
    """The exported program, and what the archive says of it in `metadata.json`. Raises ModelError."""
    check_archive(path)
    import torch

    extra = {METADATA: ""}
    try:
        with no_code():
            program = torch.export.load(path, extra_files=extra)
        metadata = json.loads(extra[METADATA] or "{}")
        if not isinstance(metadata, dict) or not all(isinstance(value, int) for value in metadata.values()):
            raise ValueError(f"its {METADATA} is no object of numbers and truth values")
        return program, metadata
    except Exception as error:
        message = str(error).strip().splitlines()
        unknown = _UNKNOWN_OPERATOR.search(str(error.__cause__ or error)) or _UNKNOWN_OPERATOR.search(str(error))
        if unknown is not None:
            raise ModelError(
                f"{path} calls the operator {unknown[1]}, which is not installed here.",
                "Install the package that defines it, or export the model without it.",
            ) from error
        raise ModelError(
            f"torch refuses {path}: {message[0].rstrip('.') if message else type(error).__name__}.",
            f"Export it again with torch {torch.__version__} (torch.export.save).",
        ) from error


def all_logits_of(
    description: Describe, execute: Execute, arrange: Arrange = as_given
) -> tuple[Execute | None, int | None]:
    """`all_logits` and `window` of a LoadedModel: tokens to the logits of every position, and how many it takes at
    once.
    """
    if is_language_model(description) and len(description.methods[0]["outputs"][0]["sizes"]) == 3:
        from harness.worker.generation import LanguageInputs

        window = longest_prompt(description)
        # Inputs are made late, since they need torch, which not every runtime does.
        return lambda given: leaves(execute(LanguageInputs(description, arrange).at(given[0], 0))), window
    context = _all_logits_window(description)
    if context is None:
        return None, None
    return (execute if arrange is as_given else lambda given: leaves(execute(arrange(given)))), context


def describe_program(program: Any, metadata: dict[str, int]) -> Describe:
    """The inputs and outputs of an exported program; a dynamic size is that of its example."""
    forward = {
        "name": FORWARD,
        "planned_bytes": None,
        "delegates": [],
        "inputs": inputs_of(program),
        "outputs": outputs_of(program),
        "ranges": ranges_of(program),
    }
    return Describe(format="pt2", metadata=metadata, delegates=[], methods=[forward])


def _all_logits_window(description: Describe) -> int | None:
    """The context of a program of the form tokens int [B, T] -> logits [B, T, vocabulary], else None."""
    inputs, outputs = description.methods[0]["inputs"], description.methods[0]["outputs"]
    if (
        len(inputs) == 1
        and inputs[0]["dtype"] == "int64"
        and len(inputs[0]["sizes"]) == 2
        and outputs
        and len(outputs[0]["sizes"]) == 3
        and outputs[0]["sizes"][:2] == inputs[0]["sizes"]
    ):
        return int(inputs[0]["sizes"][1])
    return None
