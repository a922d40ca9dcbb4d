"""What the operators of a lowered program have to do, from the shapes in its graph."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch.export import ExportedProgram

from harness.errors import ModelError
from harness.targets.dsp.cycles import Work

# ExecuTorch gives a view its input's memory; the rest are no operators at run time.
_FREE = ("view_copy", "getitem", "alloc", "unsqueeze_copy", "squeeze_copy")
_KINDS = {
    "softmax": "softmax",
    "quantized_add": "elementwise",
    "quantized_mul": "elementwise",
    "quantized_div": "elementwise",
    "minimum": "elementwise",
    "maximum": "elementwise",
    "quantized_activation": "lookup",
    "quantize_per_tensor": "quantize",
    "dequantize_per_tensor": "quantize",
    "transpose": "move",
    "pad": "move",
}
_MOVES = ("cat", "embedding", "_clone_dim_order", "clone", "slice_copy", "select_copy", "permute_copy", "expand_copy")


def works(integers: ExportedProgram) -> list[Work]:
    """Every operator that costs something, in order. Raises ModelError, naming it, for one that has no cycle model."""
    return list(_works(integers))


def name_of(target: Any) -> str:
    """`cortex_m::quantized_linear` of an operator, `alloc` of a function."""
    schema = getattr(target, "_schema", None)
    return str(schema.name if schema is not None else getattr(target, "__name__", target))


def _works(integers: ExportedProgram) -> Iterator[Work]:
    given = integers.graph_signature
    constant = {*given.inputs_to_parameters, *given.inputs_to_buffers, *given.inputs_to_lifted_tensor_constants}
    for node in integers.graph.nodes:
        if node.op != "call_function" or (name := name_of(node.target).rpartition("::")[2]) in _FREE:
            continue
        if not _tensors(node):  # arithmetic on sizes
            continue
        out, ins = _tensors(node)[0], node.all_input_nodes
        weights = sum(_bytes(operand) for operand in ins if operand.name in constant)
        moved = sum(map(_bytes, [node, *(operand for operand in ins if operand.name not in constant)]))
        work = _cost(name, node, out)
        if name == "embedding":  # of the table only the rows that are looked up are read
            weights = _bytes(node)
        yield Work(
            operator=name,
            weight_bytes=weights,
            activation_bytes=moved,
            float32=not _is_cortex_m(node) and out.is_floating_point(),
            **work,
        )


def _cost(name: str, node: torch.fx.Node, out: torch.Tensor) -> dict[str, Any]:
    """Class, elements and products of an operator, by the shapes that ExecuTorch gives CMSIS-NN's tensors: weights of
    a layer [out, in], the second factor of a matmul transposed, convolution weights [out, height, width, in], depthwise
    ones [1, height, width, out].
    """
    size = out.numel()
    if not _is_cortex_m(node):
        inner = _portable_products(name, node)
        return {"kind": "move" if name in _MOVES else "portable", "outputs": size, "inner": inner, "macs": size * inner}
    if name in _KINDS:
        return {"kind": _KINDS[name], "outputs": size}
    name = name.removesuffix("_nhwc")
    if name == "quantized_linear":
        inner = _shape(node, 1)[-1]
        return {"kind": "linear", "outputs": size, "inner": inner, "macs": size * inner}
    if name == "quantized_batch_matmul":
        inner = _shape(node, 0)[-1]
        # One row more than the first factor has: the sums of the second, which are constant for weights alone.
        rows = size // _shape(node, 0)[-2] * (_shape(node, 0)[-2] + 1)
        return {"kind": "matmul", "outputs": rows, "inner": inner, "macs": size * inner}
    if name == "quantized_conv2d":
        channels, *window = _shape(node, 1)
        inner, plain = prod(window), window[:2] == [1, 1]
        gathered = 0 if plain else size // channels * inner
        kind = "pointwise" if plain else "conv2d"
        return {"kind": kind, "outputs": size, "inner": inner, "gathered": gathered, "macs": size * inner}
    if name == "quantized_depthwise_conv2d":
        inner = prod(_shape(node, 1)[1:3])
        return {"kind": "depthwise", "outputs": size, "inner": inner, "macs": size * inner}
    if name in ("quantized_avg_pool2d", "quantized_max_pool2d"):
        inner = prod(_first(node, list))
        return {"kind": "pool", "outputs": size, "inner": inner}
    raise ModelError(f"There is no cycle model for {name}.", "Write the model without it, or measure it elsewhere.")


def _portable_products(name: str, node: torch.fx.Node) -> int:
    """Products an element of what ExecuTorch's portable kernels multiply when it was not quantised."""
    if name == "convolution":
        return prod(_shape(node, 1)[1:])
    if name in ("linear", "mm", "bmm"):
        return _shape(node, 0)[-1]
    return _shape(node, 1)[-1] if name == "addmm" else 0


def _is_cortex_m(node: torch.fx.Node) -> bool:
    return name_of(node.target).startswith("cortex_m::")


def _tensors(node: torch.fx.Node) -> list[torch.Tensor]:
    value = node.meta.get("val")
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [entry for entry in values if isinstance(entry, torch.Tensor)]


def _bytes(node: torch.fx.Node) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(node)[:1])


def _shape(node: torch.fx.Node, argument: int) -> list[int]:
    tensor = node.args[argument]
    assert isinstance(tensor, torch.fx.Node)
    return [int(size) for size in _tensors(tensor)[0].shape]


def _first(node: torch.fx.Node, kind: type) -> Any:
    """The first argument of a pooling that is a list: its window."""
    return next(argument for argument in node.args if isinstance(argument, kind))
