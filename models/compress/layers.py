"""Which layers of a model a method treats, and why it leaves the others as they are."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from harness.models.compress.method import Options, Weights
from harness.models.compress.rounding import absmax
from harness.models.compress.stored import Stored

LINEAR, CONVOLUTION, EMBEDDING = "linear", "convolution", "embedding"


@dataclass
class Layers:
    """The layers of a model that a method treats, by name, and the reasons for which it leaves others as they are."""

    treated: dict[str, nn.Module] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def leave(self, name: str, reason: str) -> None:
        """Treat a layer no longer."""
        del self.treated[name]
        self.left[name] = reason

    def reasons(self) -> str:
        """Why the first three layers are left, for a message: a text in brackets after a space, empty where none is."""
        listed = "; ".join(f"{name}: {reason}" for name, reason in list(self.left.items())[:3])
        return f" ({listed})" if listed else ""


def kind_of(layer: nn.Module) -> str | None:
    """Which kind of layer it is, None where no method treats it."""
    kinds = {nn.Linear: LINEAR, nn.Conv2d: CONVOLUTION, nn.Embedding: EMBEDDING}
    return next((kind for base, kind in kinds.items() if isinstance(layer, base)), None)


def matrix(layer: nn.Module) -> Tensor:
    """A layer's weight as a float32 matrix [out, in], without a gradient."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().float().flatten(1)


def find_layers(model: nn.Module, options: Options, *, exact: bool = False, windows: bool = True) -> Layers:
    """Linear layers and, where a method takes `windows`, convolutions. Left are embeddings (`embedding_bits` is another
    matter), those that `options.skip` names, layers of other kinds that have a matrix of weights, and weights that
    several layers share. `exact` leaves subclasses too: their method replaces the layer, not its weight.
    """
    owners = _owners(model)
    layers = Layers()
    for name, layer in model.named_modules():
        own = [parameter for parameter in layer.parameters(recurse=False) if parameter.dim() > 1]
        if not own:
            continue
        kind = kind_of(layer)
        if any(fnmatchcase(name, pattern) for pattern in options.skip):
            layers.left[name] = "skipped by request"
        elif kind is None:
            layers.left[name] = f"the method does not treat {type(layer).__name__}"
        elif kind == EMBEDDING and options.embedding_bits is None:
            layers.left[name] = "an embedding, and no embedding_bits are asked for"
        elif kind == CONVOLUTION and not windows:
            layers.left[name] = "the method does not treat convolutions"
        elif kind != EMBEDDING and exact and type(layer) not in (nn.Linear, nn.Conv2d):
            layers.left[name] = f"{type(layer).__name__} is a layer of its own kind, which is not replaced"
        elif others := [other for other in owners[id(own[0])] if other != name]:
            layers.left[name] = f"it shares its weight with {', '.join(others)}"
        elif kind != EMBEDDING:  # `finished` adds embeddings
            layers.treated[name] = layer
    return layers


def leave_unseen(layers: Layers, names: Container[str]) -> None:
    """Leave every layer that is not among `names`: the calibration did not run it."""
    for name in [name for name in layers.treated if name not in names]:
        layers.leave(name, "the calibration does not run it")


def leave_ungrouped(layers: Layers, group: int | None) -> None:
    """Leave every layer whose inputs are no multiple of `group`."""
    for name, layer in list(layers.treated.items()):
        inputs = matrix(layer).size(1)
        if group is not None and inputs % group:
            layers.leave(name, f"its {inputs} inputs are no multiple of the group of {group}")


def leave_grouped_windows(layers: Layers) -> None:
    """Leave convolutions whose channels are in groups, or whose inputs are padded by a rule: their rows read different
    inputs, or the windows are not known.
    """
    for name, layer in list(layers.treated.items()):
        if isinstance(layer, nn.Conv2d) and (layer.groups > 1 or isinstance(layer.padding, str)):
            layers.leave(name, "a convolution in groups, or padded by name, is not calibrated")


def shape_of(layer: nn.Module) -> torch.Size:
    """The shape of a layer's weight."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.shape


def finished(model: nn.Module, layers: Layers, stored: dict[str, Stored], options: Options) -> Weights:
    """The weights of a method: its layers, and the embeddings where `options` asks for them."""
    weights = Weights(dict(stored), left=dict(layers.left))
    if options.embedding_bits is not None:
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Embedding) and name not in layers.left:
                weights.layers[name] = absmax(matrix(layer), options.embedding_bits, shape_of(layer))
    return weights


def finished_scaled(
    model: nn.Module,
    layers: Layers,
    stored: dict[str, Stored],
    options: Options,
    changed: dict[str, Tensor],
    scales: dict[str, Tensor],
) -> Weights:
    """As `finished`, of a method that multiplied the columns of some layers by `scales` [in], and `changed` the norms
    before them.
    """
    weights = finished(model, layers, stored, options)
    weights.changed, weights.scales = changed, scales
    weights.facts["scaled_layers"] = len(scales)
    return weights


def _owners(model: nn.Module) -> dict[int, list[str]]:
    owners: dict[int, list[str]] = {}
    for name, layer in model.named_modules():
        for parameter in layer.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    return owners
