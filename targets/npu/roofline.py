"""A bound of our own beside Vela's estimate: products over the array, bytes over the bandwidth, whichever is more.

It knows nothing of fused operators, cascades, latencies or how an operator maps onto the array, so it says less than
Vela. Where the two are far apart, one of them does not describe the operator (Williams, Waterman and Patterson,
"Roofline", 2009, doi:10.1145/1498765.1498785).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

from harness.targets.npu.vela import Layer
from harness.targets.npu.vela_ini import Memories

CLASSES = ("linear", "matmul", "other")
_LINEAR = ("Conv2D", "DepthwiseConv2D", "FullyConnected", "TransposeConv2D", "Conv3D")
_BYTES = {"INT4": 0.5, "INT8": 1, "BOOL": 1, "INT16": 2, "INT32": 4, "INT48": 6, "FP32": 4}


@dataclass(frozen=True)
class Work:
    """One TOSA operator: multiply-accumulates, bytes of its constants as int8, bytes of activations in and out."""

    operator: str
    macs: int
    weight_bytes: float
    activation_bytes: float


def class_of(operator: str) -> str:
    """Layers with weights, products of two activations, and everything else, by the names that Vela writes."""
    return "linear" if operator in _LINEAR else "matmul" if operator == "MatMul" else "other"


def works(tosa: bytes) -> list[Work]:
    """Every operator of a TOSA program that computes. Constants and rescalings are part of what they belong to."""
    return list(_works(tosa))


def bound_ns(work: Iterable[Work], memories: Memories, macs_per_cycle: int, encoded: float) -> dict[str, float]:
    """Nanoseconds a class of operators. `encoded` is the size of encoded weights over that of int8 weights."""
    spent = dict.fromkeys(CLASSES, 0.0)
    for operator_work in work:
        compute = operator_work.macs / (macs_per_cycle * memories.clock_hz)
        weights = operator_work.weight_bytes * encoded / memories.bytes_per_s[memories.weights]
        activations = operator_work.activation_bytes / memories.bytes_per_s[memories.activations]
        # One memory moves its bytes one after the other, two memories at the same time.
        traffic = weights + activations if memories.weights == memories.activations else max(weights, activations)
        spent[class_of(operator_work.operator)] += max(compute, traffic) * 1e9
    return spent


def vela_ns(layers: Iterable[Layer], clock_hz: float) -> dict[str, float]:
    """Vela's nanoseconds by the same classes."""
    spent = dict.fromkeys(CLASSES, 0.0)
    for layer in layers:
        spent[class_of(layer.operator)] += layer.cycles / clock_hz * 1e9
    return spent


def _works(tosa: bytes) -> Iterator[Work]:
    from tosa.DType import DType
    from tosa.Op import Op
    from tosa.TosaGraph import TosaGraph

    kinds = {value: name for name, value in vars(DType).items() if isinstance(value, int)}
    names = {value: name for name, value in vars(Op).items() if isinstance(value, int)}
    graph = TosaGraph.GetRootAs(tosa)
    for region in (graph.Regions(index) for index in range(graph.RegionsLength())):
        for block in (region.Blocks(index) for index in range(region.BlocksLength())):
            shapes: dict[bytes, tuple[int, ...]] = {}
            sizes: dict[bytes, float] = {}
            for tensor in (block.Tensors(index) for index in range(block.TensorsLength())):
                shape = tuple(int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength()))
                shapes[tensor.Name()] = shape
                sizes[tensor.Name()] = prod(shape) * _BYTES.get(kinds[tensor.Type()], 4)
            constants: set[bytes] = set()
            for operator in (block.Operators(index) for index in range(block.OperatorsLength())):
                name = names[operator.Op()]
                ins = [operator.Inputs(index) for index in range(operator.InputsLength())]
                outs = [operator.Outputs(index) for index in range(operator.OutputsLength())]
                if name.startswith("CONST"):
                    constants |= set(outs)
                elif name not in ("RESCALE", "IDENTITY", "CAST"):
                    yield Work(
                        operator=_camel(name),
                        macs=_macs(name, [shapes.get(tensor, ()) for tensor in ins], shapes[outs[0]]),
                        weight_bytes=sum(sizes.get(tensor, 0.0) for tensor in ins if tensor in constants),
                        activation_bytes=sum(sizes[tensor] for tensor in outs)
                        + sum(sizes.get(tensor, 0.0) for tensor in ins if tensor not in constants),
                    )


def _macs(name: str, ins: list[tuple[int, ...]], out: tuple[int, ...]) -> int:
    """TOSA's shapes: weights [out, height, width, in], depthwise [height, width, channels, multiplier]."""
    if name == "CONV2D":
        return prod(out) * prod(ins[1][1:])
    if name == "DEPTHWISE_CONV2D":
        return prod(out) * prod(ins[1][:2])
    if name == "MATMUL":
        return prod(out) * ins[0][-1]
    return 0


def _camel(name: str) -> str:
    """`DEPTHWISE_CONV2D` as Vela writes it: `DepthwiseConv2D`."""
    special = {"MATMUL": "MatMul", "CONV2D": "Conv2D", "CONV3D": "Conv3D"}
    return "".join(special.get(part, part.capitalize()) for part in name.split("_"))
