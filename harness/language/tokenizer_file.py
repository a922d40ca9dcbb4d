"""The tokenizer of a language model from its file, in the three kinds that exported models come with:

* `tokenizer.json` of Hugging Face's `tokenizers`,
* `tokenizer.model` of SentencePiece (Kudo and Richardson, doi:10.18653/v1/D18-2012), as Llama 2 and Gemma have it,
* `tokenizer.model` of tiktoken, lines of a token in base64 and its number, as Llama 3 has it.

The library of each comes with ExecuTorch, whose own runner reads the same files. Which kind a file is, its content
says: two of them have the same name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import DataError
from harness.language.tokenizer import Tokens
from harness.outside_files import printable

NAMES = ("{stem}.tokenizer.json", "{stem}.tokenizer.model", "tokenizer.json", "tokenizer.model")
"""What a tokenizer is called that lies beside a model, in the order in which they are looked for."""
_MOST_BYTES = 256 << 20
_TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?$")
_ENDS = ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>")
"""Names of the token that ends a text, where no file beside says which it is."""


@dataclass(frozen=True)
class FileTokenizer:
    """A `harness.language.tokenizer.Tokenizer` read from a file; `library` is what read it."""

    name: str
    library: str
    size: int
    sha256: str
    ends: tuple[int, ...]
    _encode: Callable[[str], Iterable[int]]
    _encode_prompt: Callable[[str], Iterable[int]]
    _decode: Callable[[list[int]], str]

    def encode(self, text: str) -> Tokens:
        """`text` as int64 [tokens], and nothing before or behind it."""
        return np.fromiter(self._encode(text), np.int64)

    def encode_prompt(self, text: str) -> Tokens:
        """With what the tokenizer puts before and behind a text: often a token that begins it."""
        return np.fromiter(self._encode_prompt(text), np.int64)

    def decode(self, tokens: Tokens) -> str:
        """The text of some tokens; special ones are left out."""
        return self._decode([int(token) for token in tokens])


def tokenizer_beside(model: Path) -> Path | None:
    """The file of a model's tokenizer, found by its name beside the model; None where there is none."""
    paths = (model.parent / name.format(stem=model.stem) for name in NAMES)
    return next((path for path in paths if path.is_file()), None)


def read_tokenizer(path: Path) -> FileTokenizer:
    """The tokenizer in a file. Raises DataError where it cannot be read, or is none of a known kind."""
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise DataError(f"{printable(path.name)} has {size} bytes: that is no tokenizer.", _KINDS)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"The tokenizer {path} cannot be read ({error.strerror}).", "Check the path.") from error
    try:
        if data.lstrip()[:1] == b"{":
            return _of_hugging_face(path, data)
        if _TIKTOKEN_LINE.match(data.partition(b"\n")[0]):
            return _of_tiktoken(path, data)
        return _of_sentencepiece(path, data)
    except DataError:
        raise
    except Exception as error:  # the libraries raise nothing more specific
        what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{printable(path.name)} is no tokenizer that can be read ({what[:200]}).", _KINDS) from error


_KINDS = (
    "Give a tokenizer.json of Hugging Face, a tokenizer.model of SentencePiece, or one of tiktoken (Llama 3), as the "
    "model was trained with."
)


def _of_hugging_face(path: Path, data: bytes) -> FileTokenizer:
    import tokenizers

    loaded = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
    named = [loaded.token_to_id(name) for name in (*_declared_ends(path.parent), *_ENDS)]
    declared = _declared_ends(path.parent)
    ends = [token for token in named[: len(declared)] if token is not None] or [t for t in named if t is not None]
    return FileTokenizer(
        name=printable(path.name),
        library="tokenizers",
        size=loaded.get_vocab_size(),
        sha256=hashlib.sha256(data).hexdigest(),
        ends=tuple(dict.fromkeys(ends)),
        _encode=lambda text: loaded.encode(text, add_special_tokens=False).ids,
        _encode_prompt=lambda text: loaded.encode(text).ids,
        _decode=loaded.decode,
    )


def _declared_ends(folder: Path) -> list[str]:
    """The end of a text by name, as the `tokenizer_config.json` beside says; nothing where it does not."""
    try:
        config = json.loads((folder / "tokenizer_config.json").read_bytes())
        end = config["eos_token"]
        return [str(end["content"] if isinstance(end, dict) else end)]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _of_sentencepiece(path: Path, data: bytes) -> FileTokenizer:
    import sentencepiece

    loaded: Any = sentencepiece.SentencePieceProcessor()
    loaded.LoadFromSerializedProto(data)
    if loaded.vocab_size() < 1:
        raise DataError(f"{printable(path.name)} has no tokens.", _KINDS)
    begin = [loaded.bos_id()] if loaded.bos_id() >= 0 else []
    return FileTokenizer(
        name=printable(path.name),
        library="sentencepiece",
        size=loaded.vocab_size(),
        sha256=hashlib.sha256(data).hexdigest(),
        ends=(loaded.eos_id(),) if loaded.eos_id() >= 0 else (),
        _encode=loaded.EncodeAsIds,
        _encode_prompt=lambda text: [*begin, *loaded.EncodeAsIds(text)],
        _decode=loaded.DecodeIds,
    )


def _of_tiktoken(path: Path, data: bytes) -> FileTokenizer:
    """With the pattern and the special tokens of Llama 3, which the file does not have: ExecuTorch's runner takes them
    too. Read here, since tiktoken's own reader copies a file to /tmp once and never looks at it again.
    """
    import tiktoken
    from pytorch_tokenizers.constants import CL100K_PAT_STR, LLAMA_SPECIAL_TOKENS

    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise DataError(f"Line {number} of {printable(path.name)} is no token and its number.", _KINDS) from error
    # The library ends with a panic in Rust, which is no error that Python's users catch, where these do not hold.
    if sorted(ranks.values()) != list(range(len(ranks))) or not all(bytes([byte]) in ranks for byte in range(256)):
        raise DataError(f"{printable(path.name)} does not number every byte and all other tokens from 0 on.", _KINDS)
    special = {name: len(ranks) + number for number, name in enumerate(LLAMA_SPECIAL_TOKENS)}
    loaded = tiktoken.Encoding(name=path.name, pat_str=CL100K_PAT_STR, mergeable_ranks=ranks, special_tokens=special)
    begin = special["<|begin_of_text|>"]
    return FileTokenizer(
        name=printable(path.name),
        library="tiktoken",
        size=len(ranks) + len(special),
        sha256=hashlib.sha256(data).hexdigest(),
        ends=tuple(special[name] for name in ("<|end_of_text|>", "<|eot_id|>")),
        _encode=loaded.encode_ordinary,
        _encode_prompt=lambda text: [begin, *loaded.encode_ordinary(text)],
        _decode=loaded.decode,
    )
