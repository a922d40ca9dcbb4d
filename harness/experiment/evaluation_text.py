"""Which tokens a language model is evaluated on: given ones, or the named data in the vocabulary of its manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import DataError, UsageError
from harness.experiment.model_source import ModelSource
from harness.experiment.request import RunRequest
from harness.job import canonical_json
from harness.manifest import Manifest
from harness.outside_files import printable
from harness.protocol import Describe


def evaluation(
    name: str,
    description: Describe,
    manifest: Manifest | None,
    request: RunRequest,
    source: ModelSource,
    scratch: Path,
) -> dict[str, Any]:
    """`tokens`, `data` and `data_sha256` of a Subject, or `unmeasured_quality` with the reason why there are none.

    Raises DataError or UsageError when the user named a text that cannot be used: what was asked for must not be left
    out in silence.
    """
    # From flash, prompts come from the text, with a quality pass or without.
    if not (request.quality or request.scenario == "flash"):
        return {}
    if request.tokens is not None:
        return {
            "tokens": request.tokens,
            "data": printable(request.tokens.name),
            "data_sha256": hashlib.sha256(request.tokens.read_bytes()).hexdigest(),
        }
    tokenizer = manifest.tokenizer if manifest else {}
    try:
        text = source.evaluation_text(tokenizer, request.data)
    except DataError as error:
        if request.data is not None:
            raise
        return {"unmeasured_quality": error.message}
    if text is None:
        if request.data is not None:
            raise UsageError(
                f"{name} has no manifest with a tokenizer, so a text cannot be turned into its tokens.",
                "Give --tokens.",
            )
        if "get_vocab_size" not in description.metadata:
            return {}
        return {"unmeasured_quality": "no manifest names its tokenizer; give the evaluation text as --tokens"}
    path = scratch / f"{hashlib.sha256(canonical_json(tokenizer).encode()).hexdigest()[:16]}.npy"
    np.save(path, text.tokens)
    return {"tokens": path, "data": text.name, "data_sha256": text.sha256}
