"""Keeping known noise of ExecuTorch, torchao and LiteRT from the user, and nothing else.

ExecuTorch's runtime writes cpuinfo's remarks to stderr from C++; torchao logs every optional library that this machine
cannot load; exporting warns about PyTorch's own internals. All of it comes on every healthy run.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

NOISE = re.compile(
    r"\[(cpuinfo_utils|threadpool|XNNPACKBackend)\.cpp:\d+\] |Failed to load .*torchao"
    r"|I\d{4} |INFO: Created TensorFlow Lite|WARNING: All log messages before absl"
)
CHATTY = ("torchao", "torch.utils._pytree", "executorch.backends.xnnpack")


class Filter(io.TextIOWrapper):
    """A text stream that drops lines of known noise and passes on everything else at once.

    ExecuTorch writes a line in pieces, so what begins like noise is kept until its line is complete.
    """

    pending = ""

    def write(self, text: str) -> int:
        lines = (self.pending + text).splitlines(keepends=True)
        incomplete = bool(lines) and lines[-1].startswith("[") and not lines[-1].endswith("\n")
        self.pending = lines.pop() if incomplete else ""
        super().write("".join(line for line in lines if not NOISE.match(line)))
        return len(text)

    def finish(self, rest: str) -> None:
        """Pass on what was kept, then `rest`, as whole lines."""
        for part in (self.pending, rest):
            self.pending = ""
            self.write(part + "\n" if part and not part.endswith("\n") else part)


@contextmanager
def library_noise_hidden() -> Iterator[None]:
    """While the body runs, chatty loggers report errors only; known noise and the exporters' warnings are dropped.

    What Python writes there (ExecuTorch's Python runtime too) is filtered as it comes, so that a progress display lives
    on; what C and C++ write to the file descriptor is held back and printed at the end, also when the body raises.
    """
    loggers = [logging.getLogger(name) for name in CHATTY]
    levels = [logger.level for logger in loggers]
    sys.stderr.flush()
    saved = os.dup(2)
    with (
        tempfile.TemporaryFile("w+", errors="backslashreplace") as held,
        Filter(os.fdopen(saved, "wb"), errors="backslashreplace", line_buffering=True, write_through=True) as filtered,
        redirect_stderr(filtered),
        warnings.catch_warnings(),
    ):
        for category in (FutureWarning, UserWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            held.seek(0)
            filtered.finish(held.read())
