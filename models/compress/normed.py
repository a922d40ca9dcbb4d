"""Which linear layers read nothing but a norm's output, so that a scale of their inputs can be taken into the norm.

A norm ends in a product with a weight for each channel. Where all that reads it are linear layers, the product of W
with a diagonal matrix S and of the norm's weight (and bias) with its inverse leaves the model's function as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import Node

from harness.errors import UsageError

_NORMS = ("layer_norm", "rms_norm", "mul")
"""Operators whose last operands are a weight, and perhaps a bias, for each channel; `mul` ends norms by hand."""


@dataclass(frozen=True)
class Normed:
    """`layers` by name, the readers of a norm whose parameters for each channel are `parameters` by full name."""

    parameters: tuple[str, ...]
    layers: tuple[str, ...]


def normed_layers(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Normed]:
    """Every norm of `model` that only linear layers read, each of them nothing else, in the order of its computation.

    What reads what is taken from the program that torch.export makes of the model for `inputs`. Raises UsageError where
    it cannot make one.
    """
    try:
        program = torch.export.export(model, inputs, strict=False)
    except Exception as error:  # whatever the model's own code makes torch raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"torch.export cannot trace this model ({reason}).", "Choose a method that changes no norm, such as gptq."
        ) from error
    names = program.graph_signature.inputs_to_parameters

    def parameter(operand: object) -> str | None:
        """The name of a parameter that only its node's one user reads."""
        alone = isinstance(operand, Node) and operand.name in names and len(operand.users) == 1
        return names[operand.name] if alone and isinstance(operand, Node) else None

    norms = []
    for node in program.graph.nodes:
        if node.op != "call_function" or _operator(node) not in _NORMS:
            continue
        operands = [operand for operand in node.args if isinstance(operand, Node)]
        of_channels = [name for operand in operands if (name := parameter(operand)) is not None]
        if not of_channels or len(of_channels) != len(operands) - 1:
            continue
        readers = [
            weight
            for user in node.users
            if _operator(user) == "linear" and user.args[0] is node and (weight := parameter(user.args[1])) is not None
        ]
        channels = node.meta["val"].shape[-1]
        fitting = all(model.get_parameter(name).shape == (channels,) for name in of_channels)
        if readers and len(readers) == len(node.users) and fitting:
            norms.append(Normed(tuple(of_channels), tuple(name.removesuffix(".weight") for name in readers)))
    return norms


def among(norms: Iterable[Normed], treated: Iterable[str]) -> list[Normed]:
    """The norms all of whose readers are treated."""
    names = set(treated)
    return [norm for norm in norms if names.issuperset(norm.layers)]


def inverse_scaled(model: nn.Module, norm: Normed, scales: Tensor) -> dict[str, Tensor]:
    """The parameters of a norm divided by `scales` [channels], by full name."""
    return {name: model.get_parameter(name).detach() / scales for name in norm.parameters}


def _operator(node: Node) -> str:
    return node.target.overloadpacket.__name__ if isinstance(node.target, torch._ops.OpOverload) else ""
