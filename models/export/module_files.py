"""A user's own torch.nn.Module, as it is, in the format of a runtime: `.pte` lowered to XNNPACK, `.pt2`, `.onnx`, and
OpenVINO's `.xml` with its `.bin`. Every file is run on the given inputs beside the module before it is given out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from harness.durations import OnStep, unheard
from harness.errors import ModelError, UsageError
from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.pte import lowered_to_pte

Batch = tuple[Tensor, ...]
Execute = Callable[[Batch], list[Tensor]]
TOLERANCE = 1e-3
"""Root mean square of the difference between an output of the file and of the module, as a share of its spread."""
SUFFIXES = (".pte", ".pt2", ".onnx", ".xml")


def export_module(
    module: nn.Module,
    path: Path,
    batches: Sequence[Batch],
    dynamic_shapes: Any = None,
    constants: Mapping[str, Any] | None = None,
    on_step: OnStep = unheard,
) -> float:
    """Write `module` to `path` in the format of its ending, one of SUFFIXES, traced with the first of `batches`, and
    compare it on all of them. `dynamic_shapes` are torch.export's; `constants` what the constant methods of a `.pte`
    return, or whole numbers that a `.pt2` says of itself. The largest difference (see TOLERANCE).

    Raises UsageError for a module that the exporter does not take, or whose library is missing, and ModelError for a
    file that computes something else.
    """
    if constants and path.suffix not in (".pte", ".pt2"):
        raise UsageError(f"{path.suffix} has no constants.", "Write a .pte or a .pt2, or return none.")
    with library_noise_hidden(), torch.no_grad():
        on_step("exporting")
        program = _attempted(
            "torch.export cannot trace this model",
            lambda: torch.export.export(module, batches[0], dynamic_shapes=dynamic_shapes, strict=False),
        )
        on_step(f"writing the {path.suffix}")
        _attempted(
            f"this model cannot be written as {path.suffix}", lambda: _WRITERS[path.suffix](program, path, constants)
        )
        on_step("checking the file")
        execute = _READERS[path.suffix](path)
        largest = max(_difference(execute(batch), module(*batch)) for batch in batches)
    if not largest <= TOLERANCE:
        raise ModelError(
            f"{path.name} computes something else than its model: outputs differ by {largest:.2g} of their spread.",
            "Report this with the versions of torch and of the runtime.",
        )
    return largest


def _attempted(what: str, action: Callable[[], Any]) -> Any:
    """What `action` gives. Raises UsageError for whatever the model's own code makes the libraries raise."""
    try:
        return action()
    except (UsageError, OSError):
        raise
    except ImportError as error:
        raise UsageError(
            f"{what}: {error.name or error} is not installed.",
            "`pip install 'edge-harness[onnx]'` for .onnx, `pip install 'edge-harness[openvino]'` for .xml.",
        ) from error
    except Exception as error:
        lines = str(error).strip().splitlines()
        why = lines[0].rstrip(".") if lines else type(error).__name__
        raise UsageError(f"{what[:1].upper()}{what[1:]} ({why}).", "See its message.") from error


def _write_pte(program: ExportedProgram, path: Path, constants: Mapping[str, Any] | None) -> None:
    path.write_bytes(lowered_to_pte({"forward": program}, dict(constants or {})))


def _write_pt2(program: ExportedProgram, path: Path, constants: Mapping[str, Any] | None) -> None:
    # Where `harness.worker.runtimes.torch` looks for them.
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(constants)} if constants else None)


def _write_onnx(program: ExportedProgram, path: Path, _: Mapping[str, Any] | None) -> None:
    import onnxscript  # noqa: F401 - torch's exporter needs it, and names another package where it is missing

    written = torch.onnx.export(program, dynamo=True, verbose=False, external_data=False)
    assert written is not None
    written.save(str(path))


def _write_openvino(program: ExportedProgram, path: Path, _: Mapping[str, Any] | None) -> None:
    from harness.models.export.openvino import import_openvino

    openvino = import_openvino()
    model = openvino.convert_model(program)
    # It leaves every size open: those that the program fixes are fixed.
    tensors = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    shapes = [tensors[name].shape for name in program.graph_signature.user_inputs]
    fixed = [[size if isinstance(size, int) else -1 for size in shape] for shape in shapes]
    model.reshape({each: openvino.PartialShape(shape) for each, shape in zip(model.inputs, fixed, strict=True)})
    openvino.save_model(model, str(path), compress_to_fp16=False)


def _read_pte(path: Path) -> Execute:
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    method = program.load_method("forward")
    assert method is not None
    return lambda batch: [output.clone() for output in method.execute(list(batch)) if isinstance(output, Tensor)]


def _read_pt2(path: Path) -> Execute:
    module = torch.export.load(path).module()
    return lambda batch: _tensors(module(*batch))


def _read_onnx(path: Path) -> Execute:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda batch: [
        torch.from_numpy(output)
        for output in session.run(None, {name: part.numpy() for name, part in zip(names, batch, strict=True)})
    ]


def _read_openvino(path: Path) -> Execute:
    from harness.models.export.openvino import import_openvino

    compiled = import_openvino().Core().compile_model(str(path), "CPU", {"EXECUTION_MODE_HINT": "ACCURACY"})
    return lambda batch: [torch.from_numpy(part.copy()) for part in compiled([each.numpy() for each in batch]).values()]


_WRITERS = {".pte": _write_pte, ".pt2": _write_pt2, ".onnx": _write_onnx, ".xml": _write_openvino}
_READERS = {".pte": _read_pte, ".pt2": _read_pt2, ".onnx": _read_onnx, ".xml": _read_openvino}


def _difference(outputs: Sequence[Tensor], expected: Any) -> float:
    """The largest over the outputs that are not integers; integers must be equal."""
    largest = 0.0
    for output, ours in zip(outputs, _tensors(expected), strict=True):
        if not output.is_floating_point():
            largest = max(largest, 0.0 if output.equal(ours.to(output.dtype)) else float("inf"))
            continue
        spread = max(ours.std(correction=0).item() or ours.abs().max().item(), torch.finfo(torch.float32).tiny)
        difference = (output.reshape(ours.shape) - ours).square().mean().sqrt().item() / spread
        largest = max(largest, difference if difference == difference else float("inf"))
    return largest


def _tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
