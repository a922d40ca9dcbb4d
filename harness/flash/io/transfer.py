"""What the ways of reading share: a list of pieces goes in, and all of it is in the arena or one piece failed."""

from __future__ import annotations

from collections.abc import Callable

from harness.flash.io.geometry import Indices

# Offsets and lengths in bytes, and the arena slots at which they begin, int64 [r] each. Returns when nothing is in
# flight; raises PieceFailed.
Transfer = Callable[[Indices, Indices, Indices], None]


class PieceFailed(Exception):
    """The read at `index` of the list failed with `error_number`; ENODATA stands for a file that ended early."""

    def __init__(self, index: int, error_number: int) -> None:
        super().__init__(index, error_number)
        self.index = index
        self.error_number = error_number
