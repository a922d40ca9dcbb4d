"""Weights of an ONNX graph that are small integers times a step for each output channel, kept exactly: products with
constant matrices that consist of such are written in the operators that ONNX Runtime's own quantisers write.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.models.export.quantised_linear import GROUP, Levels, exact_levels

_MIDDLE = 8
"""What MatMulNBits subtracts of a level of four bits where it is given no zero point."""


def with_exact_integers(model: Any, bits: int) -> Any:
    """`model`, a ModelProto, in place: each `MatMul` by a constant [in, out] whose columns are integers with a step.

    Of 8 `bits` they are int8, times x rounded to uint8 (`DynamicQuantizeLinear`, `MatMulInteger`); of 4 those that fit
    are `MatMulNBits`, whose groups of 32 inputs share the step of their channel, and the others int8.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes, new_tensors = [], []
    for node in graph.node:
        weight = constants.get(node.input[1]) if node.op_type == "MatMul" else None
        levels = None
        if weight is not None and len(weight.dims) == 2:
            levels = exact_levels(torch.from_numpy(numpy_helper.to_array(weight).copy()).T.contiguous())
        if levels is None:
            nodes.append(node)
            continue
        name = f"{node.output[0]}_exact"
        products, tensors = (
            _four_bits(helper, node, name, levels)
            if bits == 4 and levels.bits == 4
            else _eight_bits(helper, node, name, levels)
        )
        nodes += products
        new_tensors += [numpy_helper.from_array(value.numpy(), f"{name}_{kind}") for kind, value in tensors.items()]
    used = {name for node in nodes for name in node.input}
    old_tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*old_tensors, *new_tensors])
    if not any(opset.domain == "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def _eight_bits(helper: Any, node: Any, name: str, weight: Levels) -> tuple[list[Any], dict[str, torch.Tensor]]:
    x, y = node.input[0], node.output[0]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", [x], [f"{name}_x", f"{name}_scale", f"{name}_zero"], f"{name}_round"),
        helper.make_node(
            "MatMulInteger",
            [f"{name}_x", f"{name}_levels", f"{name}_zero", f"{name}_middle"],
            [f"{name}_sum"],
            f"{name}_product",
        ),
        helper.make_node("Cast", [f"{name}_sum"], [f"{name}_float"], f"{name}_cast", to=1),
        helper.make_node("Mul", [f"{name}_scale", f"{name}_step"], [f"{name}_scales"], f"{name}_scaling"),
        helper.make_node("Mul", [f"{name}_float", f"{name}_scales"], [y], f"{name}_scaled"),
    ]
    middle = torch.zeros((), dtype=torch.int8)
    return nodes, {"levels": weight.levels.T.contiguous(), "step": weight.step.contiguous(), "middle": middle}


def _four_bits(helper: Any, node: Any, name: str, weight: Levels) -> tuple[list[Any], dict[str, torch.Tensor]]:
    rows, columns = weight.levels.shape
    groups = -(-columns // GROUP)
    padded = torch.full((rows, groups * GROUP), _MIDDLE, dtype=torch.uint8)
    padded[:, :columns] = (weight.levels.to(torch.int16) + _MIDDLE).to(torch.uint8)
    pairs = padded.view(rows, groups, GROUP // 2, 2)
    product = helper.make_node(
        "MatMulNBits",
        [node.input[0], f"{name}_levels", f"{name}_step"],
        [node.output[0]],
        f"{name}_product",
        domain="com.microsoft",
        K=columns,
        N=rows,
        bits=4,
        block_size=GROUP,
        accuracy_level=4,
    )
    step = weight.step[:, None].expand(rows, groups).flatten().contiguous()
    return [product], {"levels": pairs[..., 0] | pairs[..., 1] << 4, "step": step}
