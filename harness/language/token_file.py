"""A text in a model's own tokens, in an `.npy` of integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError


def read_tokens(file: Path) -> npt.NDArray[np.integer]:
    """The tokens in an `.npy`. Raises UsageError for anything but one dimension of integers from 0."""
    how = "Write int64 tokens with numpy.save."
    try:
        tokens = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{file} cannot be read as an .npy array ({error}).", how) from error
    if not isinstance(tokens, np.ndarray) or tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise UsageError(f"{file} is no one-dimensional array of integers.", how)
    if tokens.size and tokens.min() < 0:
        raise UsageError(f"The evaluation text has token {tokens.min()}, but tokens begin at 0.", how)
    return tokens
