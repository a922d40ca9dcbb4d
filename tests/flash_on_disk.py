"""A tiny model whose feed-forward weights lie in flash, for the tests of the worker and the command line: made by
ExecuTorch itself, once a session, by `python flash_on_disk.py FOLDER`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from harness.errors import UsageError
from harness.flash.io.proof import check_storage

TEXT = "the cat sat on the mat. the dog sat on the log. " * 60
CONTEXT = 16


def make_flash_model(factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """`tiny.pte`, its files beside it, and `tokens.npy`, the text in its tokens; whichever xdist worker comes first
    makes them. Skips where they would lie in memory.
    """
    worker_id = getattr(request.config, "workerinput", {}).get("workerid")
    base = factory.getbasetemp()
    folder = (base.parent if worker_id is not None else base) / "flash-model"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            made = subprocess.run(
                [sys.executable, __file__, f"{folder}.part"], capture_output=True, text=True, check=False
            )
            assert made.returncode == 0, made.stderr
            Path(f"{folder}.part").rename(folder)
    try:
        check_storage(folder / "tiny.plain.neurons")
    except UsageError as error:
        pytest.skip(str(error))
    return folder / "tiny.pte"


def tiny_gpt() -> Any:
    """The model that the files were made from."""
    from fakes.sparse import sparse_gpt

    from harness.models.gpt.architecture import GPTConfig

    size = len(set(TEXT))
    return sparse_gpt(GPTConfig(vocabulary_size=size, context=CONTEXT, layers=2, heads=2, width=16, activation="relu"))


def _make(folder: Path) -> None:
    import numpy as np
    import torch

    from harness.models.export.pte_flash_files import export_flash_files
    from harness.models.train.data import corpus

    torch.set_num_threads(1)
    folder.mkdir(parents=True)
    text = corpus(TEXT)
    export_flash_files(tiny_gpt(), folder / "tiny.pte", "float16", text)
    np.save(folder / "tokens.npy", text.validation)


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
