"""Keeping known noise of ExecuTorch and torchao from the user, and nothing else.

ExecuTorch's runtime writes cpuinfo's remarks to stderr from C++; torchao logs every optional library that this machine
cannot load; exporting warns about PyTorch's own internals. All of it comes on every healthy run.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

NOISE = re.compile(rb"^(\[(cpuinfo_utils|threadpool|XNNPACKBackend)\.cpp:\d+\] |Failed to load .*torchao)")
CHATTY = ("torchao", "torch.utils._pytree", "executorch.backends.xnnpack")


@contextmanager
def quiet() -> Iterator[None]:
    """While the body runs, chatty loggers report errors only, the exporters' warnings are dropped, and what C++ writes
    to stderr is held back; at the end, also when the body raises, all of it that is not known noise is printed.

    Python's own sys.stderr goes through at once, so that a progress display lives on.
    """
    loggers = [logging.getLogger(name) for name in CHATTY]
    levels = [logger.level for logger in loggers]
    sys.stderr.flush()
    saved = os.dup(2)
    with (
        tempfile.TemporaryFile() as held,
        os.fdopen(saved, "w", buffering=1, encoding="utf-8", errors="backslashreplace") as through,
        redirect_stderr(through),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            through.flush()
            os.dup2(saved, 2)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            held.seek(0)
            for line in held:
                if not NOISE.match(line):
                    os.write(2, line)
