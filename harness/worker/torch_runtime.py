"""`.pt2` archives (torch.export.save) through torch: eager, or torch.compile on request.

An archive whose extra file `metadata.json` has the values of ExecuTorch's constant methods (`get_vocab_size`,
`use_kv_cache` and so on) is a language model by the same convention as a `.pte`: `forward(tokens int64 [1, n],
input_pos int64 [1]) -> logits [1, n, vocabulary]`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.job import Job
from harness.protocol import Describe, Loaded
from harness.worker.model import Execute, Model, is_language_model
from harness.worker.pt2_guard import check_archive, no_code

if TYPE_CHECKING:
    from torch import Tensor

METADATA = "metadata.json"


def versions() -> dict[str, str]:
    """Import all that the runtime itself needs, so that loading a model is charged for the model alone; name and
    version.
    """
    import torch
    import torch.export.pt2_archive

    return {"torch": torch.__version__}


def describe(path: Path) -> Describe:
    """The inputs and outputs of the exported program."""
    return describe_program(*open_program(path))


def load(path: Path, job: Job) -> Model:
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

    def execute(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.inference_mode():
            result = module(*inputs)
        return result if isinstance(result, (tuple, list)) else (result,)

    description = describe_program(program, metadata)
    loaded = Loaded(
        program_ns=opened_ns - start_ns,
        method_ns=ready_ns - opened_ns,
        program_bytes=path.stat().st_size,
        planned_bytes=None,
    )
    return Model(description, loaded, execute, *whole_windows(description, execute))


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
        raise ModelError(
            f"torch refuses {path}: {message[0].rstrip('.') if message else type(error).__name__}.",
            f"Export it again with torch {torch.__version__} (torch.export.save).",
        ) from error


def whole_windows(description: Describe, execute: Execute) -> tuple[Execute | None, int | None]:
    """`all_logits` and `window` of a Model: tokens to the logits of every position, and how many it takes at once."""
    if is_language_model(description) and len(description.methods[0]["outputs"][0]["sizes"]) == 3:
        import torch

        begin = torch.zeros(1, dtype=getattr(torch, description.methods[0]["inputs"][1]["dtype"]))
        return lambda inputs: execute((inputs[0], begin)), int(description.methods[0]["inputs"][0]["sizes"][1])
    window = _all_logits_window(description)
    return (execute, window) if window else (None, None)


def describe_program(program: Any, metadata: dict[str, int]) -> Describe:
    """The inputs and outputs of an exported program; a dynamic size is that of its example."""
    inputs = [_tensor(node) for node in _nodes(program, "placeholder", program.graph_signature.user_inputs)]
    outputs = [_tensor(node) for node in _nodes(program, None, program.graph_signature.user_outputs)]
    return Describe(
        format="pt2",
        metadata=metadata,
        delegates=[],
        methods=[{"name": "forward", "planned_bytes": None, "delegates": [], "inputs": inputs, "outputs": outputs}],
    )


def _nodes(program: Any, kind: str | None, names: Sequence[Any]) -> list[Any]:
    by_name = {node.name: node for node in program.graph.nodes if kind is None or node.op == kind}
    return [by_name.get(name) for name in names]


def _tensor(node: Any) -> dict[str, Any]:
    value = node.meta.get("val") if node is not None else None
    if value is None or not hasattr(value, "dtype"):
        return {"dtype": "none", "sizes": []}
    # A dynamic dimension shows its size in the example it was exported with.
    sizes = [int(size) if isinstance(size, int) else int(size.node.hint) for size in value.shape]
    return {"dtype": str(value.dtype).removeprefix("torch."), "sizes": sizes}


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
