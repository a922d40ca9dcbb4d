"""Cutting dead channels out of a network: smaller dense layers that compute what the sparse ones did.

Self-compression leaves channels whose weights are all zero; any other source of zero rows or columns serves as well.
Since no layer has a bias, and GELU(0) = ReLU(0) = 0, a channel that is always zero can go together with every weight
that would have read it. Within a block:

* A feed-forward neuron goes if its row of `fc` or its column of `out` is zero.
* A value channel goes if its row of V or its column of `proj` is zero; a head without value channels goes.
* A query channel and the key channel that it meets go if either is zero. A head with values and no such pair left
  averages all positions evenly: it keeps one zero pair, whose scores are all 0.
* A zero row of `proj` or `out` leaves its residual channel alone, so it is not written.

Heads of one block are padded with zero channels to the widest of them, so that they remain one batched product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from harness.models.gpt.architecture import BlockShape
from harness.models.gpt.network import GPT, Attention, Block, FeedForward

Index = tuple[int, ...]


@dataclass(frozen=True)
class CutAttention:
    """What is left of an attention layer: `qkv` [heads * (2 qk_dim + v_dim), W], `proj` [rows, heads * v_dim]."""

    heads: int
    qk_dim: int
    v_dim: int
    rows: Index | None
    qkv: Tensor
    proj: Tensor


@dataclass(frozen=True)
class CutFeedForward:
    """What is left of a feed-forward layer: `fc` [neurons, W], `out` [rows, neurons]."""

    rows: Index | None
    fc: Tensor
    out: Tensor


def alive(tensor: Tensor, dim: int) -> Tensor:
    """Which slices have a weight that is not zero, looking along `dim`: bool."""
    return tensor.ne(0).any(dim)


def written(weight: Tensor) -> tuple[Index | None, Tensor]:
    """The residual channels that `weight` [W, in] writes (None for all), and its rows for them."""
    rows = alive(weight, 1)
    return (None if rows.all() else tuple(rows.nonzero().flatten().tolist())), weight[rows]


def packed(channels: Tensor, keep: Tensor, size: int) -> Tensor:
    """The rows of `channels` [n, W] that `keep` [n] marks, then rows of zeros up to `size`."""
    remaining = channels[keep]
    return torch.cat([remaining, remaining.new_zeros(size - remaining.size(0), remaining.size(1))])


def rounded_up(count: int, multiple: int, uncut: int) -> int:
    """The next multiple of `multiple`, but no more than there were before anything was cut."""
    return max(count, min(-(-count // multiple) * multiple, uncut))


def cut_attention(attention: Attention, multiple: int = 1) -> CutAttention | None:
    """`attention` without its dead channels, or None if it adds nothing to the residual stream."""
    shape, width = attention.shape, attention.qkv.in_features
    sizes = [shape.heads * shape.qk_dim, shape.heads * shape.qk_dim, shape.heads * shape.v_dim]
    parts = torch.split(attention.qkv.weight.detach(), sizes)
    queries, keys, values = (part.view(shape.heads, -1, width) for part in parts)
    readers = attention.proj.weight.detach().T.reshape(shape.heads, shape.v_dim, -1)
    pairs, live_values = alive(queries, 2) & alive(keys, 2), alive(values, 2) & alive(readers, 2)
    heads = live_values.any(1).nonzero().flatten().tolist()
    if not heads:
        return None
    qk_dim = rounded_up(max(1, *(int(pairs[head].sum()) for head in heads)), multiple, shape.qk_dim)
    v_dim = rounded_up(max(int(live_values[head].sum()) for head in heads), multiple, shape.v_dim)
    qkv = [packed(part[head], pairs[head], qk_dim) for part in (queries, keys) for head in heads]
    qkv += [packed(values[head], live_values[head], v_dim) for head in heads]
    proj = torch.cat([packed(readers[head], live_values[head], v_dim) for head in heads]).T
    rows, proj = written(proj)
    return CutAttention(len(heads), qk_dim, v_dim, rows, torch.cat(qkv), proj)


def cut_ffn(ffn: FeedForward, multiple: int = 1) -> CutFeedForward | None:
    """`ffn` without its dead neurons, or None if it adds nothing to the residual stream."""
    fc, out = ffn.fc.weight.detach(), ffn.out.weight.detach()
    neurons = alive(fc, 1) & alive(out, 0)
    if not neurons.any():
        return None
    size = rounded_up(int(neurons.sum()), multiple, ffn.fc.out_features)
    rows, out = written(packed(out.T, neurons, size).T)
    return CutFeedForward(rows, packed(fc, neurons, size), out)


def shrink(gpt: GPT, multiple: int = 2) -> GPT:
    """A GPT with the logits of `gpt` and only those of its channels that are alive. `gpt` must be uncut.

    Neurons, and the channels of a head, are filled up with zeros to a `multiple`, which changes no logit. 2 is what
    XNNPACK's int4 kernels need. More buys nothing: at six blocks of 384 in int4, 8 and 16 made a token 3-4 % and a
    prompt 1-4 % slower, and the program 2 and 6 % larger (medians of 41 alternated rounds beside 1, one thread).
    """
    if gpt.config.shapes is not None:
        raise ValueError("this model has been cut already")
    tensors = {name: tensor for name, tensor in gpt.state_dict().items() if not name.startswith("blocks.")}
    shapes = []
    for number, module in enumerate(gpt.blocks):
        block, name = cast(Block, module), f"blocks.{number}"
        shape = BlockShape(heads=0, qk_dim=0, v_dim=0, ffn=0)
        attention = cut_attention(block.attention, multiple) if block.attention is not None else None
        ffn = cut_ffn(block.ffn, multiple) if block.ffn is not None else None
        if attention is not None:
            shape = replace(shape, heads=attention.heads, qk_dim=attention.qk_dim, v_dim=attention.v_dim)
            shape = replace(shape, attention_rows=attention.rows)
            tensors[f"{name}.attention_norm.weight"] = block.attention_norm.weight
            tensors[f"{name}.attention.qkv.weight"] = attention.qkv
            tensors[f"{name}.attention.proj.weight"] = attention.proj
        if ffn is not None:
            shape = replace(shape, ffn=ffn.fc.size(0), ffn_rows=ffn.rows)
            tensors[f"{name}.ffn_norm.weight"] = block.ffn_norm.weight
            tensors[f"{name}.ffn.fc.weight"] = ffn.fc
            tensors[f"{name}.ffn.out.weight"] = ffn.out
        shapes.append(shape)
    small = GPT(replace(gpt.config, shapes=tuple(shapes)))
    small.load_state_dict(tensors)
    return small.train(gpt.training)
