"""The file that feed-forward weights lie in: written whole or not at all, and never believed.

A neuron of a feed-forward layer is a row of the up projection and a column of the down projection, which is kept as a
row here. Two forms, as in "LLM in a flash" (arXiv 2312.11514): `plain` has all up rows of a layer and then all down
rows; `bundled` has the two rows of a neuron side by side, so that one read of twice the size fetches both.

    page 0: magic, version, bytes and CRC-32 of header, header (JSON) | CRC-32 per row, scale per row | records | rest

What precedes the records stays in DRAM. The CRC-32 of a row, with its padding, shows a torn read, and a read of another
neuron unless that has the very same weights. Integers are little endian.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from harness.atomic_files import is_full, replacing_file, unwritable
from harness.errors import ModelError, UsageError
from harness.flash.io import encoding
from harness.flash.io.encoding import Bytes, Dtype, Floats
from harness.flash.io.geometry import PAGE_BYTES, Form, Geometry, Indices, Reads, Shape

__all__ = ["Dtype", "Form", "NeuronFile", "Reads", "Rows", "Shape", "random_rows", "write"]

Rows = Callable[[int], tuple[Floats, Floats]]

_MAGIC, _VERSION = b"NEURONS\0", 1
_PREFIX = struct.Struct("<8sIII")
# Rows encoded at a time: the float32 originals are large already.
_BLOCK_ROWS = 1024
_CHUNK_BYTES = 1 << 20
_AGAIN = "Write it again with `harness flash write`."


def random_rows(shape: Shape, seed: int) -> Rows:
    """Rows for given dimensions: uniform, of mean 0 and standard deviation width ** -0.5."""

    def rows(layer: int) -> tuple[Floats, Floats]:
        random = np.random.default_rng((seed, layer))
        up, down = weights = random.random((2, shape.neurons[layer], shape.width), np.float32)
        weights -= np.float32(0.5)
        weights *= np.float32((12 / shape.width) ** 0.5)
        return up, down

    return rows


def write(path: Path, shape: Shape, form: Form, dtype: Dtype, rows: Rows, align: int = 512) -> None:
    """Write a neuron file. `rows(layer)` gives the rows of the up projection and the columns of the down projection,
    each float32 [neurons, width].

    The file appears whole or not at all. Raises UsageError for impossible dimensions, ModelError for weights of another
    shape or that the type cannot hold, HarnessError when the disk is full or cannot be written.
    """
    geometry = Geometry(shape, form, dtype, align)
    try:
        with replacing_file(path) as file:
            # A disk that is too small says so now, not after minutes.
            os.posix_fallocate(file.fileno(), 0, geometry.file_bytes)
            tables = _write_records(file, geometry, rows)
            _write_rest(file, geometry)
            file.seek(0)
            file.write(_header(geometry, zlib.crc32(tables)))
            file.write(tables)
    except OSError as error:
        name = f"{path}, which takes {geometry.file_bytes} bytes" if is_full(error) else path
        raise unwritable(name, error, "Name a file in a folder you may write.") from error


@dataclass(frozen=True, eq=False)
class NeuronFile(Geometry):
    """A neuron file that was validated: where everything lies in it, and its tables in DRAM, `crcs` uint32 and `scales`
    float32, both [neurons of all layers, 2]. `open` makes one; nothing stays open.
    """

    path: Path
    crcs: npt.NDArray[np.uint32]
    scales: Floats

    @classmethod
    def open(cls, path: Path) -> NeuronFile:
        """Raises ModelError for a file that cannot be read, is no neuron file, is damaged, or is not as long as its
        header says. The records are not read: that is what `check` is for.
        """
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                geometry, tables_crc = _read_header(file.read(PAGE_BYTES), path)
                if size < geometry.records_at:
                    raise _shorter_than_header(path, size)
                if size != geometry.file_bytes:
                    raise ModelError(f"{path} has {size} bytes, but its header says {geometry.file_bytes}.", _AGAIN)
                tables = file.read(geometry.table_bytes)
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror or error}).", _AGAIN) from error
        if zlib.crc32(tables) != tables_crc:
            raise ModelError(f"The tables of {path} are damaged.", _AGAIN)
        numbers = 2 * sum(geometry.shape.neurons)
        crcs = np.frombuffer(tables, "<u4", numbers).reshape(-1, 2)
        scales = np.frombuffer(tables, "<f4", offset=4 * numbers).reshape(-1, 2)
        if geometry.dtype == "float16":
            scales = np.broadcast_to(np.float32(1), crcs.shape)
        return cls(**vars(geometry), path=path, crcs=crcs, scales=scales)

    @property
    def checksum(self) -> int:
        """CRC-32 of all tables, and so of all weights."""
        return zlib.crc32(self.scales.tobytes(), zlib.crc32(self.crcs.tobytes()))

    def check(self, layer: int, neurons: Indices, buffers: Bytes) -> None:
        """Compare what was read, `buffers` [n, 2, stride], with the checksums of `neurons` [n]. Raises ModelError that
        names the first neuron whose bytes are not its own.
        """
        wrong = (_checksums(buffers) != self.crcs[self._rows(layer, neurons)]).any(axis=1)
        if wrong.any():
            raise self._corrupted(layer, neurons[wrong.argmax()])

    def check_side(self, layer: int, side: int, rows: Bytes) -> None:
        """`check` of one side, 0 up and 1 down, of a whole layer: `rows` [neurons, stride]."""
        wrong = _checksums(rows) != self.crcs[self._rows(layer, np.arange(len(rows))), side]
        if wrong.any():
            raise self._corrupted(layer, wrong.argmax())

    def decode(self, layer: int, neurons: Indices, buffers: Bytes) -> tuple[Floats, Floats]:
        """The up rows and the down rows of `neurons` [n], each float32 [n, width], from `buffers` [n, 2, stride]."""
        scales, codes = self.scales[self._rows(layer, neurons)], buffers[:, :, : self.row_bytes]
        up, down = (encoding.decode(codes[:, side], scales[:, side], self.dtype, self.shape.width) for side in (0, 1))
        return up, down

    def _corrupted(self, layer: int, neuron: np.int64) -> ModelError:
        return ModelError(
            f"Neuron {neuron} of layer {layer} in {self.path} is corrupted: its bytes have another checksum.",
            f"{_AGAIN} If that does not help, the disk fails.",
        )

    def _rows(self, layer: int, neurons: Indices) -> Indices:
        return neurons + sum(self.shape.neurons[:layer])


def _checksums(rows: Bytes) -> npt.NDArray[np.uint32]:
    """The CRC-32 of each of `rows` [..., stride]. Slices of one memoryview: numpy views cost four times as much."""
    view, size = np.ascontiguousarray(rows).reshape(-1).data, rows.shape[-1]
    crcs = [zlib.crc32(view[start : start + size]) for start in range(0, len(view), size)]
    return np.array(crcs, np.uint32).reshape(rows.shape[:-1])


def _write_records(file: BinaryIO, geometry: Geometry, rows: Rows) -> bytes:
    """Write every layer; gives the tables as they are stored."""
    crcs, scales = bytearray(), bytearray()
    for layer, count in enumerate(geometry.shape.neurons):
        weights = rows(layer)
        for side in weights:
            if side.shape != (count, geometry.shape.width) or side.dtype != np.float32:
                raise ModelError(
                    f"Weights of layer {layer} are {side.dtype} {list(side.shape)}, not float32 "
                    f"{[count, geometry.shape.width]}.",
                    "Give the rows of the up projection and the columns of the down projection.",
                )
        for first in range(0, count, _BLOCK_ROWS):
            neurons = np.arange(first, min(first + _BLOCK_ROWS, count))
            buffers, block_scales = _encoded(geometry, layer, [side[neurons] for side in weights])
            offsets = geometry.reads(layer, neurons).offsets[:: len(neurons)]
            parts = [buffers] if geometry.form == "bundled" else [buffers[:, 0], buffers[:, 1]]
            for offset, part in zip(offsets, parts, strict=True):
                file.seek(offset)
                file.write(np.ascontiguousarray(part).data)
            crcs += _checksums(buffers).astype("<u4").tobytes()
            scales += block_scales.astype("<f4").tobytes()
    return bytes(crcs if geometry.dtype == "float16" else crcs + scales)


def _encoded(geometry: Geometry, layer: int, weights: list[Floats]) -> tuple[Bytes, Floats]:
    """Buffers [n, 2, stride] and scales [n, 2] of the two sides, each [n, width]."""
    buffers = np.zeros((len(weights[0]), 2, geometry.stride), np.uint8)
    scales = np.empty((len(weights[0]), 2), np.float32)
    for side, rows in enumerate(weights):
        try:
            buffers[:, side, : geometry.row_bytes], scales[:, side] = encoding.encode(rows, geometry.dtype)
        except ValueError as error:
            raise ModelError(
                f"Layer {layer} cannot be written ({error}).",
                "Mend the weights, or choose int8 where one is too large.",
            ) from error
    return buffers, scales


def _write_rest(file: BinaryIO, geometry: Geometry) -> None:
    """Bytes that no device can compress, read for the time that takes and for nothing else."""
    random, left = np.random.default_rng(0), geometry.file_bytes - geometry.rest_at
    file.seek(geometry.rest_at)
    while left:
        left -= file.write(random.bytes(min(left, _CHUNK_BYTES)))


def _header(geometry: Geometry, tables_crc: int) -> bytes:
    """The first page."""
    text = json.dumps({**asdict(geometry), "tables_crc32": tables_crc}).encode()
    page = _PREFIX.pack(_MAGIC, _VERSION, len(text), zlib.crc32(text)) + text
    if len(page) > PAGE_BYTES:
        raise UsageError(
            f"{len(geometry.shape.neurons)} layers do not fit the header of a neuron file.", "Write fewer layers."
        )
    return page.ljust(PAGE_BYTES, b"\0")


def _read_header(page: bytes, path: Path) -> tuple[Geometry, int]:
    """The geometry and the checksum of the tables."""
    if not page.startswith(_MAGIC[: len(page)]) or not page:
        raise ModelError(f"{path} is not a neuron file.", _AGAIN)
    if len(page) < PAGE_BYTES:
        raise _shorter_than_header(path, len(page))
    _, version, size, crc = _PREFIX.unpack_from(page)
    if version != _VERSION:
        raise ModelError(f"{path} is a neuron file of version {version}; this harness reads {_VERSION}.", _AGAIN)
    text = page[_PREFIX.size :][:size]
    if zlib.crc32(text) != crc:
        raise ModelError(f"The header of {path} is damaged.", _AGAIN)
    try:
        header = json.loads(text)
        shape, tables_crc = header.pop("shape"), int(header.pop("tables_crc32"))
        return Geometry(Shape(**{**shape, "neurons": tuple(shape["neurons"])}), **header), tables_crc
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UsageError) as error:
        raise ModelError(f"The header of {path} makes no sense ({error}).", _AGAIN) from error


def _shorter_than_header(path: Path, size: int) -> ModelError:
    return ModelError(f"{path} is shorter than its header: it ends after {size} bytes.", _AGAIN)
