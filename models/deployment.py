"""The same GPT, written down for an inference runtime: what it computes is equal, what it costs is not.

On a small model the operators that the delegate does not take, and the passages into and out of it, cost as much as the
weights. So there is one linear layer for queries and one for keys and values together (splitting a fused one slices a
dynamic length, which XNNPACK refuses), attention is matmul, stored mask and softmax (PyTorch's fused operator guards
against masked-out rows with a `where` over all scores), heads are a batch dimension, the scale is folded into the
queries' weights, and shapes are given by -1 and constants (a symbolic view is refused too). Each block is left with
three delegate calls, two layer norms, and one write into one cache.

Cut layers are used at their cut size, except that their rows go back to their places in the residual stream as zeros:
an indexed addition would split the delegate, and costs more than the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.models.architecture import BlockShape
from harness.models.gpt import GPT, Attention, Block, FeedForward

Remember = Callable[[Tensor], Tensor]
"""Keys and values of one block's new tokens [1, T, channels] to those of every token that may be attended to."""


def linear(weight: Tensor) -> nn.Linear:
    """A layer that multiplies by `weight` [out, in]."""
    layer = nn.Linear(weight.size(1), weight.size(0), bias=False)
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    return layer


def full_rows(weight: Tensor, rows: tuple[int, ...] | None, width: int) -> Tensor:
    """`weight` [rows, in] with its rows where they belong among `width`, and zeros elsewhere."""
    return weight if rows is None else weight.new_zeros(width, weight.size(1)).index_copy(0, torch.tensor(rows), weight)


class DeployedAttention(nn.Module):
    """`Attention` for one sequence: [1, T, W] to [1, T, W]."""

    def __init__(self, attention: Attention, width: int) -> None:
        super().__init__()
        self.shape = shape = attention.shape
        query_rows = shape.heads * shape.qk_dim
        self.queries = linear(attention.qkv.weight[:query_rows] * attention.scale)
        self.keys_values = linear(attention.qkv.weight[query_rows:])
        self.proj = linear(full_rows(attention.proj.weight, shape.attention_rows, width))

    def forward(self, x: Tensor, mask: Tensor, remember: Remember) -> Tensor:
        heads, qk_dim, v_dim = self.shape.heads, self.shape.qk_dim, self.shape.v_dim
        queries = self.queries(x).view(-1, heads, qk_dim).permute(1, 0, 2)
        memory = remember(self.keys_values(x))
        keys = memory[:, :, : heads * qk_dim].view(-1, heads, qk_dim).permute(1, 2, 0)
        values = memory[:, :, heads * qk_dim :].view(-1, heads, v_dim).permute(1, 0, 2)
        weights = F.softmax(torch.bmm(queries, keys) + mask, dim=-1)
        mixed = torch.bmm(weights, values).permute(1, 0, 2).contiguous().view(1, -1, heads * v_dim)
        output: Tensor = self.proj(mixed)
        return output


class DeployedFeedForward(nn.Module):
    """`FeedForward`: [1, T, W] to [1, T, W]."""

    def __init__(self, ffn: FeedForward, rows: tuple[int, ...] | None, width: int) -> None:
        super().__init__()
        self.fc, self.activation = linear(ffn.fc.weight), ffn.activation
        self.out = linear(full_rows(ffn.out.weight, rows, width))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(self.activation(self.fc(x)))
        return output


class DeployedBlock(nn.Module):
    """`Block`: [1, T, W] to [1, T, W]; a sublayer of which nothing is left is absent."""

    def __init__(self, block: Block, shape: BlockShape, width: int) -> None:
        super().__init__()
        self.attention: DeployedAttention | None = None
        self.ffn: DeployedFeedForward | None = None
        if block.attention is not None:
            self.attention_norm = block.attention_norm
            self.attention = DeployedAttention(block.attention, width)
        if block.ffn is not None:
            self.ffn_norm = block.ffn_norm
            self.ffn = DeployedFeedForward(block.ffn, shape.ffn_rows, width)

    def forward(self, x: Tensor, mask: Tensor, remember: Remember) -> Tensor:
        if self.attention is not None:
            x = x + self.attention(self.attention_norm(x), mask, remember)
        if self.ffn is not None:
            x = x + self.ffn(self.ffn_norm(x))
        return x


class Body(nn.Module):
    """What both methods of a program share: embeddings, blocks, the readout, and the stored mask."""

    mask: Tensor

    def __init__(self, gpt: GPT) -> None:
        super().__init__()
        self.config = gpt.config
        self.token_embedding, self.position_embedding = gpt.token_embedding, gpt.position_embedding
        pairs = zip(gpt.blocks, gpt.config.block_shapes, strict=True)
        self.blocks = nn.ModuleList(DeployedBlock(cast(Block, b), shape, gpt.config.width) for b, shape in pairs)
        self.final_norm, self.head = gpt.final_norm, linear(gpt.token_embedding.weight)
        self.register_buffer("mask", gpt.mask, persistent=False)

    def readout(self, x: Tensor) -> Tensor:
        """[1, T, W] to logits [1, T, vocabulary]."""
        logits: Tensor = self.head(self.final_norm(x))
        return logits


class Generator(nn.Module):
    """ExecuTorch's LLM convention: new tokens and their position in, logits of the last token out.

    The caches are mutable buffers, so state stays inside the program, for one sequence. A call from position 0 starts
    a new one: what lies beyond the current position is masked.
    """

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        for number, shape in enumerate(body.config.block_shapes):
            channels = shape.heads * (shape.qk_dim + shape.v_dim)
            if channels:
                cache = torch.zeros(1, body.config.context, channels)
                self.register_buffer(f"cache_{number}", cache, persistent=False)

    def forward(self, tokens: Tensor, input_pos: Tensor) -> Tensor:
        """tokens int64 [1, T], input_pos int64 [1] (the first one's position) to logits float32 [1, vocabulary]."""
        body, length = self.body, tokens.size(1)
        position = cast(int, input_pos[0].item())
        # torch.export must be told that a position read from data is in range.
        torch._check(position >= 0)  # type: ignore[no-untyped-call]
        torch._check(position + length <= body.config.context)  # type: ignore[no-untyped-call]

        def remember(number: int, keys_values: Tensor) -> Tensor:
            cache = self.get_buffer(f"cache_{number}")
            memory = torch.slice_scatter(cache, keys_values, 1, position, position + length)
            cache.copy_(memory)
            return memory

        x = body.token_embedding(tokens) + body.position_embedding.weight.narrow(0, position, length)
        mask = body.mask.narrow(0, position, length)
        for number, block in enumerate(body.blocks):
            x = block(x, mask, partial(remember, number))
        return body.readout(x[:, -1:])[:, 0]


class AllLogits(nn.Module):
    """Every position's logits, for quality over a text: tokens int64 [1, context] to [1, context, vocabulary]."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.body.token_embedding(tokens) + self.body.position_embedding.weight
        for block in self.body.blocks:
            x = block(x, self.body.mask, lambda keys_values: keys_values)
        return self.body.readout(x)
