"""What a GGUF file says of itself, without its weights: metadata, and the name, shape and type of each tensor.

The header is read directly, by GGUF's published layout: the package `gguf` would be one more that a worker needs, and
reads each text of a vocabulary into an object. Damaged files are expected here.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ModelError
from harness.worker.protobuf import Source

Value = int | float | bool | str
_MAGIC, _VERSIONS, _OTHER_BYTE_ORDER = b"GGUF", (2, 3), (2 << 24, 3 << 24)
_UINT32, _INT32, _STRING, _ARRAY = 4, 5, 8, 9
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_MOST_DIMENSIONS = 4
_MOST_NAME = 1 << 16
# A text of the metadata, such as a chat template, that is longer is passed over.
_MOST_TEXT = 256
# A header has no more entries, and an array no more items.
_MOST_ENTRIES, _MOST_ITEMS = 1 << 16, 1 << 24
_LARGEST = (1 << 31) - 1
# llama.cpp takes no more layers than these, and none fewer than one.
_MOST_LAYERS = 512
_TYPES = {
    **dict(enumerate(("F32", "F16", "Q4_0", "Q4_1"))),
    **dict(enumerate(("Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K"), 6)),
    **dict(enumerate(("IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS"), 16)),
    **dict(enumerate(("I8", "I16", "I32", "I64", "F64", "IQ1_M", "BF16"), 24)),
    **dict(enumerate(("TQ1_0", "TQ2_0"), 34)),
    **dict(enumerate(("MXFP4", "NVFP4", "Q1_0", "Q2_0"), 39)),
}
_AGAIN = "Convert it again, or copy it again if it came from elsewhere."


@dataclass(frozen=True)
class GgufFile:
    """`metadata` has the numbers and short texts by key, `lengths` how many items each array has, `types` how many
    tensors there are of each type; `shapes` are those of the tensors by name, in the order of the file: the innermost
    dimension first.
    """

    metadata: dict[str, Value]
    lengths: dict[str, int]
    types: dict[str, int]
    shapes: dict[str, tuple[int, ...]]

    @property
    def architecture(self) -> str:
        """Such as `llama`."""
        return str(self.metadata["general.architecture"])

    @property
    def context(self) -> int:
        """The greatest number of tokens that a sequence may have."""
        return int(self.metadata[f"{self.architecture}.context_length"])

    @property
    def vocabulary(self) -> int:
        """How many tokens there are: the rows of their table."""
        return self.shapes[_TOKENS][1]


_TOKENS = "token_embd.weight"


def read_gguf(path: Path) -> GgufFile:
    """What the file at `path` says of itself. Raises ModelError for one that is missing, empty, cut short or no GGUF,
    and for one that holds no language model, or a part of one.
    """
    try:
        with path.open("rb") as file:
            source = Source(file)
            if not source.size:
                raise ModelError(f"{path} is empty.", _AGAIN)
            read = _Reader(source).header(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    except (ValueError, OverflowError, struct.error) as error:
        raise ModelError(f"{path} is damaged: its header cannot be read ({error}).", _AGAIN) from error
    _check(path, read)
    return read


class _Reader:
    """Reads on from the begin of a file. Raises ValueError for what no GGUF has."""

    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0

    def header(self, path: Path) -> GgufFile:
        if self._take(4) != _MAGIC:
            raise ModelError(f"{path} is not a GGUF file: it does not begin with `GGUF`.", _AGAIN)
        version = int(self._number(_UINT32))
        if version not in _VERSIONS:
            why = "for a big-endian processor" if version in _OTHER_BYTE_ORDER else f"of GGUF version {version}"
            raise ModelError(f"{path} is {why}, which is not read here.", "Convert it again, with a current version.")
        tensors, entries = self._count(_MOST_ENTRIES), self._count(_MOST_ENTRIES)
        metadata, lengths = dict[str, Value](), dict[str, int]()
        for _ in range(entries):
            key, kind = self._name(), int(self._number(_UINT32))
            if kind == _ARRAY:
                lengths[key] = self._pass_array()
            elif kind == _STRING:
                if (text := self._text()) is not None:
                    metadata[key] = text
            else:
                metadata[key] = self._number(kind)
        shapes, types = dict[str, tuple[int, ...]](), Counter[str]()
        for _ in range(tensors):
            name, dimensions = self._name(), int(self._number(_UINT32))
            if dimensions > _MOST_DIMENSIONS:
                raise ValueError(f"a tensor has {dimensions} dimensions")
            shapes[name] = tuple(self._count() for _ in range(dimensions))
            kind = int(self._number(_INT32))
            types[_TYPES.get(kind, f"type {kind}")] += 1
            self._count()  # where its data begin
        return GgufFile(metadata, lengths, dict(types), shapes)

    def _take(self, size: int) -> bytes:
        begin = self._at
        self._at += size
        return self._source.read(begin, self._at)

    def _number(self, kind: int) -> Value:
        layout = _NUMBERS.get(kind)
        if layout is None:
            raise ValueError(f"a value is of type {kind}")
        (number,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        value: Value = number
        return value

    def _count(self, most: int = (1 << 63) - 1) -> int:
        count = int(self._number(10))
        if count > most:
            raise ValueError(f"it announces {count} entries")
        return count

    def _name(self) -> str:
        try:
            return self._take(self._count(_MOST_NAME)).decode()
        except UnicodeDecodeError as error:
            raise ValueError("a name is no text") from error

    def _text(self) -> str | None:
        """A text; None for one that is long, or in no known encoding."""
        size = self._count(self._source.size)
        if size > _MOST_TEXT:
            self._at += size
            return None
        return self._take(size).decode(errors="replace")

    def _pass_array(self) -> int:
        kind, items = int(self._number(_UINT32)), self._count(_MOST_ITEMS)
        if kind == _STRING:
            for _ in range(items):
                size = self._count(self._source.size)
                self._at += size
        elif kind in _NUMBERS:
            self._at += items * struct.calcsize(_NUMBERS[kind])
        else:
            raise ValueError(f"an array is of type {kind}")
        return items


def _check(path: Path, file: GgufFile) -> None:
    """Raises ModelError for a file that holds no language model, or not a whole one."""
    parts = file.metadata.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        raise ModelError(
            f"{path} is one of {parts} files of a model.", "Make one of them: `llama-gguf-split --merge` of llama.cpp."
        )
    kind = file.metadata.get("general.type", "model")
    architecture = file.metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise ModelError(f"{path} does not say of which architecture its model is.", _AGAIN)
    if kind != "model":
        raise ModelError(f"{path} is no model by itself, but of type {kind}.", "Give the file of the language model.")
    rows = file.shapes.get(_TOKENS, ())
    if len(rows) != 2:
        raise ModelError(
            f"{path} holds no language model: it has no table of tokens ({_TOKENS}).",
            "Only language models run in llama.cpp; export another model as .pte, .pt2 or .onnx.",
        )
    if file.metadata.get(f"{architecture}.attention.causal") is False:  # llama.cpp would give zeros for its logits
        raise ModelError(
            f"{path} generates no text: every token of its architecture, {architecture}, sees those behind it.",
            "Give a language model; one for embeddings runs as .onnx.",
        )
    own = {key.removeprefix(f"{architecture}."): value for key, value in file.metadata.items()}
    for name, size, most in (
        ("tokens", rows[1], _LARGEST),
        ("tokens of a sequence", own.get("context_length"), _LARGEST),
        ("layers", own.get("block_count"), _MOST_LAYERS),
    ):
        if not isinstance(size, int) or not 0 < size <= most:
            raise ModelError(f"{path} is damaged: the number of {name} is {size}.", _AGAIN)
    if "tokenizer.ggml.tokens" not in file.lengths and own.get("vocab_size") != rows[1]:
        raise ModelError(
            f"{path} is damaged: it has {own.get('vocab_size')} tokens, and {rows[1]} in their table.", _AGAIN
        )
    for key, value in own.items():
        if key.endswith("epsilon") and not (isinstance(value, float) and 0 <= value < 1):
            raise ModelError(f"{path} is damaged: {key} is {value}.", _AGAIN)
