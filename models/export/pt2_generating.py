"""A GPT that generates in PyTorch: one program with its cache inside, in a `.pt2`, for devices that torch runs on.

`forward(tokens int64 [1, n], input_pos int64 [1]) -> logits float32 [1, n, vocabulary]`, n up to the context: a prompt
at once, then token by token; a call from position 0 begins a new sequence. That is ExecuTorch's LLM convention with the
logits of every position, so that quality over a text costs one call a window of the very program that is timed; of a
vocabulary of characters the readout is small. The archive's extra file `metadata.json` has what a `.pte` says in its
constant methods.

Unlike the program of a `.pte`, nothing here looks at a position on the host (`item`): a GPU would have to finish before
the next operator could be launched, and a call could not be captured as a CUDA graph. For the same reason masks are
stored and looked up by position; computed from positions they would be wrong in bfloat16, which has no 257.

Weights are float32, whatever bits they were trained to: what a compressed model gains here is by its channels that are
gone. Whoever loads the file may round them.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import Dim

from harness.durations import OnStep, unheard
from harness.errors import ModelError
from harness.models.export.deployment import Body, DeployedBlock, attention, below
from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.pte import constant_methods
from harness.models.gpt.network import GPT, MASKED

METADATA = "metadata.json"
TOLERANCE = 1e-4
"""Greatest difference of a logit between the program and the model, as a share of the logits' standard deviation."""


class Cached(nn.Module):
    """The program above."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body, context = body, body.config.context
        for number, block in enumerate(body.blocks):
            layer = cast(DeployedBlock, block).attention
            if layer is not None:
                keys, values = layer.caches(context)
                self.register_buffer(f"keys_{number}", keys)
                self.register_buffer(f"values_{number}", values)
        self.register_buffer("order", torch.arange(context))
        self.register_buffer("masks", torch.full((context, context), MASKED).triu(diagonal=1))

    def forward(self, tokens: Tensor, input_pos: Tensor) -> Tensor:
        places = input_pos + self.get_buffer("order")[: tokens.size(1)]

        def attend(number: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            all_keys = self.get_buffer(f"keys_{number}").index_copy_(2, places, keys)
            all_values = self.get_buffer(f"values_{number}").index_copy_(1, places, values)
            return attention(queries, all_keys, all_values, masks[self.body.groups[number]])

        x = self.body.tokens.rows(tokens) + self.body.positions.rows(places)
        mask = self.get_buffer("masks").index_select(0, places)
        masks = {group: below(mask, group) for group in set(self.body.groups)}
        for number, block in enumerate(self.body.blocks):
            x = block(x, partial(attend, number))
        return self.body.readout(x)


def export_cached(gpt: GPT, path: Path, on_step: OnStep = unheard) -> None:
    """Write the program to `path`. Raises ModelError if it computes something else than `gpt`."""
    context = gpt.config.context
    # The example is as long as a call may be: a dynamic size shows that of its example.
    example = (torch.zeros(1, context, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    sizes = {"tokens": {1: Dim("length", min=1, max=context)}, "input_pos": None}
    with library_noise_hidden(), torch.no_grad():
        on_step("exporting")
        program = torch.export.export(Cached(Body(gpt.eval())).eval(), example, dynamic_shapes=sizes)
        torch.export.save(program, path, extra_files={METADATA: json.dumps(constant_methods(gpt))})
        on_step("checking the file")
        check_cached(gpt, path)


def check_cached(gpt: GPT, path: Path) -> None:
    """Run the file beside `gpt` on random tokens: whole windows, a prompt, and its continuation token by token.

    Raises ModelError where a logit differs by more than `TOLERANCE`: a program that runs is not yet one that is right.
    """
    module, context = torch.export.load(path).module(), gpt.config.context
    for seed in (0, 1):  # the second sequence must not see the first
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(gpt.config.vocabulary_size, (1, context), generator=generator)
        expected, prompt = gpt(tokens), context // 2
        at_once = module(tokens, torch.tensor([0]))
        parts = [module(tokens[:, :prompt], torch.tensor([0]))]
        parts += [module(tokens[:, place : place + 1], torch.tensor([place])) for place in range(prompt, context)]
        for logits in (at_once, torch.cat(parts, dim=1)):
            difference = ((logits - expected).abs().max() / expected.std()).item()
            if not difference <= TOLERANCE:
                raise ModelError(
                    f"{path.name} computes something else than its model: logits differ by {difference:.2g} spreads.",
                    "Report this with the version of torch.",
                )
