"""The tensor side of generation by ExecuTorch's LLM convention, `forward(tokens int [1, n], input_pos int [1]) ->
logits`, and by Hugging Face's, `forward(tokens int [1, n], cache_position int [n])`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.errors import ModelError
from harness.job import Files, Job
from harness.model_description import find_method, positions_of
from harness.protocol import Describe
from harness.runtime import Arrange, as_given
from harness.scenarios.queries import Tokens
from harness.worker.runtime_checks import check_outputs
from harness.worker.torch_outputs import leaves

if TYPE_CHECKING:
    from torch import Tensor


class LanguageInputs:
    """Makes the inputs of a language model's `forward`, in its dtypes and by its convention for positions: tensors of
    torch, or `as_arrays` of numpy, for which torch is not imported.
    """

    def __init__(self, description: Describe, arrange: Arrange = as_given, *, as_arrays: bool = False) -> None:
        tokens, *positions = find_method(description)["inputs"]
        self.library = _library(as_arrays)
        self._dtypes = [getattr(self.library, each["dtype"]) for each in (tokens, *positions)]
        self.positions, self._arrange = positions_of(description), arrange

    def at(self, tokens: Tensor | np.ndarray, position: int) -> Sequence[Any]:
        """`tokens` [1, n], the first of which is at `position`; 0 begins a new sequence. A model without a cache is
        always given the whole sequence, from 0 on.
        """
        library, (dtype, *others) = self.library, self._dtypes
        made = library.asarray(tokens, dtype=dtype)
        if self.positions == "none":
            return self._arrange((made,))
        (where_dtype,) = others
        where = {
            "first": lambda: library.asarray([position], dtype=where_dtype),
            "scalar": lambda: library.asarray(position, dtype=where_dtype),
            "each": lambda: library.arange(position, position + tokens.shape[1], dtype=where_dtype),
        }[self.positions]()
        return self._arrange((made, where))


class GreedyTokens:
    """Makes the inputs of prefill and decode. `prompts` int64 [prompts, prompt_tokens] are asked in turn; what is
    generated ends with one of `ends`.
    """

    def __init__(
        self,
        description: Describe,
        prompts: npt.NDArray[np.int64],
        new_tokens: int,
        arrange: Arrange = as_given,
        *,
        ends: Sequence[int] = (),
        as_arrays: bool = False,
    ) -> None:
        inputs = LanguageInputs(description, arrange, as_arrays=as_arrays)
        self._prompts = [inputs.at(prompt[None], 0) for prompt in prompts]
        self._next, self._ends = 0, frozenset(ends)
        # Made beforehand, so that a decode step allocates nothing of ours. All steps share the tensor of their token,
        # and those of a model without a cache that of the whole sequence.
        length = prompts.shape[1] + new_tokens
        dtype = getattr(inputs.library, find_method(description)["inputs"][0]["dtype"])
        self._whole = inputs.positions == "none"
        self._tokens = inputs.library.zeros((1, length if self._whole else 1), dtype=dtype)
        self._texts = [inputs.library.asarray(prompt[None], dtype=dtype) for prompt in prompts] if self._whole else []
        self._steps = [
            inputs.at(self._tokens[:, : position + 1] if self._whole else self._tokens, position)
            for position in range(length)
        ]

    def prompt(self) -> Sequence[Any]:
        """Tokens [1, prompt_tokens] of the next prompt at position 0, which begins a new sequence."""
        prompt = self._prompts[self._next]
        if self._whole:
            self._tokens[:, : self._texts[self._next].shape[1]] = self._texts[self._next]
        self._next = (self._next + 1) % len(self._prompts)
        return prompt

    def choose(self, outputs: Sequence[Any], position: int) -> Sequence[Any] | None:
        """The most likely next token [1, 1], to be fed at `position`; None where it ends the answer. Logits are [1,
        vocabulary], or [1, n, vocabulary] for all.
        """
        logits = outputs[0] if hasattr(outputs[0], "argmax") else leaves(check_outputs(outputs))[0]
        chosen = logits.reshape(-1, logits.shape[-1])[-1].argmax()
        self._tokens[0, position if self._whole else 0] = chosen
        return None if self._ends and int(chosen) in self._ends else self._steps[position]


class CheckedTokens:
    """Chooses as `tokens` does, and raises ModelError where there is nothing to choose from: a model that computes
    nonsense from some position on runs as fast as another, and its argmax is a token all the same. For a query of
    which only the first `execute` is kept: looking costs time. `answers` are the tokens that were chosen, a list for
    each prompt.
    """

    def __init__(self, tokens: Tokens, model: str, vocabulary: int) -> None:
        self._tokens, self._model, self._vocabulary = tokens, model, vocabulary
        self.answers: list[list[int]] = []

    def prompt(self) -> Sequence[Any]:
        """That of the tokens."""
        self.answers.append([])
        return self._tokens.prompt()

    def choose(self, outputs: Sequence[Any], position: int) -> Sequence[Any] | None:
        """That of the tokens, after a look at the logits. Single logits may be minus infinity: tokens that a model
        rules out.
        """
        every = leaves(check_outputs(outputs))[0]
        logits = every.reshape(-1, every.shape[-1])[-1]
        if not math.isfinite(float(logits.max())):  # NaN is the highest of all
            raise ModelError(
                f"The logits of {self._model} after {position} tokens are not finite numbers (NaN or infinity).",
                "Times of a model that computes nonsense say nothing: find what broke it, and export it again.",
            )
        if (token := int(logits.argmax())) >= self._vocabulary:
            raise ModelError(
                f"{self._model} chooses token {token} after {position} tokens, but it has {self._vocabulary} tokens.",
                "Export it again with the size of its vocabulary (get_vocab_size) that its logits have.",
            )
        self.answers[-1].append(token)
        return self._tokens.choose(outputs, position)


def prompts_of(job: Job, files: Files, vocabulary: int) -> npt.NDArray[np.int64]:
    """The prompts of a job, int64 [prompts, prompt_tokens]: those in its file, or else one of random tokens, the same
    in every pass.
    """
    if files.prompts is not None:
        return np.load(files.prompts, allow_pickle=False)  # type: ignore[no-any-return]
    return random_prompt(job.prompt_tokens or 1, vocabulary, job.seed)


def random_prompt(length: int, vocabulary: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """A prompt of random tokens, int64 [1, length]."""
    return np.random.default_rng(seed).integers(0, vocabulary, (1, length))


def _library(as_arrays: bool) -> Any:
    """numpy or torch, which name alike what is needed of them here."""
    if as_arrays:
        return np
    import torch

    return torch
