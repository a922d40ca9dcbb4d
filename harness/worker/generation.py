"""The tensor side of generation by ExecuTorch's LLM convention: `forward(tokens int64[1, n], input_pos int64[1]) ->
logits`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class GreedyTokens:
    """Makes the inputs of prefill and decode. The prompt is random but reproducible: latency does not depend on its
    text.
    """

    def __init__(
        self, vocabulary: int, prompt_tokens: int, new_tokens: int, dtypes: tuple[torch.dtype, torch.dtype], seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._prompt = torch.randint(0, vocabulary, (1, prompt_tokens), generator=generator).to(dtypes[0])
        self._token = torch.zeros((1, 1), dtype=dtypes[0])
        # Made beforehand, so that a decode step allocates nothing of ours.
        self._positions = torch.arange(prompt_tokens + new_tokens, dtype=dtypes[1]).unsqueeze(1).unbind()

    def prompt(self) -> Sequence[Tensor]:
        """Tokens [1, prompt_tokens] at position 0, which begins a new sequence."""
        return (self._prompt, self._positions[0])

    def choose(self, outputs: Sequence[Tensor], position: int) -> Sequence[Tensor]:
        """The most likely next token [1, 1], to be fed at `position`. Logits are [1, vocabulary], or [1, n,
        vocabulary] for all.
        """
        logits = outputs[0]
        self._token[0, 0] = logits.reshape(-1, logits.shape[-1])[-1].argmax()
        return (self._token, self._positions[position])
