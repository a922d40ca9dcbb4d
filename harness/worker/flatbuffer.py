"""Fields of a flatbuffer's tables, read by their numbers, from a file that may be damaged."""

from __future__ import annotations

from flatbuffers import encode, number_types, table

_MOST = 1_000_000


def tables(parent: table.Table, field: int) -> list[table.Table]:
    """The tables of a vector; none where the field is absent."""
    offset = parent.Offset(4 + 2 * field)
    if not offset:
        return []
    start = parent.Vector(offset)
    return [table.Table(parent.Bytes, parent.Indirect(start + 4 * i)) for i in range(checked(parent.VectorLen(offset)))]


def content(parent: table.Table, field: int, most: int) -> bytes:
    """A vector of bytes, the first `most` of it; empty where the field is absent."""
    offset = parent.Offset(4 + 2 * field)
    if not offset:
        return b""
    start = parent.Vector(offset)
    return bytes(parent.Bytes[start : start + min(parent.VectorLen(offset), most)])


def child(parent: table.Table, field: int) -> table.Table | None:
    """The table of a field, or the value of a union; None where it is absent."""
    offset = parent.Offset(4 + 2 * field)
    return table.Table(parent.Bytes, parent.Indirect(offset + parent.Pos)) if offset else None


def integers(parent: table.Table, field: int) -> list[int]:
    """A vector of 32-bit integers; empty where the field is absent."""
    offset = parent.Offset(4 + 2 * field)
    if not offset:
        return []
    start = parent.Vector(offset)
    return [int(parent.Get(number_types.Int32Flags, start + 4 * i)) for i in range(checked(parent.VectorLen(offset)))]


def number(parent: table.Table, field: int, kind: type) -> int | float | bool:
    """A number of a flatbuffers type (`number_types`), 0 where the field is absent."""
    offset = parent.Offset(4 + 2 * field)
    value: int | float | bool = parent.Get(kind, offset + parent.Pos) if offset else 0
    return value


def string(parent: table.Table, field: int) -> str:
    """A string; empty where the field is absent."""
    offset = parent.Offset(4 + 2 * field)
    if not offset:
        return ""
    at = offset + parent.Pos
    at += encode.Get(number_types.UOffsetTFlags.packer_type, parent.Bytes, at)
    length = checked(encode.Get(number_types.UOffsetTFlags.packer_type, parent.Bytes, at))
    return bytes(parent.Bytes[at + 4 : at + 4 + length]).decode("utf-8")


def checked(length: int) -> int:
    """A count read from an untrusted file must not make us loop for minutes."""
    if length > _MOST:
        raise ValueError("implausible length")
    return length
