"""LLM-QAT: quantisation-aware training without data. The model writes the text that it is trained with, and learns the
outputs that it had in float32. Weights, inputs of layers, and the keys and values of attention are rounded.

Liu, Oguz, Zhao, Chang, Stock, Mehdad, Shi, Krishnamoorthi and Chandra, "LLM-QAT: Data-Free Quantization Aware Training
for Large Language Models" (Findings of ACL 2024, arXiv 2305.17888, DOI 10.18653/v1/2024.findings-acl.26):

* text: a sequence begins with a random token; its next 3 to 5 tokens are the most likely ones, the others are random
  ones from the model's distribution;
* loss: the cross-entropy between the distribution of the float32 model and that of the trained one, and no other;
* weights: symmetric, with a step max |w| / (2^(b-1) - 1) for each channel; keys and values: the same for each token.

Differs from the paper: inputs of layers have a zero point, as in programs, where the paper's are symmetric; and each
sequence fills the context, where the paper's may end earlier. The authors' code lets sequences begin with each token of
the vocabulary in turn, counts that token among the 3 to 5, and has other grids for 1 and 2 bits.

Programs that harness exports keep keys and values in float32. A model that is not a GPT of the zoo cannot write text:
it is trained with the user's text, and its outputs are taken as logits along their last dimension.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from harness.models.compress.in_training.fake_quantisation import FakeQuantised
from harness.models.compress.in_training.qat import Qat, QatOptions
from harness.models.compress.method import IN_TRAINING, TrainedMethod, Weights, check_range
from harness.models.compress.rounding import SMALLEST, grouped, limits, stored_steps
from harness.models.gpt.generation import generate
from harness.models.gpt.network import GPT

GREEDY = (3, 5)
"""The fewest and the most tokens after the first of a sequence that are the most likely ones."""
AT_ONCE = 128
"""Sequences written at once: their keys and values take 0.6 GB in a model of 6 blocks, 384 wide, with 256 tokens."""


@dataclass(frozen=True, kw_only=True)
class LlmQatOptions(QatOptions):
    """Those of `qat`; `cache_bits` of keys and values (None: they stay float32); how many `tokens` of text the model
    writes, in whole sequences of its context and at least two of them; and the `seed` of these.

    `separate` are patterns of the names of layers that give only keys or only values, `fused` of those that give
    queries, keys and values, a third of the outputs each, in this order. Raises ValueError for a number out of range.
    """

    cache_bits: int | None = 4
    tokens: int = 65536
    seed: int = 1
    separate: tuple[str, ...] = ("*k_proj", "*v_proj")
    fused: tuple[str, ...] = ("*qkv",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cache_bits is not None:
            check_range("cache_bits", self.cache_bits, 2, 8)
        if self.tokens < 1:
            raise ValueError(f"tokens is {self.tokens}, not a positive number")


def minmax_steps(weight: Tensor, bits: int, group: int | None) -> Tensor:
    """Steps [out, groups] = max |w| / (2^(b-1) - 1) of `weight` [out, in]."""
    largest = grouped(weight, group).abs().amax(dim=2)
    return stored_steps((largest / limits(bits)[1]).clamp(min=SMALLEST))


def rounded_cache(x: Tensor, bits: int) -> Tensor:
    """`x` [..., channels], each row rounded to its nearest symmetric levels. The gradient is that of `x`."""
    with torch.no_grad():
        values = x.detach().float()
        steps = (values.abs().amax(dim=-1, keepdim=True) / limits(bits)[1]).clamp(min=SMALLEST)
        rounded = (values / steps).round() * steps
    return x + (rounded.to(x.dtype) - x).detach()


def written(model: GPT, tokens: int, seed: int) -> NDArray[np.int64]:
    """At least `tokens` tokens of text that `model` writes, int64 [n]: whole sequences of its context, two or more."""
    generator = torch.Generator().manual_seed(seed)
    count = max(2, math.ceil(tokens / model.config.context))
    parts = []
    for start in range(0, count, AT_ONCE):
        size = min(AT_ONCE, count - start)
        first = torch.randint(model.config.vocabulary_size, (size,), generator=generator)
        greedy = torch.randint(GREEDY[0], GREEDY[1] + 1, (size,), generator=generator)

        def choose(logits: Tensor, position: int, greedy: Tensor = greedy) -> Tensor:
            drawn = torch.multinomial(F.softmax(logits, dim=-1), 1, generator=generator)[:, 0]
            return torch.where(position < greedy, logits.argmax(dim=-1), drawn)

        parts.append(generate(model, first, choose))
    text: NDArray[np.int64] = torch.cat(parts).flatten().numpy()
    return text


class LlmQat(Qat):
    """Rounds weights, inputs of layers, keys and values of `model`, which learns from its own float32 outputs."""

    options: LlmQatOptions
    text_weight = 0.0

    def __init__(self, model: nn.Module, options: LlmQatOptions) -> None:
        self.parent = copy.deepcopy(model).eval().requires_grad_(False)
        steps = partial(minmax_steps, bits=options.bits, group=options.group)
        super().__init__(model, options, lambda _: FakeQuantised(options.bits, steps))
        self.cached = list(self._round_cache()) if options.cache_bits is not None else []
        self.generated: dict[str, Any] | None = None

    def tokens(self, text: NDArray[np.int64]) -> NDArray[np.int64]:
        if not isinstance(self.parent, GPT):
            return text
        own = written(self.parent, self.options.tokens, self.options.seed)
        self.generated = {"tokens": len(own), "seed": self.options.seed, "sha256": _sha256(own)}
        return own

    def labels(self, inputs: Tensor) -> Tensor:
        """The float32 model's distributions [..., vocabulary] for `inputs`."""
        with torch.no_grad():
            return F.softmax(self.parent(inputs).float(), dim=-1)

    def output_loss(self, inputs: Tensor, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.float().flatten(0, -2), self.labels(inputs).flatten(0, -2))

    def weights(self) -> Weights:
        weights = super().weights()
        weights.facts = {
            "generated_text": self.generated,
            "cache_bits_in_training": self.options.cache_bits if self.cached else None,
            "cache_layers": self.cached,
            "cache_of_programs": "float32",
            "trained_loss": "of the model as it is trained: all that the options round is rounded",
            "validation_loss": "of the rounded weights alone: inputs of layers, keys and values are float32",
        }
        return weights

    def _round_cache(self) -> Iterator[str]:
        """Round the outputs of the layers that give keys or values; yields the names of these layers."""
        bits = self.options.cache_bits
        assert bits is not None
        for name, layer in self.model.named_modules():
            if not isinstance(layer, nn.Linear):
                continue
            if any(fnmatchcase(name, pattern) for pattern in self.options.separate):
                layer.register_forward_hook(lambda _, __, output: rounded_cache(output, bits))
            elif any(fnmatchcase(name, p) for p in self.options.fused) and layer.out_features % 3 == 0:
                layer.register_forward_hook(lambda _, __, output: _rounded_fused(output, bits))
            else:
                continue
            yield name


def _rounded_fused(output: Tensor, bits: int) -> Tensor:
    queries, keys, values = output.chunk(3, dim=-1)
    return torch.cat([queries, rounded_cache(keys, bits), rounded_cache(values, bits)], dim=-1)


def _sha256(tokens: NDArray[np.int64]) -> str:
    return hashlib.sha256(tokens.astype("<i8").tobytes()).hexdigest()


METHOD = TrainedMethod(
    name="llm-qat",
    family=IN_TRAINING,
    options=LlmQatOptions,
    start=LlmQat,
    source="Liu et al. 2024, arXiv 2305.17888",
)
