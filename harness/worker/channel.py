"""The worker's way to its harness: events on the real standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from harness import protocol


class Channel:
    """Writes events. Once it is open, file descriptor 1 leads to standard error: what libraries print (torchao and
    the native runtimes do) cannot break the stream.
    """

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)

    def emit(self, event: protocol.Event) -> None:
        """Write one event at once. Raises BrokenPipeError when the harness is gone."""
        self._out.write(protocol.encode(event) + "\n")
        self._out.flush()
