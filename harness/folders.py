"""Where harness keeps what it can make again: built artifacts, downloaded data, leases."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$HARNESS_CACHE, or the platform's cache folder for harness. Not created here."""
    if given := os.environ.get("HARNESS_CACHE"):
        return Path(given)
    from platformdirs import user_cache_path

    return user_cache_path("harness")
