"""The evaluation and training text: tiny Shakespeare, one token a character.

1,115,394 characters in 65 kinds, published with Karpathy's char-rnn; the first 90 % train, the last 10 % validate, as
nanoGPT's `shakespeare_char` splits it. Every copy is checked against the text's sha256, wherever it came from.
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import DataError
from harness.folders import cache_folder
from harness.models.cache import replacing

VALIDATION_NAME = "tinyshakespeare/val"
TEXT_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TEXT_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
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
    """Tiny Shakespeare, from `path`, else from $HARNESS_DATA, else from the cache folder, else downloaded into it.

    Raises DataError where the file is missing, is another text than the one its sha256 names, or cannot be downloaded.
    """
    named = path or (Path(os.environ["HARNESS_DATA"]) if os.environ.get("HARNESS_DATA") else None)
    cached = cache_folder() / "data" / "tinyshakespeare.txt"
    source = named or cached
    if named is None and not cached.exists():
        _download(cached)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise DataError(
            f"The text {source} cannot be read ({error.strerror}).", "Name the file with --data or HARNESS_DATA."
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != TEXT_SHA256:
        raise DataError(
            f"{source} is not tiny Shakespeare: its sha256 begins {found[:12]}, not {TEXT_SHA256[:12]}.",
            "Delete the file and let harness download it again." if named is None else f"Get the text from {TEXT_URL}.",
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


def _download(to: Path) -> None:
    """Fetch the text once. A half-written or wrong file never gets the name of the right one."""
    try:
        with urllib.request.urlopen(TEXT_URL, timeout=30) as response:
            data: bytes = response.read()
    except OSError as error:
        raise DataError(
            f"Tiny Shakespeare could not be downloaded ({error}).",
            f"Save {TEXT_URL} yourself and give its path with --data or HARNESS_DATA.",
        ) from error
    if hashlib.sha256(data).hexdigest() != TEXT_SHA256:
        raise DataError(f"{TEXT_URL} did not answer with tiny Shakespeare.", "Give a copy with --data or HARNESS_DATA.")
    with replacing(to.parent) as scratch:
        (scratch / to.name).write_bytes(data)
