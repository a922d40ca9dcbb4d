"""Sentences on attempts that are left out since a file of theirs cannot be read."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import StoreError


def sentences(lost: Sequence[tuple[StoreError, int]]) -> tuple[str, ...]:
    """One a remedy, naming the first file; `lost` has the error of each file, and how many attempts it costs."""
    kinds: dict[str, list[tuple[StoreError, int]]] = {}
    for error, attempts in lost:
        if attempts:
            kinds.setdefault(error.hint, []).append((error, attempts))
    return tuple(_sentence(errors) for errors in kinds.values())


def _sentence(errors: Sequence[tuple[StoreError, int]]) -> str:
    total, first = sum(attempts for _, attempts in errors), errors[0][0]
    return f"{total} {'attempt' if total == 1 else 'attempts'} left out, the first: {first.message} {first.hint}"
