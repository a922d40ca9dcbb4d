"""Which runs belong together when options of runtimes were set: models whose runtime lacks an option stand with every
value that others had.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence


def by_options(
    values: Sequence[Mapping[str, str]], named: Sequence[str]
) -> list[tuple[tuple[tuple[str, str], ...], list[int]]]:
    """The combinations of options under which runs are compared, each with the numbers of its runs.

    `values` are, for each run, those of the options that its runtime has, and `named` are the options that any run set.
    A run without one of these belongs to every combination; a combination in which nobody has one of them is left out.
    """
    own = [{name: of_run[name] for name in named if name in of_run} for of_run in values]
    choices = [list(dict.fromkeys(of_run[name] for of_run in own if name in of_run)) for name in named]
    combinations = []
    for chosen in itertools.product(*choices):
        wanted = dict(zip(named, chosen, strict=True))
        members = [number for number, of_run in enumerate(own) if of_run.items() <= wanted.items()]
        if {name for number in members for name in own[number]} == wanted.keys():
            combinations.append((tuple(wanted.items()), members))
    return combinations
