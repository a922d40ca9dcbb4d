"""The inputs of a job for the native worker, in safetensors: the very tensors that the Python worker makes itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.job import Files, Job
from harness.model_description import is_language_model
from harness.protocol import Describe
from harness.scenarios.catalogue import SCENARIOS

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
        from harness.language.token_file import read_tokens

        return "tokens", {"tokens": torch.from_numpy(read_tokens(Path(files.tokens)).astype("int64"))}
    if is_language_model(description):
        from harness.worker.generation import LanguageInputs, prompts_of

        inputs = LanguageInputs(description)
        prompts = prompts_of(job, files, int(description.metadata["get_vocab_size"]))
        if job.scenario in SCENARIOS and SCENARIOS[job.scenario].language_models:
            return "inputs", {"prompts": torch.cat([inputs.at(prompt[None], 0)[0] for prompt in prompts])}
        tokens, position = inputs.at(prompts[:1], 0)
        return "inputs", {"set0_arg0": tokens, "set0_arg1": position}
    from harness.worker.inputs import input_sets, make_inputs

    if job.measure == "quality":
        _, sets = input_sets(job, description, files.inputs, files.labels)
    else:
        sets = iter([make_inputs(job, description, files.inputs)])
    return "inputs", {
        f"set{number}_arg{index}": _as_tensor(value)
        for number, values in enumerate(sets)
        for index, value in enumerate(values)
        if value is not None
    }


def _as_tensor(value: Any) -> Tensor:
    """A number goes as a tensor without dimensions, int64, float64 or bool."""
    import torch

    return (
        value
        if isinstance(value, torch.Tensor)
        else torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    )
