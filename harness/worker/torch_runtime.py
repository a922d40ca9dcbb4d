"""`.pt2` archives (torch.export.save) through torch: eager, or torch.compile on request."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.job import Job
from harness.protocol import Describe, Loaded
from harness.worker.model import Model
from harness.worker.pt2_guard import check_archive, no_code

if TYPE_CHECKING:
    from torch import Tensor


def versions() -> dict[str, str]:
    """Import all that the runtime itself needs, so that loading a model is charged for the model alone; name and
    version.
    """
    import torch
    import torch.export.pt2_archive

    return {"torch": torch.__version__}


def describe(path: Path) -> Describe:
    """The inputs and outputs of the exported program."""
    return _describe(_open(path))


def load(path: Path, job: Job) -> Model:
    """Read the archive and make a callable of it on `job.threads` threads, compiled if the job says so.

    Compilation happens at the first call, so it shows in the first inference, as it does for a user. Raises
    ModelError for a file that torch refuses or that contains pickles.
    """
    import torch

    torch.set_num_threads(job.threads)
    start_ns = time.perf_counter_ns()
    program = _open(path)
    opened_ns = time.perf_counter_ns()
    module: Any = program.module()
    if job.compile:
        module = torch.compile(module)
    ready_ns = time.perf_counter_ns()

    def execute(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.inference_mode():
            result = module(*inputs)
        return result if isinstance(result, (tuple, list)) else (result,)

    description = _describe(program)
    loaded = Loaded(
        program_ns=opened_ns - start_ns,
        method_ns=ready_ns - opened_ns,
        program_bytes=path.stat().st_size,
        planned_bytes=None,
    )
    window = _all_logits_window(description)
    return Model(description, loaded, execute, execute if window else None, window)


def _open(path: Path) -> Any:
    check_archive(path)
    import torch

    try:
        with no_code():
            return torch.export.load(path)
    except Exception as error:
        message = str(error).strip().splitlines()
        raise ModelError(
            f"torch refuses {path}: {message[0].rstrip('.') if message else type(error).__name__}.",
            f"Export it again with torch {torch.__version__} (torch.export.save).",
        ) from error


def _describe(program: Any) -> Describe:
    inputs = [_tensor(node) for node in _nodes(program, "placeholder", program.graph_signature.user_inputs)]
    outputs = [_tensor(node) for node in _nodes(program, None, program.graph_signature.user_outputs)]
    return Describe(
        format="pt2",
        metadata={},
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
