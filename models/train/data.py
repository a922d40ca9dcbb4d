"""The evaluation and training text: tiny Shakespeare, as tokens.

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

from harness.errors import DataError
from harness.language import tokenizer as language
from harness.language.tokenizer import Tokens
from harness.models.train.tokenizer import Characters, Tokenizer

VALIDATION_NAME = "tinyshakespeare/val"
TEXT_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TRAINING_FRACTION = 0.9


@dataclass(frozen=True)
class Corpus:
    """A text as tokens, as its tokenizer makes them: int64 [tokens] each. `sha256` is that of the text."""

    tokenizer: Tokenizer
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


def corpus(text: str, tokenizer: Tokenizer | None = None) -> Corpus:
    """A text split and encoded, with the vocabulary of its own characters, sorted by code point, unless another
    tokenizer is given.
    """
    tokenizer = tokenizer or Characters("".join(sorted(set(text))))
    training, validation = split(text)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return Corpus(tokenizer, tokenizer.encode(training), tokenizer.encode(validation), digest)


def validation_tokens(tokenizer: language.Tokenizer, path: Path | None = None) -> Tokens:
    """The validation split of tiny Shakespeare, 111,540 characters, in a model's own tokens: int64 [tokens]. Raises
    DataError.
    """
    return tokenizer.encode(split(load_text(path))[1])


def validation_name(tokenizer: language.Tokenizer) -> str:
    """What the validation split is called in results."""
    return VALIDATION_NAME if tokenizer.sha256 is None else f"{VALIDATION_NAME}, {tokenizer.size} subwords"


def tokens_sha256(text_sha256: str, tokenizer: language.Tokenizer) -> str:
    """Names a text as tokens: losses per token are compared where it is the same. Characters leave the text's own."""
    if tokenizer.sha256 is None:
        return text_sha256
    return hashlib.sha256(f"{text_sha256} {tokenizer.sha256}".encode()).hexdigest()
