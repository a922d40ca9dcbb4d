"""Parameters shared across layers: all blocks of a model have the parameters of one block, also in training.

Lan, Chen, Goodman, Gimpel, Sharma and Soricut, "ALBERT: A Lite BERT for Self-supervised Learning of Language
Representations" (ICLR 2020, arXiv 1909.11942, DOI 10.48550/arXiv.1909.11942). With `skip=("*.ffn.*",)` only attention
is shared, as in one of the paper's ablations.

Differs from the paper: it trains such a model from the start, where this one starts from a trained model. The paper's
other parts, factorised embeddings and a loss of the order of sentences, are not here.

A file of weights holds one block, and so does a `.pte`: XNNPACK's weights are named by their hash there. A model
computes as many products as before: it is smaller, not faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from harness.errors import UsageError
from harness.models.compress.layers import find_layers, finished, matrix, shape_of
from harness.models.compress.method import SHARING, Options, TrainedMethod, Weights, check_choice
from harness.models.compress.stored import Dense, Stored
from harness.models.compress.training import Training

FIRST, MEAN = "first", "mean"


@dataclass(frozen=True, kw_only=True)
class AlbertOptions(Options):
    """`blocks` is the name of a ModuleList or Sequential whose members have the same parameters, None where the model
    has just one. Training starts from the parameters of the `first` block, or from the `mean` of all. Raises ValueError
    for another `start`.
    """

    blocks: str | None = None
    start: str = FIRST

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("start", self.start, (FIRST, MEAN))


def lists_of_blocks(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The lists of `model`, by name, whose members have the same parameters, by names and shapes."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1:
            members = list(module)
            kinds = [(type(part), {n: p.shape for n, p in part.named_parameters()}) for part in members]
            if kinds[0][1] and all(kind == kinds[0] for kind in kinds):
                found[name] = members
    return found


def chosen_blocks(model: nn.Module, name: str | None) -> tuple[str, list[nn.Module]]:
    """The list of blocks of that name, or the only one. Raises UsageError where there is none, or several."""
    found = lists_of_blocks(model)
    names = ", ".join(found)
    if name is None and len(found) != 1:
        listed = f": {names}" if found else ""
        raise UsageError(
            f"This model has {len(found) or 'no'} lists of layers with the same parameters{listed}.",
            "Name one of them as blocks." if found else "Choose another method.",
        )
    chosen = next(iter(found)) if name is None else name
    if chosen not in found:
        raise UsageError(
            f"{chosen!r} is no list of layers with the same parameters.",
            f"Choose from: {names}." if found else "Choose another method: this model has no such list.",
        )
    return chosen, found[chosen]


class Albert(Training):
    """Gives the blocks of `model` one set of parameters: the same objects, so that an optimizer has each once. Raises
    UsageError where there is nothing to share.
    """

    def __init__(self, model: nn.Module, options: AlbertOptions) -> None:
        self.model, self.options = model, options
        self.layers = find_layers(model, options)
        self.name, blocks = chosen_blocks(model, options.blocks)
        owners: dict[str, str] = {}
        for part, layer in blocks[0].named_modules():
            full = [f"{self.name}.{number}.{part}".strip(".") for number in range(len(blocks))]
            if not any(fnmatchcase(name, pattern) for name in full for pattern in options.skip):
                owners |= dict.fromkeys(full, full[0])
                _share(layer, [block.get_submodule(part) for block in blocks[1:]], options.start == MEAN)
        for name in list(self.layers.treated):
            if name not in owners:
                self.layers.leave(name, "it is in no block, or the option `skip` names it in one of them")
        for name in owners:  # of a kind that has no stored form, but shared as well
            self.layers.left.pop(name, None)
        self.owners = {name: owners[name] for name in self.layers.treated}
        if not self.owners:
            raise UsageError(f"No linear layer or convolution of {self.name} can be shared.", "Choose another method.")

    def weights(self) -> Weights:
        stored: dict[str, Stored] = {}
        values = {name: matrix(self.layers.treated[name]).half() for name in set(self.owners.values())}
        for name, owner in self.owners.items():
            shape = shape_of(self.layers.treated[name])
            stored[name] = Dense(values[owner], shape, None if name == owner else owner)
        return finished(self.model, self.layers, stored, self.options)


def _share(first: nn.Module, others: list[nn.Module], mean: bool) -> None:
    """Give `others` the parameters of the layer `first` itself, not those of its parts. Where it is to be the `mean`,
    they become the mean of all before.
    """
    for name, parameter in first.named_parameters(recurse=False):
        if mean:
            with torch.no_grad():
                parameter.copy_(torch.stack([parameter, *(other.get_parameter(name) for other in others)]).mean(0))
        for other in others:
            other.register_parameter(name, parameter)


METHOD = TrainedMethod(
    name="albert",
    family=SHARING,
    options=AlbertOptions,
    start=Albert,
    source="Lan et al. 2020, arXiv 1909.11942",
)
