"""The forms in which a compressed layer is stored, what they cost, and the weights that they stand for.

A layer's weight is taken as a matrix [out, in]: that of a linear layer or an embedding [rows, W] as it is, that of a
convolution with its inputs and its window as one dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from harness.models.compress.normal_float import BITS, NormalFloat

FLOAT32_BITS = 32
FLOAT16_BITS = 16


class Stored(Protocol):
    """How a weight is stored."""

    def weight(self) -> Tensor:
        """What it stands for, float32, in the shape of the layer's own weight."""

    def tensors(self) -> dict[str, Tensor]:
        """What a file holds of it, by name; integers of less than 8 bits are packed."""

    def size_bits(self) -> int:
        """Bits that it takes at rest, with steps, zero points and tables."""


@dataclass(frozen=True)
class Integers:
    """Integers with a step for each row, or for each of several groups of columns in a row:

        weight = (level - zero) * step

    `levels` int8 [out, in], or uint8 where there are `zeros`; `steps` float32 [out, groups]; `zeros` float32 [out,
    groups], None where they are all 0. `bits` is what a level takes; `shape` is that of the layer's weight.
    """

    levels: Tensor
    steps: Tensor
    bits: int
    shape: torch.Size
    zeros: Tensor | None = None

    @property
    def group(self) -> int:
        """Columns that share a step."""
        return self.levels.size(1) // self.steps.size(1)

    def weight(self) -> Tensor:
        levels = self.levels.float()
        if self.zeros is not None:
            levels = levels - self.zeros.repeat_interleave(self.group, dim=1)
        return (levels * self.steps.repeat_interleave(self.group, dim=1)).view(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        low = 0 if self.zeros is not None else -(1 << (self.bits - 1))
        parts = {"levels": pack_bits(self.levels.to(torch.int16) - low, self.bits), "steps": self.steps}
        return parts if self.zeros is None else parts | {"zeros": self.zeros}

    def size_bits(self) -> int:
        step = FLOAT32_BITS if self.steps.size(1) == 1 else FLOAT16_BITS  # those of groups are bfloat16 numbers
        zeros = 0 if self.zeros is None else self.zeros.numel() * _zero_bits(self.zeros, self.bits)
        return self.levels.numel() * self.bits + self.steps.numel() * step + zeros


@dataclass(frozen=True)
class Looked:
    """Indices into a table of values for each row, and a few weights apart that are no entry of it.

    `indices` uint8 [out, in]; `tables` float32 [out, 2^bits] of float16 numbers; `places` int64 [n] are positions in
    the flattened matrix whose weight is `values` float32 [n], of float16 numbers, in place of the table's.
    """

    indices: Tensor
    tables: Tensor
    places: Tensor
    values: Tensor
    bits: int
    shape: torch.Size

    def weight(self) -> Tensor:
        dense = self.tables.gather(1, self.indices.long())
        dense.view(-1)[self.places] = self.values
        return dense.view(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        return {
            "indices": pack_bits(self.indices.to(torch.int16), self.bits),
            "tables": self.tables.half(),
            "places": self.places.to(torch.int32),
            "values": self.values.half(),
        }

    def size_bits(self) -> int:
        apart = self.places.numel() * (FLOAT16_BITS + 32)
        return self.indices.numel() * self.bits + self.tables.numel() * FLOAT16_BITS + apart


@dataclass(frozen=True)
class OutlierColumns:
    """Integers, and some columns beside them in float16: `columns` int64 [n], `values` float32 [out, n] of float16
    numbers. The levels of these columns are 0.
    """

    integers: Integers
    columns: Tensor
    values: Tensor

    def weight(self) -> Tensor:
        dense = self.integers.weight().flatten(1).index_copy(1, self.columns, self.values)
        return dense.view(self.integers.shape)

    def tensors(self) -> dict[str, Tensor]:
        columns = {"columns": self.columns.to(torch.int32), "values": self.values.half()}
        return self.integers.tensors() | columns

    def size_bits(self) -> int:
        rows = self.integers.levels.size(0)
        integers = self.integers.size_bits() - rows * len(self.columns) * self.integers.bits
        return integers + self.values.numel() * FLOAT16_BITS + len(self.columns) * 32


@dataclass(frozen=True)
class Factors:
    """A product of matrices, first that which reads the input: weight = factors[-1] @ ... @ factors[0], each float32.

    Those named in `shared`, by position, are those of other layers too, under the name that is given: they are stored
    with the first layer that has them.
    """

    factors: tuple[Tensor, ...]
    shape: torch.Size
    shared: Mapping[int, str] = field(default_factory=dict)

    def weight(self) -> Tensor:
        product = self.factors[0]
        for factor in self.factors[1:]:
            product = factor @ product
        return product.reshape(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        return {f"factor{place}": factor for place, factor in enumerate(self.factors) if place not in self.shared}

    def size_bits(self) -> int:
        return FLOAT32_BITS * sum(factor.numel() for factor in self.tensors().values())


@dataclass(frozen=True)
class Dense:
    """A weight as it is: `values` float16 [out, in]. Where `owner` names another layer they are that layer's too, and
    stored with it.
    """

    values: Tensor
    shape: torch.Size
    owner: str | None = None

    def weight(self) -> Tensor:
        return self.values.float().view(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values} if self.owner is None else {}

    def size_bits(self) -> int:
        return FLOAT16_BITS * self.values.numel() if self.owner is None else 0


@dataclass(frozen=True)
class Product:
    """Rows that are sums of Kronecker products: `tables` float16 [pieces, rank, size], one for each place, and `index`
    int64 [out, places] which piece of each table a row has. The sizes multiply to the columns.
    """

    tables: tuple[Tensor, ...]
    index: Tensor
    shape: torch.Size

    def weight(self) -> Tensor:
        return product_rows([table.float() for table in self.tables], self.index).view(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        small = max(len(table) for table in self.tables) <= torch.iinfo(torch.int16).max
        tables = {f"table{place}": table for place, table in enumerate(self.tables)}
        return tables | {"index": self.index.to(torch.int16 if small else torch.int32)}

    def size_bits(self) -> int:
        return 8 * sum(tensor.nbytes for tensor in self.tensors().values())


@dataclass(frozen=True)
class SharedRows:
    """Rows of which several are the same: `rows` float32 or float16 [n, in], `index` int64 [out] which of them each row
    is.
    """

    rows: Tensor
    index: Tensor
    shape: torch.Size

    def weight(self) -> Tensor:
        return self.rows[self.index].float().view(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        return {"rows": self.rows, "index": self.index.to(torch.int32)}

    def size_bits(self) -> int:
        return 8 * self.rows.nbytes


@dataclass(frozen=True)
class TensorTrain:
    """A matrix as a train of cores (`low_rank.tensor_train_matrix`): core k is float32 [rank_k, out_k, in_k, rank_k+1],
    the first and the last rank are 1, and the products of out_k and of in_k are the rows and columns.
    """

    cores: tuple[Tensor, ...]
    shape: torch.Size

    def weight(self) -> Tensor:
        product = self.cores[0]
        for core in self.cores[1:]:
            rank, rows, columns = product.shape[0], product.shape[1] * core.size(1), product.shape[2] * core.size(2)
            joined = torch.einsum("aijb,bklc->aikjlc", product, core)
            product = joined.reshape(rank, rows, columns, -1)
        return product.reshape(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        return {f"core{place}": core.contiguous() for place, core in enumerate(self.cores)}

    def size_bits(self) -> int:
        return FLOAT32_BITS * sum(core.numel() for core in self.cores)


@dataclass(frozen=True)
class Hybrid:
    """Most rows of a matrix as a tensor train, the others as they are: `dense` float32 [rows, in]. `order` int64 [out]
    says which row of the layer's weight each row of the two is, those of the train first.
    """

    train: TensorTrain
    dense: Tensor
    order: Tensor
    shape: torch.Size

    def weight(self) -> Tensor:
        rows = torch.cat([self.train.weight(), self.dense])
        return rows[torch.argsort(self.order)].view(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        return self.train.tensors() | {"dense": self.dense, "order": self.order.to(torch.int32)}

    def size_bits(self) -> int:
        return self.train.size_bits() + FLOAT32_BITS * self.dense.numel() + 32 * self.order.numel()


@dataclass(frozen=True)
class LowRankUpdate:
    """A weight and a learned update of it: weight = base + scale * writing @ reading, as a layer holds it when the two
    have been merged.

    `base` float32 [out, in] is the parent's weight, which is not stored here; `reading` [rank, in] and `writing` [out,
    rank] are float32 of float16 numbers. A device stores the sum, in float32.
    """

    base: Tensor
    reading: Tensor
    writing: Tensor
    scale: float
    shape: torch.Size

    def weight(self) -> Tensor:
        return (self.base + (self.writing @ self.reading) * self.scale).view(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        return {"reading": self.reading.half(), "writing": self.writing.half()}

    def size_bits(self) -> int:
        return FLOAT32_BITS * self.base.numel()


@dataclass(frozen=True)
class NormalFloatUpdate:
    """As `LowRankUpdate`, with a base in normal floats, which is stored with the update."""

    base: NormalFloat
    reading: Tensor
    writing: Tensor
    scale: float
    shape: torch.Size

    def weight(self) -> Tensor:
        return (self.base.weight() + (self.writing @ self.reading) * self.scale).view(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        base = self.base
        parts = {"indices": pack_bits(base.indices, BITS), "scales": base.scales}
        if base.factors is not None and base.mean is not None:
            parts |= {"scales": base.scales.view(torch.uint8), "factors": base.factors, "mean": base.mean}
        return parts | {"reading": self.reading.half(), "writing": self.writing.half()}

    def size_bits(self) -> int:
        return self.base.size_bits() + FLOAT16_BITS * (self.reading.numel() + self.writing.numel())


@dataclass(frozen=True)
class RoutedUpdates:
    """A weight and several low-rank updates of it, mixed for each input x by shares softmax(router x), of which only
    the `top` are used where it is not None:

        output = base x + scale * sum over experts of share * writing * reading x

    `base` float32 [out, in] is the parent's weight, which is not stored here; `router` [experts, in], `reading`
    [experts rank, in] and `writing` [out, experts rank] are float32 of float16 numbers. `weight` takes equal shares of
    all.
    """

    base: Tensor
    router: Tensor
    reading: Tensor
    writing: Tensor
    scale: float
    top: int | None
    shape: torch.Size

    def weight(self) -> Tensor:
        return (self.base + (self.writing @ self.reading) * (self.scale / self.router.size(0))).view(self.shape)

    def tensors(self) -> dict[str, Tensor]:
        return {"router": self.router.half(), "reading": self.reading.half(), "writing": self.writing.half()}

    def size_bits(self) -> int:
        parts = (self.base, self.router, self.reading, self.writing)  # all of them float32 in a program
        return FLOAT32_BITS * sum(part.numel() for part in parts)


def adapter_bytes(layers: Mapping[str, Stored]) -> int:
    """Bytes that a file has of `layers` beside the parent's weights."""
    return sum(tensor.nbytes for stored in layers.values() for tensor in stored.tensors().values())


def product_rows(tables: Sequence[Tensor], index: Tensor) -> Tensor:
    """The rows [out, columns] that `Product` describes, with gradients for the tables."""
    rows = tables[0][index[:, 0]]
    for place in range(1, len(tables)):
        rows = torch.einsum("vra,vrb->vrab", rows, tables[place][index[:, place]]).flatten(2)
    return rows.sum(1)


def pack_bits(levels: Tensor, bits: int) -> Tensor:
    """Levels from 0 to 2^bits - 1, `bits` bits each, the lowest first, without gaps: uint8 [ceil(n bits / 8)]."""
    places = torch.arange(bits, dtype=torch.int16)
    stream = ((levels.flatten().to(torch.int16)[:, None] >> places) & 1).flatten()
    stream = torch.nn.functional.pad(stream, (0, -len(stream) % 8)).view(-1, 8)
    return (stream << torch.arange(8, dtype=torch.int16)).sum(1).to(torch.uint8)


def unpack_bits(packed: Tensor, bits: int, count: int) -> Tensor:
    """The first `count` levels that `pack_bits` packed: int16 [count]."""
    stream = ((packed.to(torch.int16)[:, None] >> torch.arange(8, dtype=torch.int16)) & 1).flatten()
    levels = stream[: count * bits].view(count, bits) << torch.arange(bits, dtype=torch.int16)
    return levels.sum(1).to(torch.int16)


def _zero_bits(zeros: Tensor, bits: int) -> int:
    return bits if torch.equal(zeros, zeros.round()) else FLOAT16_BITS
