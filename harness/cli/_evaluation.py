"""Which tokens a language model is evaluated on: given ones, or the named data in the vocabulary of its manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError
from harness.manifest import Manifest
from harness.outside_files import printable
from harness.protocol import Describe


def evaluation(
    name: str, description: Describe, manifest: Manifest | None, options: dict[str, Any], scratch: Path
) -> dict[str, Any]:
    """`tokens`, `data` and `data_sha256` of a Subject, or `unmeasured_quality` with the reason why there are none.

    Raises DataError or UsageError when the user named a text that cannot be used: what was asked for must not be left
    out in silence.
    """
    import numpy as np

    if options["no_quality"] or description.format not in ("pte", "pt2"):
        return {}
    if options["tokens"] is not None:
        return {
            "tokens": options["tokens"],
            "data": printable(options["tokens"].name),
            "data_sha256": hashlib.sha256(options["tokens"].read_bytes()).hexdigest(),
        }
    vocabulary = (manifest.tokenizer if manifest else {}).get("vocabulary")
    if vocabulary is None:
        if options["data"] is not None:
            raise UsageError(
                f"{name} has no manifest with a tokenizer, so a text cannot be turned into its tokens.",
                "Give --tokens.",
            )
        return (
            {}
            if "get_vocab_size" not in description.metadata
            else {"unmeasured_quality": "no manifest names its tokenizer; give the evaluation text as --tokens"}
        )
    from harness.models.train.data import TEXT_SHA256, VALIDATION_NAME, validation_tokens

    try:
        tokens = validation_tokens(vocabulary, options["data"])
    except DataError as error:
        if options["data"] is not None:
            raise
        return {"unmeasured_quality": error.what}
    path = scratch / f"{hashlib.sha256(vocabulary.encode()).hexdigest()[:16]}.npy"
    np.save(path, tokens)
    return {"tokens": path, "data": VALIDATION_NAME, "data_sha256": TEXT_SHA256}
