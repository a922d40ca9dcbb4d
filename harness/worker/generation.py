"""The tensor side of generation by ExecuTorch's LLM convention, `forward(tokens int [1, n], input_pos int [1]) ->
logits`, and by Hugging Face's, `forward(tokens int [1, n], cache_position int [n])`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.model_description import find_method, positions_of
from harness.protocol import Describe
from harness.runtime import Arrange, as_given
from harness.worker.runtime_checks import check_outputs
from harness.worker.torch_outputs import leaves


class LanguageInputs:
    """Makes the inputs of a language model's `forward`, in its dtypes and by its convention for positions."""

    def __init__(self, description: Describe, arrange: Arrange = as_given) -> None:
        tokens, positions = find_method(description)["inputs"]
        self._dtypes = getattr(torch, tokens["dtype"]), getattr(torch, positions["dtype"])
        self._positions, self._arrange = positions_of(description), arrange

    def at(self, tokens: Tensor, position: int) -> Sequence[Any]:
        """`tokens` [1, n], the first of which is at `position`; 0 begins a new sequence."""
        where = {
            "first": lambda: torch.tensor([position], dtype=self._dtypes[1]),
            "scalar": lambda: torch.tensor(position, dtype=self._dtypes[1]),
            "each": lambda: torch.arange(position, position + tokens.shape[1], dtype=self._dtypes[1]),
        }[self._positions]()
        return self._arrange((tokens.to(self._dtypes[0]), where))


class GreedyTokens:
    """Makes the inputs of prefill and decode. The prompt is random but reproducible: latency does not depend on its
    text.
    """

    def __init__(
        self, description: Describe, prompt_tokens: int, new_tokens: int, seed: int, arrange: Arrange = as_given
    ) -> None:
        inputs = LanguageInputs(description, arrange)
        generator = torch.Generator().manual_seed(seed)
        vocabulary = int(description.metadata["get_vocab_size"])
        self._prompt = inputs.at(torch.randint(0, vocabulary, (1, prompt_tokens), generator=generator), 0)
        # Made beforehand, so that a decode step allocates nothing of ours. All steps share the tensor of their token.
        dtype = getattr(torch, find_method(description)["inputs"][0]["dtype"])
        self._token = torch.zeros((1, 1), dtype=dtype)
        self._steps = [inputs.at(self._token, position) for position in range(prompt_tokens + new_tokens)]

    def prompt(self) -> Sequence[Any]:
        """Tokens [1, prompt_tokens] at position 0, which begins a new sequence."""
        return self._prompt

    def choose(self, outputs: Sequence[Any], position: int) -> Sequence[Any]:
        """The most likely next token [1, 1], to be fed at `position`. Logits are [1, vocabulary], or [1, n,
        vocabulary] for all.
        """
        logits = outputs[0] if isinstance(outputs[0], (Tensor, np.ndarray)) else leaves(check_outputs(outputs))[0]
        self._token[0, 0] = logits.reshape(-1, logits.shape[-1])[-1].argmax()
        return self._steps[position]
