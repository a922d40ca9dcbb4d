"""A GPT whose feed-forward weights lie elsewhere: the program of all else, those weights, and what enters and leaves.

The program is cut where a feed-forward layer would stand. Its methods, each lowered to XNNPACK, are for one token:

    stage_0(tokens int64 [1, 1], input_pos int64 [1])            -> residual, x    float32 [1, 1, W] both
    stage_i(residual, y [1, 1, W], input_pos)                    -> residual, x
    stage_L(residual, y, input_pos)                              -> logits float32 [1, vocabulary]

x is what enters feed-forward layer i and y what leaves it, computed by whoever runs the program: relu(up x) down. A
layer's KV cache is a mutable buffer of its stage: methods of one loaded program share planned memory, so each stage is
loaded from a program of its own. Constant methods say what the file is: `get_flash_layers` counts its
feed-forward layers; what they are named, and how large, the files beside it say themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.durations import OnStep, unheard
from harness.errors import ModelError
from harness.models.export.deployment import Body, DeployedBlock, attention, full_rows
from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.pte import constant_methods, lowered_to_pte
from harness.models.gpt.network import GPT, MASKED, Block, FeedForward

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
# Of a logit, as a share of the logits' standard deviation: stages and model add in other orders.
_TOLERANCE = 1e-4


class _Sublayers(nn.Module):
    """The attention of one block, and the norm of the feed-forward layer that follows where `feeds`; with the cache."""

    def __init__(self, block: DeployedBlock, context: int, feeds: bool) -> None:
        super().__init__()
        self.attention = block.attention
        if block.attention is not None:
            self.attention_norm = block.attention_norm
            keys, values = block.attention.caches(context)
            self.register_buffer("keys", keys, persistent=False)
            self.register_buffer("values", values, persistent=False)
        if feeds:
            self.ffn_norm = block.ffn_norm

    def forward(self, x: Tensor, mask: Tensor, place: Tensor) -> Tensor:
        if self.attention is None:
            return x

        def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            all_keys, all_values = self.get_buffer("keys"), self.get_buffer("values")
            all_keys.index_copy_(2, place, keys)
            all_values.index_copy_(1, place, values)
            return attention(queries, all_keys, all_values, mask)

        return x + cast(Tensor, self.attention(self.attention_norm(x), attend))


class Stage(nn.Module):
    """What lies between two feed-forward layers: blocks `first` to `last`, of which the last one's is cut out; at the
    ends the embedding and the readout. For one token and one sequence.
    """

    places: Tensor

    def __init__(self, body: Body, first: int, last: int, begins: bool, ends: bool) -> None:
        super().__init__()
        self.begins, self.ends, self.context = begins, ends, body.config.context
        feeding = None if ends else last
        self.blocks = nn.ModuleList(
            _Sublayers(cast(DeployedBlock, body.blocks[number]), self.context, number == feeding)
            for number in range(first, last + 1)
        )
        if begins:
            self.tokens, self.positions = body.tokens, body.positions
        if ends:
            self.final_norm, self.head = body.final_norm, body.head
        self.register_buffer("places", body.places.clone())
        self.register_buffer("order", torch.arange(self.context), persistent=False)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        position = cast(int, inputs[-1][0].item())
        # torch.export must be told that a position read from data is in range.
        torch._check(position >= 0)  # type: ignore[no-untyped-call]
        torch._check(position + 1 <= self.context)  # type: ignore[no-untyped-call]
        x = self._embedding(inputs[0], position) if self.begins else inputs[0] + inputs[1]
        distance = self.places.narrow(0, position, 1) - self.places.view(1, -1)
        mask = torch.clamp(distance * -MASKED, MASKED, 0.0)
        place = self.get_buffer("order").narrow(0, position, 1)
        for block in self.blocks:
            x = block(x, mask, place)
        if self.ends:
            return cast(Tensor, self.head(self.final_norm(x)))[:, 0]
        return x, cast(Tensor, cast(_Sublayers, self.blocks[-1]).ffn_norm(x))

    def _embedding(self, token: Tensor, position: int) -> Tensor:
        return self.tokens.rows(token) + self.positions.stretch(position, 1)


def stages(gpt: GPT) -> list[Stage]:
    """One more than there are feed-forward layers. Raises ModelError for a model that has none."""
    feeding = [number for number, shape in enumerate(gpt.config.block_shapes) if shape.ffn]
    if not feeding:
        raise ModelError("This model has no feed-forward layer to leave in flash.", "Give another model.")
    body = Body(gpt.eval())
    starts = [0, *(number + 1 for number in feeding)]
    ends = [*feeding, gpt.config.layers - 1]
    last = len(feeding)
    return [
        Stage(body, start, end, begins=index == 0, ends=index == last)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def feed_forward(gpt: GPT) -> list[tuple[Floats, Floats]]:
    """Of each feed-forward layer, the rows of its up projection and the columns of its down projection, both float32
    [neurons, width]; a cut one's columns have zeros where it writes nothing.
    """
    pairs = zip(gpt.blocks, gpt.config.block_shapes, strict=True)
    return [
        (
            ffn.fc.weight.detach().numpy(),
            full_rows(ffn.out.weight.detach(), shape.ffn_rows, gpt.config.width).T.contiguous().numpy(),
        )
        for block, shape in pairs
        if (ffn := cast(Block, block).ffn) is not None
    ]


def rest_bytes(gpt: GPT) -> int:
    """Bytes of attention and all else, in the float32 that the program has them in."""
    inside = sum(up.size + down.size for up, down in feed_forward(gpt))
    return 4 * (sum(parameter.numel() for parameter in gpt.parameters()) - inside)


def record(gpt: GPT, tokens: npt.NDArray[np.int64]) -> tuple[list[Floats], list[Mask]]:
    """What enters each feed-forward layer [n, width], and which neurons are not zero behind its activation function
    [n, neurons], at every position of `tokens` int64 [windows, context]; n = windows x context.
    """
    inputs: list[list[Tensor]] = [[] for _ in _layers(gpt)]
    active: list[list[Tensor]] = [[] for _ in _layers(gpt)]

    def watch(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            ffn = cast(FeedForward, module)
            inputs[layer].append(arguments[0].flatten(0, 1))
            active[layer].append(ffn.activation(ffn.fc(arguments[0])).flatten(0, 1) != 0)

        return hook

    handles = [ffn.register_forward_pre_hook(watch(layer)) for layer, ffn in enumerate(_layers(gpt))]
    try:
        with torch.no_grad():
            for rows in torch.split(torch.from_numpy(tokens), 32):
                gpt(rows)
    finally:
        for handle in handles:
            handle.remove()
    return [torch.cat(layer).numpy() for layer in inputs], [torch.cat(layer).numpy() for layer in active]


def loss(gpt: GPT, windows: npt.NDArray[np.int64], masks: Callable[[int, Floats], Mask] | None = None) -> float:
    """Nats a token over `windows` int64 [n, context + 1]. Where `masks` is given, of layer i only the neurons that
    masks(i, inputs [tokens, width]) names [tokens, neurons] count, as if the others had not been read.
    """
    with torch.no_grad(), _masked(gpt, masks):
        text = torch.from_numpy(windows)
        logits = torch.cat([gpt(rows[:, :-1]) for rows in torch.split(text, 32)])
        return float(F.cross_entropy(logits.flatten(0, 1).double(), text[:, 1:].flatten()))


def export_flash(gpt: GPT, path: Path, constants: Mapping[str, int], on_step: OnStep = unheard) -> None:
    """Write the program of `gpt` without its feed-forward layers to `path`, with `constants` beside its own.

    Raises ModelError if what the program computes with the layers put back is not what `gpt` computes.
    """
    with library_noise_hidden(), torch.no_grad():
        on_step("exporting")
        methods = {}
        for number, stage in enumerate(stages(gpt)):
            arguments = example(gpt, number)
            methods[f"stage_{number}"] = torch.export.export(stage.eval(), arguments)
        known = {**constant_methods(gpt), "get_flash_layers": len(methods) - 1, **constants}
        known["enable_dynamic_shape"] = False
        on_step("lowering to XNNPACK")
        path.write_bytes(lowered_to_pte(methods, known))
        on_step("checking the file")
        _check(gpt, path)


def example(gpt: GPT, number: int) -> tuple[Tensor, ...]:
    """Inputs of stage `number`, as it declares them."""
    position = torch.tensor([0])
    if number == 0:
        return torch.zeros(1, 1, dtype=torch.int64), position
    wide = torch.zeros(1, 1, gpt.config.width)
    return wide, wide.clone(), position


def _check(gpt: GPT, path: Path) -> None:
    """Run the file, with the layers of `gpt` between its stages, beside `gpt`: two sequences of random tokens."""
    from executorch.runtime import Runtime

    # Methods of one loaded program share their planned memory, caches included: each stage needs a program of its own.
    programs = [Runtime.get().load_program(path) for _ in range(len(_layers(gpt)) + 1)]
    methods: list[Any] = [program.load_method(f"stage_{number}") for number, program in enumerate(programs)]
    for seed in (0, 1):  # the second sequence must not see the first
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(gpt.config.vocabulary_size, (1, gpt.config.context), generator=generator)
        logits = []
        for position in range(gpt.config.context):
            at = torch.tensor([position])
            inputs = [tokens[:, position : position + 1], at]
            for method, block in zip(methods[:-1], _feeding(gpt), strict=True):
                residual, x = (output.clone() for output in method.execute(inputs))
                inputs = [residual, cast(Tensor, block.ffn_rows(torch.zeros_like(x), _ffn(block)(x))), at]
            logits.append(methods[-1].execute(inputs)[0].clone())
        expected = gpt(tokens)[0]
        difference = float((torch.cat(logits) - expected).abs().max() / expected.std())
        if not difference <= _TOLERANCE:
            raise ModelError(
                f"{path.name} computes something else than its model: logits differ by {difference:.2g} spreads.",
                "Report this with the versions of torch and executorch.",
            )


def _feeding(gpt: GPT) -> list[Block]:
    return [cast(Block, block) for block in gpt.blocks if cast(Block, block).ffn is not None]


def _ffn(block: Block) -> FeedForward:
    return cast(FeedForward, block.ffn)


def _layers(gpt: GPT) -> list[FeedForward]:
    return [_ffn(block) for block in _feeding(gpt)]


@contextmanager
def _masked(gpt: GPT, masks: Callable[[int, Floats], Mask] | None) -> Iterator[None]:
    def hook(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def mask(module: nn.Module, arguments: tuple[Tensor, ...], hidden: Tensor) -> Tensor:
            assert masks is not None
            inputs = arguments[0]
            counted = torch.from_numpy(masks(layer, inputs.flatten(0, 1).numpy()))
            return hidden * counted.view(hidden.shape)

        return mask

    layers = _layers(gpt) if masks is not None else []
    handles = [ffn.fc.register_forward_hook(hook(layer)) for layer, ffn in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
