"""Reading what can be read: which attempts of a folder are sound, and a sentence on those that are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import StoreError

Read = Callable[[str, Sequence[str]], object]
"""A table by name, of the attempts given; raises StoreError where a file of theirs cannot be read."""


def sound_attempts(read: Read, ids: Sequence[str], tables: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Those of the attempts `ids` that can be read from `runs` and each of `tables`, and a sentence for each kind of
    those that cannot.
    """
    sound, errors = _divide(read, ids, ("runs", *tables))
    return sound, _sentences(errors)


def _divide(read: Read, ids: Sequence[str], tables: Sequence[str]) -> tuple[list[str], list[StoreError]]:
    """The attempts that can be read, and one error for each that cannot, found by halves."""
    try:
        for name in tables:
            read(name, ids)
    except StoreError as error:
        if len(ids) == 1:
            return [], [error]
        middle = len(ids) // 2
        first, second = _divide(read, ids[:middle], tables), _divide(read, ids[middle:], tables)
        return first[0] + second[0], first[1] + second[1]
    return list(ids), []


def _sentences(errors: Sequence[StoreError]) -> tuple[str, ...]:
    """One a remedy, naming the first file."""
    kinds: dict[str, list[StoreError]] = {}
    for error in errors:
        kinds.setdefault(error.todo, []).append(error)
    return tuple(
        f"{len(found)} {'attempt' if len(found) == 1 else 'attempts'} left out, the first: {found[0].what} {todo}"
        for todo, found in kinds.items()
    )
