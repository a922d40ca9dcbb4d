"""Embeddings as sums of tensor products of small vectors, which are trained. Tokens with a piece in common share its
vectors.

Gan, Zhang, Li, Lu and Wang, "MorphTE: Injecting Morphology in Tensorized Embeddings" (NeurIPS 2022, arXiv 2210.15379,
DOI 10.48550/arXiv.2210.15379). A token has `order` pieces, and each piece a vector for each of `rank` terms:

    row of a token = sum over terms of the Kronecker product of its pieces' vectors

Differs from the paper:

* its pieces are the morphemes of words. Here tokens of byte-pair encoding are split in the way they were merged, at
  most `order` - 1 times. Other tokens, such as characters, have no morphology: their pieces are the digits of their
  number, similar to word2ketXS (Panahi, Saeedi and Arodz, arXiv 1911.04975, DOI 10.48550/arXiv.1911.04975);
* each place has a table of its own, and the product of the vectors' sizes is exactly the width. The authors' code has
  one table for all places, cuts the product to the width, and normalises each row (LayerNorm);
* tables are first fitted to the trained rows, then trained while everything else is frozen; the paper trains whole
  models from the start.

A head that is tied to the embedding follows it. A program holds the rows multiplied out, in float32: the file of
weights is smaller, the program is not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.errors import UsageError
from harness.models.compress.layers import find_layers, finished, shape_of
from harness.models.compress.low_rank.budget import balanced
from harness.models.compress.method import LOW_RANK, Options, TrainedMethod, Weights, check_range
from harness.models.compress.rounding import SMALLEST
from harness.models.compress.stored import Product, Stored, product_rows
from harness.models.compress.training import Training

FIT_STEPS, FIT_RATE = 300, 0.03


@dataclass(frozen=True, kw_only=True)
class MorphteOptions(Options):
    """`rank` terms of a row, and `order` pieces of a token. `tokenizer` is the name of a byte-pair tokenizer that comes
    with harness, whose merges give the pieces; None takes the digits of a token's number. `embeddings` are patterns of
    the names of the layers that are treated. Raises ValueError for a number out of range.
    """

    rank: int = 8
    order: int = 2
    tokenizer: str | None = None
    embeddings: tuple[str, ...] = ("*token_embedding",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rank", self.rank, 1, 1 << 10)
        check_range("order", self.order, 2, 8)
        if self.embedding_bits is not None:
            raise ValueError("embedding_bits would store the embeddings a second time")


def digits(count: int, order: int) -> Tensor:
    """The numbers 0 to `count` - 1 in the least base that takes no more than `order` digits: int64 [count, order]."""
    base = next(base for base in range(2, count + 2) if base**order >= count)
    numbers = torch.arange(count)
    return torch.stack([numbers // base**place % base for place in reversed(range(order))], dim=1)


def _packaged(name: str) -> str:
    """The file of a tokenizer that comes with harness. Raises UsageError where there is none of that name."""
    try:
        return (files("harness.models.text") / f"{name}.json").read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"There is no tokenizer {name!r} ({error.strerror}).", "Correct the option.") from error


def merged_pieces(tokenizer_json: str, order: int) -> Tensor:
    """The pieces of each token of byte-pair encoding, as numbers from 0 for each place: int64 [tokens, order]. The last
    merge of the longest piece is undone, until there are `order` pieces or none can be split. Where a token has fewer
    pieces, its last places are empty; an empty piece has a number as well.
    """
    model: dict[str, Any] = json.loads(tokenizer_json)["model"]
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    halves = {left + right: (left, right) for left, right in reversed(pairs)}  # the first merge of a token makes it
    rows = []
    for token in sorted(model["vocab"], key=model["vocab"].__getitem__):
        pieces = [token]
        while len(pieces) < order and any(piece in halves for piece in pieces):
            place = max(range(len(pieces)), key=lambda at: (pieces[at] in halves, len(pieces[at])))
            pieces[place : place + 1] = halves[pieces[place]]
        rows.append(pieces + [""] * (order - len(pieces)))
    columns = []
    for column in zip(*rows, strict=True):
        number_of = {piece: number for number, piece in enumerate(dict.fromkeys(column))}
        columns.append(torch.tensor([number_of[piece] for piece in column]))
    return torch.stack(columns, dim=1)


class Products(nn.Module):
    """A parametrization: from the tables to the weight [tokens, width], and from a weight to tables (`fitted`)."""

    index: Tensor

    def __init__(self, index: Tensor, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.register_buffer("index", index, persistent=False)

    def forward(self, *tables: Tensor) -> Tensor:
        return product_rows(tables, self.index)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, ...]:
        return fitted(weight, self.index, self.rank)


def fitted(weight: Tensor, index: Tensor, rank: int) -> tuple[Tensor, ...]:
    """Tables [pieces, rank, size] whose products come close to `weight` [tokens, width]: gradient descent (Adam) on the
    squared error, with a fixed seed.
    """
    generator = torch.Generator().manual_seed(0)
    scale = weight.detach().float().std(correction=0).clamp(min=SMALLEST)
    wanted = weight.detach().float() / scale
    order, spread = index.size(1), rank ** (-0.5 / index.size(1))
    tables = [
        (spread * torch.randn(int(column.max()) + 1, rank, size, generator=generator)).requires_grad_()
        for column, size in zip(index.unbind(1), balanced(weight.size(1), order), strict=True)
    ]
    optimizer = torch.optim.Adam(tables, lr=FIT_RATE)
    with torch.enable_grad():
        for step in range(FIT_STEPS):
            optimizer.param_groups[0]["lr"] = FIT_RATE * (1 - step / FIT_STEPS)
            loss = (product_rows(tables, index) - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return tuple((table * scale ** (1 / order)).detach() for table in tables)


class Morphte(Training):
    """Makes the embeddings of `model` products, and freezes everything else. Raises UsageError where there is none."""

    def __init__(self, model: nn.Module, options: MorphteOptions) -> None:
        self.model, self.options = model, options
        self.layers = find_layers(model, options)
        for name in list(self.layers.treated):
            self.layers.leave(name, "the method treats embeddings alone")
        model.requires_grad_(False)
        self.embeddings: dict[str, Products] = {}
        for name, layer in list(model.named_modules()):
            asked = any(fnmatchcase(name, pattern) for pattern in options.embeddings)
            if isinstance(layer, nn.Embedding) and asked and self.layers.left.get(name) != "skipped by request":
                self.embeddings[name] = products = Products(_pieces(layer.num_embeddings, options), options.rank)
                layer.weight.requires_grad_(True)
                parametrize.register_parametrization(layer, "weight", products, unsafe=True)
                self.layers.left.pop(name, None)
        if not self.embeddings:
            raise UsageError("No embedding of this model has one of the names asked for.", "Name it in embeddings.")

    def weights(self) -> Weights:
        stored: dict[str, Stored] = {}
        for name, products in self.embeddings.items():
            layer = self.model.get_submodule(name)
            originals = layer.parametrizations.weight  # type: ignore[union-attr]
            tables = tuple(
                originals.get_parameter(f"original{place}").detach().half()  # type: ignore[union-attr]
                for place in range(self.options.order)
            )
            stored[name] = Product(tables, products.index, shape_of(layer))
        weights = finished(self.model, self.layers, stored, self.options)
        numbers = {name: (products.index.amax(0) + 1).tolist() for name, products in self.embeddings.items()}
        weights.facts["pieces"] = numbers
        return weights


def _pieces(tokens: int, options: MorphteOptions) -> Tensor:
    if options.tokenizer is None:
        return digits(tokens, options.order)
    index = merged_pieces(_packaged(options.tokenizer), options.order)
    if len(index) != tokens:
        raise UsageError(
            f"{options.tokenizer} has {len(index)} tokens, the embedding {tokens} rows.", "Name the model's tokenizer."
        )
    return index


METHOD = TrainedMethod(
    name="morphte",
    family=LOW_RANK,
    options=MorphteOptions,
    start=Morphte,
    source="Gan et al. 2022, arXiv 2210.15379",
)
