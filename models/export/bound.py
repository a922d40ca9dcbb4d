"""From a trained GPT to a file of the bound (`harness.bound`), with the integers of its `.pte`.

Precisions are those of the `.pte` that have a step for each output channel: `fp32`, `int8` and `int4-channel`; tables
and the readout stay int8 under the latter. What a file must equal is the deployed form in eager PyTorch, which computes
what the `.pte` does: the loops take the same integers, round activations by the same formula, and differ in the order
of their float32 sums alone. Where such a difference moves an activation over the middle between two levels, logits
differ a little: two tokens that are as likely as each other but for that are a tie.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.bound.file import (
    LARGEST,
    MOST_LAYERS,
    Sizes,
    write_floating,
    write_floats,
    write_header,
    write_index,
    write_levels,
    write_sizes,
)
from harness.bound.library import Program, load_library
from harness.durations import OnStep, unheard
from harness.errors import ModelError, UsageError
from harness.models.export.deployment import AllLogits, Body
from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.quantised_linear import integers
from harness.models.gpt.architecture import BlockShape
from harness.models.gpt.network import GPT, Block

PRECISIONS = ("fp32", "int8", "int4-channel")
CHECKED_TOKENS = 512
LOSS_DIFFERENCE = 0.002
"""Greatest difference of the mean loss on the checked tokens, in nats a token."""
TIE = {"fp32": 1e-4, "int8": 0.05, "int4-channel": 0.05}
"""How much likelier than the file's choice the model's may be, for them to be a tie: as a share of the logits' standard
deviation. A level that falls the other way in some layer moves a logit by up to about that much."""
_TOGETHER = 7  # tokens that the check gives at once in the middle of a window
_REPORT = "Report this with the versions of torch and of the C compiler."


def export_bound(gpt: GPT, path: Path, precision: str, tokens: Tensor, on_step: OnStep = unheard) -> dict[str, float]:
    """Write `gpt` to `path`, weights as `precision` says (see above). The file is checked on the text `tokens` int64
    [n], of which the first 512 are taken. What the check measured and allows (`check_bound`).

    Raises UsageError for another precision and where the loops cannot be compiled or run here, ModelError for shapes
    that they do not know, and if the file computes something else than `gpt`.
    """
    if precision not in PRECISIONS:
        raise UsageError(
            f"The bound has no weights in {precision!r}: it has a step for each output channel, and none for groups.",
            f"Choose one of: {', '.join(PRECISIONS)}.",
        )
    _check_shapes(gpt)
    with library_noise_hidden(), torch.no_grad():
        on_step("exporting")
        path.write_bytes(bound_bytes(gpt.eval(), precision))
        on_step("checking the file")
        return check_bound(gpt, path, precision, tokens)


def bound_bytes(gpt: GPT, precision: str) -> bytes:
    """The content of the file."""
    config, file = gpt.config, io.BytesIO()
    tables = "int8" if precision != "fp32" else precision
    relu = config.activation == "relu"
    write_header(file, config.vocabulary_size, config.context, config.width, config.layers, relu)
    _write_matrix(file, gpt.token_embedding.weight, tables)
    _write_matrix(file, gpt.position_embedding.weight, tables)
    for block, shape in zip(gpt.blocks, config.block_shapes, strict=True):
        _write_block(file, cast(Block, block), shape, precision)
    write_floats(file, gpt.final_norm.weight.detach().numpy())
    return file.getvalue()


def check_bound(
    gpt: GPT, path: Path, precision: str, tokens: Tensor, instructions: str | None = None
) -> dict[str, float]:
    """Run the file beside the deployed form of `gpt` on windows of `tokens`: of each a prompt, some tokens together,
    and the rest one by one. The difference of the mean loss and how many most likely tokens differ, and what is allowed
    of both.

    Raises ModelError where the loss differs by more than `LOSS_DIFFERENCE`, or a most likely token is another by more
    than `TIE`; HarnessError where the loops of these `instructions` (None: the fastest here) cannot be had.
    """
    program = Program(load_library(instructions), path, path.read_bytes())
    context = gpt.config.context
    text = tokens[: max(CHECKED_TOKENS, context) // context * context + 1]
    windows, following = text[:-1].view(-1, context), text[1:]
    deployed = AllLogits(Body(gpt, precision))
    expected = torch.cat([deployed(window[None])[0] for window in windows])
    computed = torch.cat([_logits(program, window, gpt.config.vocabulary_size) for window in windows])
    losses = [F.cross_entropy(logits.double(), following).item() for logits in (computed, expected)]
    chosen = computed.argmax(1)
    behind = expected.amax(1) - expected.gather(1, chosen[:, None])[:, 0]
    allowed = TIE[precision] * expected.std()
    wrong, others = int((behind > allowed).sum()), int((behind > 0).sum())
    difference = abs(losses[0] - losses[1])
    if not (difference <= LOSS_DIFFERENCE and wrong == 0):
        raise ModelError(
            f"{path.name} computes something else than its model: its loss differs by {difference:.2g} nats, and "
            f"{wrong} of {len(chosen)} most likely tokens are others, ties left out.",
            _REPORT,
        )
    return {
        "loss_difference_nats": difference,
        "loss_difference_allowed_nats": LOSS_DIFFERENCE,
        "other_tokens": others,
        "greatest_tie_spreads": (behind.amax() / expected.std()).item(),
        "tie_allowed_spreads": TIE[precision],
        "checked_tokens": len(chosen),
    }


def _logits(program: Program, window: Tensor, vocabulary: int) -> Tensor:
    """Those of every token [context], in calls of several lengths."""
    ids, logits, begin = window.to(torch.int32).contiguous(), torch.empty(len(window), vocabulary), 0
    for count in _pieces(len(window)):
        every = logits[begin : begin + count]
        program.run(ids[begin:].data_ptr(), count, begin, True, every.data_ptr())
        last = torch.empty(vocabulary)
        if count > 1:  # what a prompt gives: by another way through the last layer
            program.run(ids[begin:].data_ptr(), count, begin, False, last.data_ptr())
            every[-1] = last
        begin += count
    return logits


def _pieces(context: int) -> Iterator[int]:
    """How many tokens each call gets: half a window, then several, then one at a time."""
    first = max(1, context // 2)
    together = min(_TOGETHER, context - first)
    yield from (count for count in (first, together, *[1] * (context - first - together)) if count)


def _check_shapes(gpt: GPT) -> None:
    """Raises ModelError for a model that the loops do not know, saying why."""
    todo = "Build it as .pte."
    config = gpt.config
    for name, layer in gpt.named_modules():
        if name.endswith((".qkv", ".proj", ".fc", ".out")) and type(layer) is not nn.Linear:
            raise ModelError(
                f"The bound knows plain linear layers alone, and {name} is a {type(layer).__name__}.", todo
            )
    sizes = [config.vocabulary_size, config.context, config.width]
    for shape in config.block_shapes:
        sizes += [shape.heads * shape.qk_dim, shape.heads * shape.v_dim, shape.ffn]
    if max(sizes) > LARGEST or config.layers > MOST_LAYERS:
        raise ModelError(
            f"The bound knows sizes up to {LARGEST} and {MOST_LAYERS} layers; a size of this one is {max(sizes)}, and "
            f"it has {config.layers} layers.",
            todo,
        )
    for name, parameter in gpt.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ModelError(f"{name} has a weight that is no finite number.", "Train it again.")


def _write_matrix(file: IO[bytes], weight: Tensor, precision: str) -> None:
    weight = weight.detach().float()
    if precision == "fp32":
        write_floating(file, weight.numpy())
        return
    stored = integers(weight, precision)
    write_levels(file, stored.levels.numpy(), stored.step.numpy(), stored.bits)


def _write_block(file: IO[bytes], block: Block, shape: BlockShape, precision: str) -> None:
    written = [len(rows) if rows is not None else 0 for rows in (shape.attention_rows, shape.ffn_rows)]
    write_sizes(file, Sizes(shape.heads, shape.qk_dim, shape.v_dim, shape.ffn, *written))
    if block.attention is not None:
        scores, mixed = shape.heads * shape.qk_dim, shape.heads * shape.v_dim
        queries, keys, values = torch.split(block.attention.qkv.weight.detach(), [scores, scores, mixed])
        write_floats(file, block.attention_norm.weight.detach().numpy())
        for weight in (queries * block.attention.scale, keys, values, block.attention.proj.weight):
            _write_matrix(file, weight, precision)
        write_index(file, shape.attention_rows)
    if block.ffn is not None:
        write_floats(file, block.ffn_norm.weight.detach().numpy())
        for weight in (block.ffn.fc.weight, block.ffn.out.weight):
            _write_matrix(file, weight, precision)
        write_index(file, shape.ffn_rows)
