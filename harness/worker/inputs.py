"""Inputs for a model: given as `.npz`, or made from the dtype and sizes that the method declares."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.job import Job

if TYPE_CHECKING:
    from torch import Tensor


def make_inputs(job: Job, metadata: list[dict[str, Any]], given: str | None, seed: int) -> tuple[Tensor, ...]:
    """One tensor a declared input, from the `.npz` at `given` or random: normal for floats, 0 or 1 for integers and
    booleans.

    The first dimension becomes `job.batch`. Raises UsageError when a given array does not fit what the method
    declares.
    """
    if given is not None:
        return _from_file(Path(given), metadata)
    import torch

    generator = torch.Generator().manual_seed(seed)
    tensors = []
    for index, meta in enumerate(metadata):
        if meta["dtype"] == "none":
            raise UsageError(f"Input {index} of the model is no tensor.", "Give the inputs as an .npz with --inputs.")
        dtype: torch.dtype = getattr(torch, meta["dtype"])
        sizes = [job.batch, *meta["sizes"][1:]] if meta["sizes"] else []
        if dtype.is_floating_point:
            tensors.append(torch.randn(sizes, generator=generator).to(dtype))
        else:
            tensors.append(torch.randint(0, 2, sizes, generator=generator).to(dtype))
    return tuple(tensors)


def _from_file(path: Path, metadata: list[dict[str, Any]]) -> tuple[Tensor, ...]:
    import numpy as np
    import torch

    try:
        with np.load(path, allow_pickle=False) as arrays:
            tensors = [torch.from_numpy(arrays[name]) for name in arrays.files]
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read as .npz arrays ({error}).", "Write it with numpy.savez.") from error
    if len(tensors) != len(metadata):
        raise UsageError(
            f"{path} holds {len(tensors)} arrays, the model takes {len(metadata)}.", "Give them in the model's order."
        )
    for index, (tensor, meta) in enumerate(zip(tensors, metadata, strict=True)):
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype != meta["dtype"] or tensor.dim() != len(meta["sizes"]):
            raise UsageError(
                f"Array {index} of {path} is {dtype} {list(tensor.shape)}, "
                f"the model takes {meta['dtype']} {meta['sizes']}.",
                "Convert it, or see `harness models inspect`.",
            )
    return tuple(tensors)
