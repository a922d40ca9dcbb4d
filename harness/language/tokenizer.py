"""What turns a text into the tokens of a model, and back."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int64]


class Tokenizer(Protocol):
    """A text to its tokens and back."""

    @property
    def size(self) -> int:
        """How many tokens there are."""
        ...

    @property
    def sha256(self) -> str | None:
        """Names the tokens where they are not characters, whose count is the text's own whatever the model."""
        ...

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end a text; none where that is not known."""
        ...

    def encode(self, text: str) -> Tokens:
        """`text` as int64 [tokens], and nothing before or behind it. Raises DataError for a text that these tokens
        cannot say.
        """
        ...

    def encode_prompt(self, text: str) -> Tokens:
        """As `encode`, with the tokens that the model's own users put before and behind a prompt."""
        ...

    def decode(self, tokens: Tokens) -> str:
        """The text of some tokens, as far as they are one: bytes that are no character become U+FFFD."""
        ...
