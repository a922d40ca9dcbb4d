"""The inputs of a job for the native worker, in safetensors: the very tensors that the Python worker makes itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.job import Files, Job
from harness.protocol import Describe
from harness.scenarios import SCENARIOS
from harness.worker.model import is_language_model, main_method

if TYPE_CHECKING:
    from torch import Tensor


def write_inputs(job: Job, files: Files, description: Describe, folder: Path) -> dict[str, Path]:
    """Files for the fields `inputs` and `tokens` of the worker's request, written into `folder`. Raises UsageError when
    what was given does not fit the model.
    """
    from safetensors.torch import save_file

    field, tensors = _tensors(job, files, description)
    path = folder / f"{field}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return {field: path}


def _tensors(job: Job, files: Files, description: Describe) -> tuple[str, dict[str, Tensor]]:
    import torch

    if job.measure == "quality" and files.tokens is not None:
        from harness.worker.quality import read_tokens

        return "tokens", {"tokens": torch.from_numpy(read_tokens(Path(files.tokens)).astype("int64"))}
    metadata = main_method(description)["inputs"]
    if is_language_model(description):
        from harness.worker.generation import GreedyTokens

        kinds = [getattr(torch, meta["dtype"]) for meta in metadata]
        prompt, new = job.prompt_tokens or 1, job.new_tokens or 1
        vocabulary = int(description.metadata["get_vocab_size"])
        tokens, position = GreedyTokens(vocabulary, prompt, new, (kinds[0], kinds[1]), job.seed).prompt()
        if job.scenario in SCENARIOS and SCENARIOS[job.scenario].language_models:
            return "inputs", {"prompt": tokens}
        return "inputs", {"set0_arg0": tokens, "set0_arg1": position}
    from harness.worker.inputs import make_inputs
    from harness.worker.quality import OUTPUT_SETS

    sets = OUTPUT_SETS if job.measure == "quality" and files.inputs is None else 1
    made = [make_inputs(job, metadata, files.inputs, job.seed + number) for number in range(sets)]
    return "inputs", {
        f"set{number}_arg{index}": tensor for number, tensors in enumerate(made) for index, tensor in enumerate(tensors)
    }
