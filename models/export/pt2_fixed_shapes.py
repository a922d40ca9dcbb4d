"""A GPT for accelerators that compile: two programs of fixed shapes in one `.pt2`, and the text to calibrate them on.

An accelerator wants every size ahead of time and keeps no state, so the cache goes in and out:

* `model(tokens int64 [1, C])` -> logits float32 [1, C, vocabulary], then keys [H, Q, C] and values [H, C, V] of every
  block that has attention, heads that share them counted once: the prefill, of the whole context C (a shorter prompt is
  filled up).
* `step(token int64 [1, 1], position int64 [1], mask float32 [1, C], keys [H, Q, C - 1] and values [H, C - 1, V] of
  every such block)` -> logits [1, 1, vocabulary], then the token's own keys [H, Q, 1] and values [H, 1, V]. The mask is
  0 where the cache holds a token and for the token itself, whose place is the last, and `HIDDEN` elsewhere.

Weights are float32 here; who lowers the file rounds them. In the archive's extra file `generation.json` lie the sizes
and windows of real text: of the training part to find the ranges of activations on, of the validation part to certify.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from harness.durations import OnStep, unheard
from harness.language.tokenizer import Tokens
from harness.models.export.deployment import Body, attention, below
from harness.models.export.library_noise import library_noise_hidden
from harness.models.gpt.network import GPT
from harness.models.train import data
from harness.models.train.tokenizer import Tokenizer

HIDDEN = -64.0
"""Added to a score that must not count. Int8 has 256 steps for it and the scores, so it is no larger than it must be;
but scores of baseline-small lie between -29 and 40, and with -20 hidden places cost 0.09 nats per token, with -44 still
0.0006, with -64 nothing. Rounded to int8, -44 and -64 differ by 0.002 (0.020 over float32, 32 windows)."""
_CALIBRATION, _HELD_OUT = 16, 4


class Prefill(nn.Module):
    """`model` above."""

    mask: Tensor

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body, context = body, body.config.context
        self.register_buffer("mask", torch.full((context, context), HIDDEN).triu(diagonal=1))

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        new_caches: list[Tensor] = []

        def attend(group: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            new_caches.extend((keys, values))
            return attention(queries, keys, values, below(self.mask, group))

        x = self.body.embedding(tokens, 0)
        for block, group in zip(self.body.blocks, self.body.groups, strict=True):
            x = block(x, partial(attend, group))
        return (self.body.readout(x), *new_caches)


class Step(nn.Module):
    """`step` above."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, token: Tensor, position: Tensor, mask: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        new_caches: list[Tensor] = []

        def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            old_keys, old_values = caches[len(new_caches) : len(new_caches) + 2]
            new_caches.extend((keys, values))
            return attention(queries, torch.cat([old_keys, keys], dim=2), torch.cat([old_values, values], dim=1), mask)

        x = self.body.tokens.rows(token) + self.body.positions.rows(position)
        for block in self.body.blocks:
            x = block(x, attend)
        return (self.body.readout(x), *new_caches)


def export_static(
    gpt: GPT, tokenizer: Tokenizer, path: Path, text: Path | None = None, on_step: OnStep = unheard
) -> None:
    """Write both programs to `path`. Calibration needs tiny Shakespeare: raises DataError where it cannot be had."""
    from torch.export.pt2_archive._package import package_pt2

    body, context = Body(gpt.eval()), gpt.config.context
    training, validation = data.split(data.load_text(text))
    chosen = {
        "calibration": _windows(tokenizer.encode(training), context, _CALIBRATION),
        "held_out": _windows(tokenizer.encode(validation), context, _HELD_OUT),
    }
    sizes = {"vocabulary_size": gpt.config.vocabulary_size, "context": context, "masked": HIDDEN}
    tokens = torch.zeros(1, context, dtype=torch.int64)
    with library_noise_hidden(), torch.no_grad():
        on_step("exporting")
        prefill, step = Prefill(body).eval(), Step(body).eval()
        caches = [
            cache.narrow(2 - index % 2, 0, context - 1).contiguous()
            for index, cache in enumerate(cast(Sequence[Tensor], prefill(tokens)[1:]))
        ]
        programs = {
            "model": torch.export.export(prefill, (tokens,)),
            "step": torch.export.export(step, (tokens[:, :1], torch.tensor([0]), torch.zeros(1, context), *caches)),
        }
        package_pt2(str(path), exported_programs=programs, extra_files={"generation.json": json.dumps(sizes | chosen)})


def _windows(tokens: Tokens, context: int, count: int) -> list[list[int]]:
    """`count` windows spread evenly over a text."""
    starts = range(0, len(tokens) - context, (len(tokens) - context) // count)
    return [tokens[start : start + context].tolist() for start in list(starts)[:count]]
