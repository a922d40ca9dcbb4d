"""Fields of a protocol buffer's messages, read by their numbers, from a file that may be damaged.

Only what is asked for is read: bytes of a field, such as the weights in a model, are passed over.
"""

from __future__ import annotations

import os
from typing import BinaryIO

Value = int | tuple[int, int]
"""A number, or the begin and the end of a field's bytes in the file."""
_BLOCK = 4096
_VARINT_BYTES = 10
_FIXED_BYTES = {1: 8, 5: 4}
_VARINT, _BYTES = 0, 2
_MOST_TEXT = 1 << 20


class Source:
    """A file that is read in small pieces; mapped into memory, it would count as memory of the process."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size = file.fileno(), os.fstat(file.fileno()).st_size
        self._at, self._block = 0, b""

    def read(self, begin: int, end: int) -> bytes:
        """The bytes from `begin` to `end`. Raises ValueError where the file is shorter."""
        if not self._at <= begin <= end <= self._at + len(self._block):
            self._at, self._block = begin, os.pread(self._file, max(_BLOCK, end - begin), begin)
        piece = self._block[begin - self._at : end - self._at]
        if len(piece) != end - begin:
            raise ValueError("a field ends behind the file")
        return piece

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """A number of variable length at `at`, and where the next begins. Raises ValueError for one that does not end
        before `end`.
        """
        number = 0
        for index, byte in enumerate(self.read(at, min(at + _VARINT_BYTES, end))):
            number |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return number, at + index + 1
        raise ValueError("a number does not end")


class Message:
    """The fields of a message between two places of a file, all of it by default. Raises ValueError for what is no
    message.
    """

    def __init__(self, source: Source, begin: int = 0, end: int | None = None) -> None:
        self._source, self._values = source, dict[int, list[Value]]()
        at, last = begin, source.size if end is None else end
        while at < last:
            key, at = source.varint(at, last)
            field, kind = key >> 3, key & 7
            value: Value
            if kind == _VARINT:
                value, at = source.varint(at, last)
            elif kind == _BYTES:
                length, at = source.varint(at, last)
                value, at = (at, at + length), at + length
            elif kind in _FIXED_BYTES:
                value, at = (at, at + _FIXED_BYTES[kind]), at + _FIXED_BYTES[kind]
            else:
                raise ValueError("a field is of no kind that there is")
            if at > last or not field:
                raise ValueError("a field ends behind its message")
            self._values.setdefault(field, []).append(value)

    def has(self, field: int) -> bool:
        """Whether the message has a field."""
        return field in self._values

    def number(self, field: int) -> int:
        """A whole number with its sign, 0 where there is none."""
        numbers = self.numbers(field)
        return numbers[-1] if numbers else 0

    def numbers(self, field: int) -> list[int]:
        """Whole numbers with their signs, packed or not."""
        numbers: list[int] = []
        for value in self._values.get(field, ()):
            if isinstance(value, int):
                numbers.append(value)
                continue
            at, end = value
            while at < end:
                number, at = self._source.varint(at, end)
                numbers.append(number)
        return [number - (1 << 64) if number >= 1 << 63 else number for number in numbers]

    def texts(self, field: int) -> list[str]:
        """The texts of a field, in their order."""
        return [self._text(value) for value in self._values.get(field, ())]

    def text(self, field: int) -> str:
        """A text, empty where there is none."""
        texts = self.texts(field)
        return texts[-1] if texts else ""

    def content(self, field: int) -> bytes:
        """The bytes of a field, empty where there is none."""
        value = self._values.get(field, [(0, 0)])[-1]
        return b"" if isinstance(value, int) else self._source.read(*value)

    def messages(self, field: int) -> list[Message]:
        """The messages of a field, in their order."""
        return [Message(self._source, *value) for value in self._values.get(field, ()) if not isinstance(value, int)]

    def message(self, field: int) -> Message | None:
        """A message, None where there is none."""
        messages = self.messages(field)
        return messages[-1] if messages else None

    def _text(self, value: Value) -> str:
        if isinstance(value, int) or value[1] - value[0] > _MOST_TEXT:
            raise ValueError("a text is none")
        return self._source.read(*value).decode("utf-8")
