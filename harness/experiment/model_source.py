"""Where a run gets models that are named and are no files, and the text that language models are evaluated on. The core
knows no model by name: whoever starts a run hands such a source in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from harness.language.tokenizer import Tokenizer
from harness.target import Target

Say = Callable[[str], None]
"""Is given a sentence for a person who waits."""


class EvaluationText(NamedTuple):
    """A text in a model's tokens (int64 [tokens]), what it is called, and the sha256 of the text."""

    tokens: Any
    name: str
    sha256: str


class ModelSource(Protocol):
    """Models by name."""

    def files(self, names: Sequence[str], target: Target, say: Say) -> list[Path]:
        """The files of these models in the format that the target loads, built where they are not there yet.

        Raises UsageError for a name that it does not know, HarnessError with the message of a build that failed.
        """
        ...

    def file_in_flash(self, name: str, *, predictors: bool, text: Path | None, say: Say) -> Path:
        """The file of a model whose feed-forward weights lie in files of their own, built where it is not there yet;
        with `predictors` of its neurons, trained on `text` where that is given. Raises as `files`.
        """
        ...

    def tokenizer(self, description: Mapping[str, Any]) -> Tokenizer | None:
        """The tokenizer that a manifest describes; None where it describes none that is known."""
        ...

    def evaluation_text(self, tokenizer: Tokenizer, text: Path | None) -> EvaluationText:
        """The evaluation text, `text` where a copy of it is given, in the tokens of a tokenizer. Raises DataError."""
        ...
