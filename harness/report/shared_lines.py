"""Lines that several conditions have in common, once, and each other line with the conditions that it is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# `All 18 processes: `, `2 threads: All 10 latency processes: `
_HEAD = re.compile(r"(.*\bAll \d+ [\w ]*process(?:es)?: )(.+)\.")


def owners_of(lines: Sequence[Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """Every line once, in order of first appearance, with the numbers of the conditions that have it."""
    every = dict.fromkeys(line for own in lines for line in own if line)
    return {line: tuple(number for number, own in enumerate(lines) if line in own) for line in every}


def name_owners(words: Sequence[Sequence[str]], owners: Sequence[int]) -> str:
    """What the line of these conditions begins with, of all whose `words` are given: the words that they have in common
    and no other has, all of their names where there are none, nothing where they are all.
    """
    if len(owners) == len(words):
        return ""
    own = [words[number] for number in owners]
    common = [word for word in own[0] if all(word in other for other in own)]
    if common and sum(all(word in names for word in common) for names in words) == len(owners):
        return f"{', '.join(common)}: "
    return f"{'; '.join(', '.join(names) for names in own)}: "


def with_one_head(lines: Iterable[str]) -> list[str]:
    """The lines in order, where neighbours that begin with the same `All 18 processes: ` are one, which has it once."""
    joined: list[str] = []
    for line in lines:
        here, before = _HEAD.fullmatch(line), _HEAD.fullmatch(joined[-1]) if joined else None
        if here is not None and before is not None and here[1] == before[1]:
            joined[-1] = f"{before[1]}{before[2]}; {here[2]}."
        else:
            joined.append(line)
    return joined
