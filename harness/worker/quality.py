"""How good the very artifact is that was timed: loss on named tokens through the same runtime, outputs to compare with
a parent's, or accuracy on labelled samples.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import UsageError
from harness.job import Job
from harness.language.token_file import read_tokens
from harness.model_description import longest_prompt, positions_of
from harness.protocol import Event, Output, Progress, Scalar
from harness.runtime import LoadedModel
from harness.worker.generation import LanguageInputs
from harness.worker.inputs import input_sets
from harness.worker.labelled import marks_of, read_labels, unmeasured_accuracy
from harness.worker.torch_outputs import leaves

_REPORT_EVERY = 50
# Outputs that are left for a comparison; of thousands of labelled samples those of the first.
_MOST_OUTPUT_BYTES = 256 << 20


def loss(model: LoadedModel, tokens_file: Path, max_tokens: int | None, emit: Callable[[Event], None]) -> None:
    """Emit the mean negative log-likelihood in nats a token, teacher-forced over windows of the model's context.

    `tokens_file` is an int64 `.npy` [n]. Windows do not overlap and each begins without context: window i predicts
    tokens i*T+1 .. i*T+T from those before them in the window, as nanoGPT's evaluation does. `max_tokens` bounds the
    predictions. Without a method that returns all logits, `forward` is asked once a token.
    """
    tokens = read_tokens(tokens_file)
    longest = longest_prompt(model.description)
    context = model.window or int(model.description.metadata.get("get_max_seq_len") or longest)
    if model.window is None and positions_of(model.description) == "none":
        context = min(context, longest)  # all of it goes in at once
    vocabulary = model.description.metadata.get("get_vocab_size")
    if vocabulary is not None and tokens.size and int(tokens.max()) >= vocabulary:
        raise UsageError(
            f"The evaluation text has token {int(tokens.max())}, the model knows {vocabulary} tokens.",
            "Give the text in the model's own tokens (--tokens).",
        )
    windows = (len(tokens) - 1) // context
    if max_tokens is not None:
        windows = min(windows, max(1, max_tokens // context))
    if windows < 1:
        raise UsageError(
            f"The evaluation text has {len(tokens)} tokens, the model's context is {context}.", "Give a longer text."
        )
    total, predicted, largest = 0.0, 0, 0.0
    for index in range(windows):
        window = torch.from_numpy(tokens[index * context : (index + 1) * context + 1].astype(np.int64))
        if model.all_logits is not None:
            logits = torch.as_tensor(model.all_logits((window[:-1].unsqueeze(0),))[0])[0]
            if index == 0 and model.all_logits is not model.execute:
                largest = float((logits - _step_by_step(model, window[:-1])).abs().max())
        else:
            logits = _step_by_step(model, window[:-1])
        total += float(torch.nn.functional.cross_entropy(logits.double(), window[1:], reduction="sum"))
        predicted += context
        if index % _REPORT_EVERY == 0:
            emit(Progress(done=index, total=windows))
    if not math.isfinite(total):
        emit(Scalar(name="loss_nats", value=None, reason="the model's loss is not a number"))
        return
    emit(Scalar(name="loss_nats", value=total / predicted))
    emit(Scalar(name="predicted_tokens", value=predicted))
    if model.all_logits is not None and model.all_logits is not model.execute:
        # The timed method and the one that returned all logits are two graphs over the same weights: say how far
        # apart they are.
        emit(Scalar(name="max_abs_difference_between_methods", value=largest))


def _step_by_step(model: LoadedModel, tokens: Tensor) -> Tensor:
    """Logits [T, vocabulary] of `tokens` [T], one call of the timed method a token."""
    inputs = LanguageInputs(model.description, model.arrange)
    if inputs.positions == "none":
        return _without_cache(model, inputs, tokens)
    steps = (inputs.at(tokens[i].reshape(1, 1), i) for i in range(len(tokens)))
    return torch.cat([_last_row(leaves(model.execute(step))[0]) for step in steps])


def _without_cache(model: LoadedModel, inputs: LanguageInputs, tokens: Tensor) -> Tensor:
    """Of all tokens at once where the model gives the logits behind each, else of every beginning of them."""
    every = torch.as_tensor(leaves(model.execute(inputs.at(tokens[None], 0)))[0])
    if every.numel() == len(tokens) * every.shape[-1]:
        return every.reshape(len(tokens), -1).clone()
    beginnings = (inputs.at(tokens[None, : count + 1], 0) for count in range(len(tokens)))
    return torch.cat([_last_row(leaves(model.execute(beginning))[0]).clone() for beginning in beginnings])


def _last_row(output: Any) -> Tensor:
    logits = torch.as_tensor(output)
    return logits.reshape(-1, logits.shape[-1])[-1:]


def outputs(
    model: LoadedModel, job: Job, given: str | None, folder: Path, labels: str | None = None
) -> Iterator[Event]:
    """Run the job's inputs and leave all outputs in an `.npz`, for the harness to compare with those of the parent
    model: the given inputs, or made ones, `input_sets` of them. Where the job has labels, the inputs are all samples in
    the file `given`, and how well the first output fits them is emitted; `labels` is their file, None for a worker that
    does not read them.
    """
    total, sets = input_sets(job, model.description, given, labels)
    marks = None if labels is None else marks_of(read_labels(Path(labels)))
    arrays: dict[str, np.ndarray] = {}
    room = _MOST_OUTPUT_BYTES
    for number, inputs in enumerate(sets):
        made = [as_array(output) for output in leaves(model.execute(model.arrange(inputs)))]
        if marks is not None:
            marks.add(made[0] if made else None)
        room -= sum(array.nbytes for array in made if array is not None)
        if number == 0 or room >= 0:
            arrays |= {f"set{number}_output{i}": array for i, array in enumerate(made) if array is not None}
        if number % _REPORT_EVERY == 0:
            yield Progress(done=number, total=total)
    path = folder / "outputs.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    yield Output(file=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    if marks is not None:
        yield from marks.scalars()
    elif job.labels_sha256 is not None:
        yield from unmeasured_accuracy("this target's worker does not read labels")


def as_array(output: Any) -> np.ndarray | None:
    """An output of a model, whatever its runtime returns: the values in a type that numpy has and that loses none of
    them, in memory of their own. A complex number is two, in a row of all; a number is an array of one. None for
    anything else.
    """
    if isinstance(output, Tensor):
        return as_numpy(output)
    if isinstance(output, (bool, int, float)):
        return np.array([output], np.float64)
    if isinstance(output, (np.ndarray, np.generic)):
        array = np.array(output)  # a runtime may write its next outputs to the same place
        return array.view(array.real.dtype).flatten() if np.iscomplexobj(array) else array
    return None


def as_numpy(output: Tensor) -> np.ndarray:
    """The values in a type that numpy has and that loses none of them. A complex number is two, in a row of all."""
    if output.dtype.is_complex:
        return torch.view_as_real(output).flatten().numpy()
    if output.dtype.is_floating_point and output.dtype not in (torch.float16, torch.float32, torch.float64):
        output = output.float()  # bfloat16 and smaller ones
    return output.numpy()
