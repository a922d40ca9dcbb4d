"""How a text becomes tokens: a character each, or byte-pair encoding (Sennrich et al., doi:10.18653/v1/P16-1162).

A manifest describes a tokenizer as `{"kind": "char", "vocabulary": "..."}`, where token i is the i-th character, or as
`{"kind": "bpe", "tokenizer_json": "..."}`, the text of a `tokenizer.json` of Hugging Face's `tokenizers`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from harness.errors import DataError
from harness.language import tokenizer as language
from harness.language.tokenizer import Tokens


class Tokenizer(language.Tokenizer, Protocol):
    """A tokenizer that a manifest can hold."""

    @property
    def description(self) -> dict[str, str]:
        """What a manifest holds of it."""
        ...


@dataclass(frozen=True)
class Characters:
    """`vocabulary[i]` is the character of token i."""

    vocabulary: str
    sha256 = None
    ends = ()

    @property
    def size(self) -> int:
        return len(self.vocabulary)

    @property
    def description(self) -> dict[str, str]:
        return {"kind": "char", "vocabulary": self.vocabulary}

    def encode(self, text: str) -> Tokens:
        """Raises DataError naming the first character that the vocabulary lacks."""
        token_of = {character: token for token, character in enumerate(self.vocabulary)}
        try:
            return np.fromiter((token_of[character] for character in text), dtype=np.int64, count=len(text))
        except KeyError as error:
            raise DataError(
                f"The text has the character {error.args[0]!r}, which is not in the model's vocabulary.",
                "Evaluate the model on the text that it was trained on.",
            ) from error

    def encode_prompt(self, text: str) -> Tokens:
        """As `encode`: nothing stands before a prompt."""
        return self.encode(text)

    def decode(self, tokens: Tokens) -> str:
        """A character a token."""
        return "".join(self.vocabulary[token] for token in tokens)


@dataclass(frozen=True)
class BytePairs:
    """Subwords, as a `tokenizer.json` says. Raises DataError where that is none."""

    tokenizer_json: str
    ends = ()

    @property
    def size(self) -> int:
        return int(self._loaded.get_vocab_size())

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.tokenizer_json.encode()).hexdigest()

    @property
    def description(self) -> dict[str, str]:
        return {"kind": "bpe", "tokenizer_json": self.tokenizer_json}

    def encode(self, text: str) -> Tokens:
        """Every text can be said: each byte is a token."""
        return np.array(self._loaded.encode(text).ids, dtype=np.int64)

    def encode_prompt(self, text: str) -> Tokens:
        """As `encode`: nothing stands before a prompt."""
        return self.encode(text)

    def decode(self, tokens: Tokens) -> str:
        """Bytes that are no character become U+FFFD."""
        return str(self._loaded.decode(list(map(int, tokens))))

    @cached_property
    def _loaded(self) -> Any:
        import tokenizers  # late: only models of subwords need it

        try:
            return tokenizers.Tokenizer.from_str(self.tokenizer_json)
        except Exception as error:  # it raises nothing more specific
            raise DataError(
                f"The tokenizer of the model cannot be read ({error}).", "Build the model again."
            ) from error


def tokenizer_of(description: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer that a manifest describes; None where it describes none that is known."""
    if isinstance(vocabulary := description.get("vocabulary"), str):
        return Characters(vocabulary)
    if isinstance(tokenizer_json := description.get("tokenizer_json"), str):
        return BytePairs(tokenizer_json)
    return None


def packaged_tokenizer(name: str) -> BytePairs:
    """The tokenizer that a recipe names, such as `bpe-1024`. Raises DataError where there is none of that name."""
    path = Path(str(files("harness.models.text") / f"{name}.json"))
    try:
        return BytePairs(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"There is no tokenizer {name!r} ({error.strerror}).", "Correct the recipe, or install harness again."
        ) from error


def learned_byte_pairs(text: str, size: int) -> BytePairs:
    """Byte-pair encoding of `size` tokens, 256 of them the bytes, learned from `text`: a word begins with its space."""
    import tokenizers

    learned = tokenizers.Tokenizer(tokenizers.models.BPE())
    learned.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    learned.train_from_iterator([text], trainer)
    return BytePairs(learned.to_str(pretty=True) + "\n")
