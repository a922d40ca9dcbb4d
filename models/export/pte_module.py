"""A compressed module of a user as an ExecuTorch program, delegated to XNNPACK, and proof that it computes what it
should.

Linear layers in integers without zero points are stored as integers and multiplied by the kernels for them, with
activations rounded to int8 token by token (`quantised_linear`); embeddings in integers are stored in int8. What XNNPACK
has no kernel for is stored in float32 and computed so: the record of the compression says which layers that are.

Weights in integers with float32 activations ("int8 weight-only") are never written: of such a layer, exported as the
tensor subclass that torchao makes, XNNPACK of ExecuTorch 1.5.1 loses the steps of the channels, without an error. That
a program runs is no proof, so that every file is compared with the same integers in eager PyTorch before it is given
out.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from harness.durations import OnStep, unheard
from harness.errors import ModelError, UsageError
from harness.models.compress.apply import FLOAT32, INT4_CHANNEL, INT4_GROUP, INT8, Compressed, runs_as
from harness.models.compress.layers import EMBEDDING, LINEAR, kind_of
from harness.models.compress.stored import Integers, OutlierColumns
from harness.models.export.embedding_tables import QuantisedTable
from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.pte import lowered_to_pte
from harness.models.export.quantised_linear import GROUP, Levels, QuantisedLinear

FAITHFUL = {True: 0.05, False: 1e-3}
"""Root mean square of the difference between an output of the file and of the same layers in eager PyTorch, as a share
of the output's standard deviation, where activations are rounded and where they are not. A value half way between two
levels may fall either way."""


class OutlierLinear(nn.Module):
    """A linear layer in integers, with its outlier columns in float32 beside them: x [..., in] to [..., out]."""

    columns: Tensor
    inside: Tensor

    def __init__(self, stored: OutlierColumns, bias: Tensor | None) -> None:
        super().__init__()
        self.integers = QuantisedLinear(levels_of(stored.integers), bias)
        self.outliers = nn.Linear(len(stored.columns), stored.values.size(0), bias=False)
        self.outliers.weight = nn.Parameter(stored.values.clone())
        self.register_buffer("columns", stored.columns)
        self.register_buffer("inside", torch.ones(stored.integers.levels.size(1)).index_fill(0, stored.columns, 0.0))

    def forward(self, x: Tensor) -> Tensor:
        inside: Tensor = self.integers(x * self.inside)
        outlying: Tensor = self.outliers(x.index_select(-1, self.columns))
        return inside + outlying


class IntegerEmbedding(nn.Module):
    """A table of embeddings in int8: indices int64 [...] to float32 [..., W]."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.table = QuantisedTable(weight)

    def forward(self, index: Tensor) -> Tensor:
        return self.table.rows(index)


def levels_of(stored: Integers) -> Levels:
    """Integers as the exported layer takes them: a step a channel, or one for each group of 32 inputs."""
    four = runs_as(LINEAR, stored) in (INT4_CHANNEL, INT4_GROUP)
    if stored.steps.size(1) == 1:
        return Levels(stored.levels, stored.steps[:, 0], 4 if four else 8)
    return Levels(stored.levels, stored.steps.repeat_interleave(stored.group // GROUP, dim=1), 4)


def deployed(compressed: Compressed) -> tuple[nn.Module, bool]:
    """The compressed module with layers as a program computes them, and whether any of them rounds its inputs."""
    module, integers = copy.deepcopy(compressed.module).eval(), False
    for name, stored in compressed.weights.layers.items():
        layer = module.get_submodule(name)
        kind = kind_of(layer)
        kernel = runs_as(kind or "", stored)
        replacement: nn.Module
        if kind == EMBEDDING and kernel == INT8:
            replacement = IntegerEmbedding(cast(Tensor, layer.weight))
        elif type(layer) is nn.Linear and kernel in (INT8, INT4_CHANNEL, INT4_GROUP):
            bias = None if layer.bias is None else layer.bias.detach().clone()
            if isinstance(stored, OutlierColumns):
                replacement = OutlierLinear(stored, bias)
            else:
                replacement = QuantisedLinear(levels_of(cast(Integers, stored)), bias)
            integers = True
        else:
            continue
        if name:
            module.set_submodule(name, replacement)
        else:
            module = replacement
    return module.eval(), integers


def export_module_pte(
    compressed: Compressed,
    parent: nn.Module,
    path: Path,
    batches: Sequence[tuple[Tensor, ...]],
    dynamic_shapes: Any = None,
    on_step: OnStep = unheard,
) -> dict[str, Any]:
    """Write a compressed module to `path`, traced with the first of `batches`, and compare it on all of them.

    `dynamic_shapes` are torch.export's. Returns what the comparison measured, JSON values: `difference`, the largest of
    the differences from the same layers in eager PyTorch (`FAITHFUL`), and `parent_snr_db`, how much smaller than the
    parent's outputs their difference from these is, in decibel, None where they are equal. Raises UsageError for a
    module that torch.export or ExecuTorch does not take, ModelError for a file that computes something else.
    """
    with library_noise_hidden(), torch.no_grad():
        module, integers = deployed(compressed)
        on_step("exporting")
        try:
            program = torch.export.export(module, batches[0], dynamic_shapes=dynamic_shapes, strict=False)
        except Exception as error:  # whatever the model's own code makes torch raise
            raise UsageError(f"torch.export cannot trace this model ({_reason(error)}).", "See its message.") from error
        on_step("lowering to XNNPACK")
        try:
            path.write_bytes(lowered_to_pte({"forward": program}, {}))
        except OSError:
            raise
        except Exception as error:  # somebody else's code, which raises of all kinds
            raise UsageError(
                f"ExecuTorch cannot lower this model ({_reason(error)}).", "Leave a layer out with --option skip=NAME."
            ) from error
        on_step("checking the file")
        return check_module_pte(path, module, parent.eval(), batches, FAITHFUL[integers])


def check_module_pte(
    path: Path, module: nn.Module, parent: nn.Module, batches: Sequence[tuple[Tensor, ...]], allowed: float
) -> dict[str, Any]:
    """Run the file beside `module` and `parent`; returns and raises as `export_module_pte`."""
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    method = program.load_method("forward")
    assert method is not None
    largest, signal, noise = 0.0, 0.0, 0.0
    for batch in batches:
        outputs = [output.clone() for output in method.execute(list(batch)) if isinstance(output, Tensor)]
        for output, ours, theirs in zip(outputs, _tensors(module(*batch)), _tensors(parent(*batch)), strict=True):
            if not output.is_floating_point():
                continue
            difference = (output - ours).square().mean().sqrt().item()
            largest = max(largest, difference / max(_spread(ours), torch.finfo(torch.float32).tiny))
            signal += theirs.double().square().sum().item()
            noise += (output - theirs).double().square().sum().item()
    if not largest <= allowed:
        raise ModelError(
            f"The program computes something else than its model: outputs differ by {largest:.2g} of their spread.",
            "Report this with the versions of torch and executorch.",
        )
    snr_db = 10 * math.log10(signal / noise) if noise and signal else None
    return {"difference": largest, "parent_snr_db": snr_db}


def precision_of(compressed: Compressed) -> str:
    """What a manifest calls the program's precision: the kernels of its compressed layers, `fp32` for float32."""
    kernels = {layer.runs_as for layer in compressed.record.layers}
    names = {"fp32" if kernel.startswith(FLOAT32) else kernel for kernel in kernels}
    return "+".join(sorted(names))


def _spread(output: Tensor) -> float:
    """The standard deviation of an output, or its magnitude where all of it is equal."""
    spread = output.std(correction=0).item()
    return spread or output.abs().max().item()


def _tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def _reason(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return first[0].rstrip(".") if first else type(error).__name__
