"""Which tokenizer a language model has, and which tokens it is evaluated on: given ones, or a text in its tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import DataError, UsageError
from harness.experiment.model_source import EvaluationText, ModelSource
from harness.experiment.plan import Subject
from harness.experiment.request import RunRequest
from harness.language.token_file import read_tokens
from harness.language.tokenizer import Tokenizer
from harness.language.tokenizer_file import FileTokenizer, read_tokenizer, tokenizer_beside
from harness.manifest import Manifest
from harness.measurement import Measurement
from harness.outside_files import printable
from harness.protocol import Describe, Scalar


@dataclass(frozen=True)
class Known:
    """A model as it is known before its text: its file, what a worker says of it, and its manifest."""

    name: str
    path: Path
    description: Describe
    manifest: Manifest | None


def tokenizer_for(model: Known, given: FileTokenizer | None, source: ModelSource) -> Tokenizer | None:
    """The tokenizer of a model: the given one, the one of its manifest, or the one in a file beside it; None where
    there is none, and for what is no language model.

    Raises UsageError where the tokenizer has tokens that the model does not know, DataError where the file beside it
    is none.
    """
    vocabulary = model.description.metadata.get("get_vocab_size")
    if vocabulary is None:
        return None
    tokenizer: Tokenizer | None = given
    if tokenizer is None and model.manifest is not None:
        tokenizer = source.tokenizer(model.manifest.tokenizer)
    if tokenizer is None and (beside := tokenizer_beside(model.path)) is not None:
        tokenizer = read_tokenizer(beside)
    if tokenizer is not None and tokenizer.size > int(vocabulary):
        raise UsageError(
            f"The tokenizer of {model.name} has {tokenizer.size} tokens, the model {vocabulary}.",
            "Give the one that the model was trained with (--tokenizer).",
        )
    return tokenizer


def evaluation(
    model: Known, tokenizer: Tokenizer | None, request: RunRequest, source: ModelSource, scratch: Path
) -> dict[str, Any]:
    """`tokens`, `data` and `data_sha256` of a Subject, or `unmeasured_quality` with the reason why there are none.

    Raises DataError or UsageError when the user named a text that cannot be used: what was asked for must not be left
    out in silence.
    """
    if request.tokens is not None:
        return {
            "tokens": request.tokens,
            "data": printable(request.tokens.name),
            "data_sha256": hashlib.sha256(request.tokens.read_bytes()).hexdigest(),
        }
    if tokenizer is None:
        if request.data is not None:
            raise UsageError(
                f"{model.name} has no tokenizer, so a text cannot be turned into its tokens.",
                "Give its --tokenizer, or the text as --tokens.",
            )
        if "get_vocab_size" not in model.description.metadata:
            return {}
        return {
            "unmeasured_quality": "no tokenizer is in its manifest or next to it; give --tokenizer, or the evaluation "
            "text as --tokens"
        }
    try:
        text = _text(tokenizer, request, source)
    except DataError as error:
        if request.data is not None:
            raise
        return {"unmeasured_quality": error.message}
    path = scratch / f"{hashlib.sha256(text.sha256.encode()).hexdigest()[:16]}.npy"
    np.save(path, text.tokens)
    return {"tokens": path, "data": text.name, "data_sha256": text.sha256}


def text_sizes(measurement: Measurement, subject: Subject) -> list[Scalar]:
    """The bytes in UTF-8 and the words of the text that a model predicted, where its tokenizer can say them: losses of
    models with different tokens are compared by these.
    """
    predicted = measurement.scalar("predicted_tokens")
    if subject.tokenizer is None or subject.tokens is None or not predicted:
        return []
    # Windows follow each other, and the first token of all is not predicted.
    text = subject.tokenizer.decode(read_tokens(subject.tokens)[1 : 1 + int(predicted)].astype(np.int64))
    words = len(text.split())
    return [
        Scalar(name="predicted_bytes", value=len(text.encode("utf-8", errors="replace"))),
        Scalar(name="predicted_words", value=words or None, reason=None if words else "the text has no words"),
    ]


def _text(tokenizer: Tokenizer, request: RunRequest, source: ModelSource) -> EvaluationText:
    """Of a tokenizer in a file any text; models that come with harness have one of their own."""
    if request.data is None or not isinstance(tokenizer, FileTokenizer):
        return source.evaluation_text(tokenizer, request.data)
    try:
        data = request.data.read_bytes()
        tokens = tokenizer.encode(data.decode("utf-8"))
    except OSError as error:
        raise DataError(f"The text {request.data} cannot be read ({error.strerror}).", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(request.data.name)} is no text in UTF-8.", "Give a text with --data.") from error
    sha256 = hashlib.sha256(f"{hashlib.sha256(data).hexdigest()} {tokenizer.sha256}".encode()).hexdigest()
    return EvaluationText(tokens, f"{printable(request.data.name)}, {tokenizer.size} subwords", sha256)
