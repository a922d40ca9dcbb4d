"""The numbers a program computes in, chosen when it is loaded: the same file runs in each of them.

* `fp32`: float32, products too.
* `tf32`: float32, products rounded to 10 bits of fraction by the matrix units.
* `fp16`, `bf16`: every floating-point weight, constant and input in that type.
* `int8`: bf16, and the weights of linear layers int8 with a step an output channel, by torchao (weight only).

A program whose graph names float32 itself cannot be turned into another type, and fails with torch's words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import ModelError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")


def set_products(precision: str | None) -> None:
    """Whether products of float32 may be rounded to TF32: only under `tf32`, whatever torch's own choice is (it rounds
    those of convolutions).
    """
    import torch

    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def dtype_of(precision: str | None) -> torch.dtype | None:
    """What floating-point inputs are turned into; None: they stay as they are."""
    import torch

    return {"fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.bfloat16}.get(precision or "")


def convert(module: Any, precision: str | None, name: str) -> None:
    """Turn the weights of an exported program's graph module into `precision`, in place.

    Raises ModelError, by the model's `name`, where `int8` finds no linear layer.
    """
    dtype = dtype_of(precision)
    if dtype is not None:
        module.to(dtype)
    if precision != "int8":
        return
    weights = linear_weights(module)
    if not weights:
        raise ModelError(
            f"{name} has no linear layer whose weight could be int8.", "Leave out int8, or choose another model."
        )
    for weight in weights:
        owner, _, leaf = weight.rpartition(".")
        setattr(module.get_submodule(owner), leaf, _int8(module.get_parameter(weight)))


def linear_weights(module: Any) -> list[str]:
    """The names of the parameters of a graph module that are weights of linear layers and nothing else."""
    import torch

    used: dict[str, bool] = {}
    parameters = dict(module.named_parameters())
    for node in module.graph.nodes:
        if node.op != "get_attr" or node.target not in parameters:
            continue
        weighs = all(
            user.target is torch.ops.aten.linear.default and user.args[1] is node and user.args[0] is not node
            for user in node.users
        )
        used[node.target] = used.get(node.target, True) and weighs and bool(node.users)
    return [name for name, only in used.items() if only]


def _int8(weight: torch.Tensor) -> torch.nn.Parameter:
    """`weight` [out, in] as torchao keeps it; its kernels are chosen by the tensor's type."""
    # Imported late: it takes seconds, and only this precision needs it.
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    layer = torch.nn.Linear(weight.size(1), weight.size(0), bias=False, device="meta")
    layer.weight = torch.nn.Parameter(weight.detach(), requires_grad=False)
    quantize_(layer, Int8WeightOnlyConfig())
    return layer.weight
