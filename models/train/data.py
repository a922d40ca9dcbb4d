"""The evaluation and training text: tiny Shakespeare, one token a character.

1,115,394 characters in 65 kinds, published with Karpathy's char-rnn; the plays are in the public domain. The first 90 %
train, the last 10 % validate, as nanoGPT's `shakespeare_char` splits it. The text comes with harness; another copy is
checked against its sha256.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import DataError

VALIDATION_NAME = "tinyshakespeare/val"
TEXT_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TRAINING_FRACTION = 0.9

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """A text as tokens. `vocabulary[i]` is the character of token i; both splits are int64 [characters]."""

    vocabulary: str
    training: Tokens
    validation: Tokens
    sha256: str


def load_text(path: Path | None = None) -> str:
    """Tiny Shakespeare, from `path`, else from $HARNESS_DATA, else the copy that comes with harness.

    Raises DataError where the file cannot be read, or is another text than the one its sha256 names.
    """
    named = path or (Path(os.environ["HARNESS_DATA"]) if os.environ.get("HARNESS_DATA") else None)
    source = named or files("harness.models.text") / "tinyshakespeare.txt"
    try:
        data = source.read_bytes()
    except OSError as error:
        raise DataError(
            f"The text {source} cannot be read ({error.strerror}).",
            "Leave out --data and HARNESS_DATA: the text comes with harness.",
        ) from error
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != TEXT_SHA256:
        raise DataError(
            f"{source} is not tiny Shakespeare: its sha256 begins {sha256[:12]}, not {TEXT_SHA256[:12]}.",
            "Leave out --data and HARNESS_DATA: the text comes with harness."
            if named is not None
            else "The installation is damaged: install harness again.",
        )
    return data.decode("utf-8")


def split(text: str) -> tuple[str, str]:
    """The training and the validation part of a text, in that order."""
    boundary = int(TRAINING_FRACTION * len(text))
    return text[:boundary], text[boundary:]


def encode(text: str, vocabulary: str) -> Tokens:
    """`text` as int64 [characters]. Raises DataError naming the first character that `vocabulary` lacks."""
    token_of = {character: token for token, character in enumerate(vocabulary)}
    try:
        return np.fromiter((token_of[character] for character in text), dtype=np.int64, count=len(text))
    except KeyError as error:
        raise DataError(
            f"The text has the character {error.args[0]!r}, which is not in the model's vocabulary.",
            "Evaluate the model on the text that it was trained on.",
        ) from error


def corpus(text: str) -> Corpus:
    """A text split and encoded with the vocabulary of its own characters, sorted by code point."""
    vocabulary = "".join(sorted(set(text)))
    training, validation = split(text)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return Corpus(vocabulary, encode(training, vocabulary), encode(validation, vocabulary), digest)


def validation_tokens(vocabulary: str, path: Path | None = None) -> Tokens:
    """The validation split of tiny Shakespeare in a model's own vocabulary, int64 [111540]. Raises DataError."""
    return encode(split(load_text(path))[1], vocabulary)
