"""XNNPACK's rewriting of a delegate's graph, without the passes that have nothing to do there.

ExecuTorch 1.5 runs 17 passes over each delegate, and each retraces the graph, also one that looks for an operator that
is not there. A decoder of six blocks has 46 delegates, of which none has a convolution, a batch norm or a pool: half of
the time of writing such a program went there. Only a pass that changes nothing in a graph without certain operators
is left out, and the files are the same to the last byte (`tests/models/test_xnnpack_passes.py`).

Lowering also makes millions of small objects that live until it ends; looking for garbage among them takes a tenth of
the time, so that there the collector rests.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch.export import ExportedProgram
from torch.fx import Graph, Node

Needed = Callable[[Node], bool]

_CONVOLUTION = "aten.convolution.default"
_POOLS = ("aten.max_pool2d_with_indices.default", "aten.max.dim")
_COPIES = ("aten._to_copy.default",)
_CHANNELS_LAST = (
    _CONVOLUTION,
    "aten.upsample_bilinear2d.vec",
    "aten.mean.dim",
    "aten.max_pool2d.default",
    "aten.amax.default",
    "aten.max.dim",
    "aten.avg_pool2d.default",
    "aten.prelu.default",
    *_COPIES,
)


def _one_of(*operators: str) -> Needed:
    return lambda node: getattr(node.target, "__name__", "") in operators


def _batch_norm(node: Node) -> bool:
    return "batch_norm" in getattr(node.target, "__name__", "")


def _of_constants_alone(node: Node) -> bool:
    return node.op == "call_function" and not node.all_input_nodes


NEEDED: dict[str, Needed] = {
    "DimOrderOpsRevertPass": lambda node: getattr(node.target, "__name__", "").startswith("dim_order_ops."),
    "ConvertToUpsampleBilinear2d": lambda node: any(
        part in getattr(node.target, "__name__", "") for part in ("index", "upsample")
    ),
    "PropagateCustomMetaPass": lambda node: "custom" in node.meta,
    "ConvertToSDPAPass": _one_of("aten._softmax.default"),
    "ConstPropPass": _of_constants_alone,
    "FuseBatchNormPass": _batch_norm,
    "DecomposeBatchNorm": _batch_norm,
    "FuseActivationPass": _one_of("aten.relu.default", "aten.hardtanh.default"),
    "DecomposeConcatenate": _one_of("aten.cat.default"),
    "RemoveGetItemPass": _one_of(*_POOLS),
    "InsertPadQDQPass": _one_of("aten.constant_pad_nd.default"),
    "Conv1dUnsqueezePass": _one_of(_CONVOLUTION),
    "PReLUReshapePass": _one_of("aten._prelu_kernel.default"),
    "ChannelsLastTaggedReshapePass": _one_of(*_CHANNELS_LAST),
    "RemoveRedundantCopyPass": _one_of(*_COPIES),
}
"""By the name of a pass: the nodes without one of which it changes nothing. A pass that is not here always runs."""


def needed(name: str, graph: Graph) -> bool:
    """Whether the pass of this name may change something in the graph."""
    looks_for = NEEDED.get(name)
    return looks_for is None or any(looks_for(node) for node in graph.nodes)


@contextmanager
def needed_passes_only() -> Iterator[None]:
    """While the body runs, XNNPACK's delegates are rewritten by those passes alone that may change something, and no
    garbage is collected."""
    from executorch.backends.xnnpack import xnnpack_preprocess

    every = xnnpack_preprocess.XNNPACKPassManager

    class Needed(every):  # type: ignore[misc, valid-type]
        def transform(self) -> ExportedProgram:
            program: ExportedProgram = self.exported_program
            for one in self.passes:
                if needed(one.__name__, program.graph):
                    program = every(program, [one]).transform()
            return program

    collects = gc.isenabled()
    gc.disable()
    xnnpack_preprocess.XNNPACKPassManager = Needed
    try:
        yield
    finally:
        xnnpack_preprocess.XNNPACKPassManager = every
        if collects:
            gc.enable()
