"""The reference GPT: nanoGPT's architecture, able to run after channels have been cut out of it.

Learned positional embeddings, pre-norm blocks, one fused linear layer for queries, keys and values, GELU (or ReLU), an
output layer tied to the token embedding, and not one bias: Radford et al., "Language Models are Unsupervised Multitask
Learners" (2019), as Karpathy's nanoGPT writes it down. Without biases a dead channel is exactly zero, so it can be cut.

Tensors are float32. B is the batch, T the tokens of a call, H heads, W the width of the residual stream.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.models.gpt.architecture import BlockShape, GPTConfig

MASKED = -1e9
"""Added to a score that must not count: exp() of it is exactly 0, and unlike -inf it survives any vector kernel."""


class Rows(nn.Module):
    """Adds an update to the residual stream: [B, T, rows] onto those channels of [B, T, W]."""

    index: Tensor | None

    def __init__(self, rows: tuple[int, ...] | None) -> None:
        super().__init__()
        self.register_buffer("index", None if rows is None else torch.tensor(rows), persistent=False)

    def forward(self, residual: Tensor, update: Tensor) -> Tensor:
        return residual + update if self.index is None else residual.index_add(2, self.index, update)


class Attention(nn.Module):
    """Causal self-attention over heads of equal size. Its weights are not dropped out: on a CPU drawing so many random
    numbers costs a fifth of a training step.
    """

    def __init__(self, config: GPTConfig, shape: BlockShape) -> None:
        super().__init__()
        self.shape = shape
        self.scale = 1 / math.sqrt(config.head_dim)
        heads, rows = shape.heads, shape.attention_rows
        self.qkv = nn.Linear(config.width, heads * (2 * shape.qk_dim + shape.v_dim), bias=False)
        self.proj = nn.Linear(heads * shape.v_dim, config.width if rows is None else len(rows), bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, T, W] to [B, T, rows written]. `mask` [T, T] is added to the scores."""
        batch, tokens, _ = x.shape
        heads, qk_dim, v_dim = self.shape.heads, self.shape.qk_dim, self.shape.v_dim
        queries, keys, values = self.qkv(x).split([heads * qk_dim, heads * qk_dim, heads * v_dim], dim=2)
        queries = (queries * self.scale).view(batch, tokens, heads, qk_dim).transpose(1, 2)
        keys = keys.view(batch, tokens, heads, qk_dim).permute(0, 2, 3, 1)
        values = values.view(batch, tokens, heads, v_dim).transpose(1, 2)
        weights = F.softmax(queries @ keys + mask, dim=-1)
        mixed = (weights @ values).transpose(1, 2).reshape(batch, tokens, heads * v_dim)
        output: Tensor = self.proj(mixed)
        return output


class FeedForward(nn.Module):
    """Two linear layers with an activation between: [B, T, W] to [B, T, rows written]."""

    def __init__(self, config: GPTConfig, shape: BlockShape) -> None:
        super().__init__()
        rows = shape.ffn_rows
        self.fc = nn.Linear(config.width, shape.ffn, bias=False)
        self.out = nn.Linear(shape.ffn, config.width if rows is None else len(rows), bias=False)
        self.activation = nn.GELU() if config.activation == "gelu" else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(self.activation(self.fc(x)))
        return output


class Block(nn.Module):
    """One pre-norm transformer block; a sublayer of which nothing is left is absent."""

    def __init__(self, config: GPTConfig, shape: BlockShape) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.attention: Attention | None = None
        self.ffn: FeedForward | None = None
        if shape.heads:
            self.attention_norm = nn.LayerNorm(config.width, bias=False)
            self.attention = Attention(config, shape)
            self.attention_rows = Rows(shape.attention_rows)
        if shape.ffn:
            self.ffn_norm = nn.LayerNorm(config.width, bias=False)
            self.ffn = FeedForward(config, shape)
            self.ffn_rows = Rows(shape.ffn_rows)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, T, W] to [B, T, W]."""
        if self.attention is not None:
            x = self.attention_rows(x, self.dropout(self.attention(self.attention_norm(x), mask)))
        if self.ffn is not None:
            x = self.ffn_rows(x, self.dropout(self.ffn(self.ffn_norm(x))))
        return x


class GPT(nn.Module):
    """The whole model: tokens [B, T], T at most `context`, to logits [B, T, vocabulary]."""

    mask: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocabulary_size, config.width)
        self.position_embedding = nn.Embedding(config.context, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, shape) for shape in config.block_shapes)
        self.final_norm = nn.LayerNorm(config.width, bias=False)
        # Stored, never computed: an exported graph would compute it again at every call.
        mask = torch.full((config.context, config.context), MASKED).triu(diagonal=1)
        self.register_buffer("mask", mask, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                # The residual stream sums 2 * layers updates: scaling their layers keeps its variance at 1 (GPT-2).
                residual = name.endswith(("proj.weight", "out.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * config.layers) if residual else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.size(1)
        x = self.token_embedding(tokens) + self.position_embedding.weight[:length]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, self.mask[:length, :length])
        return F.linear(self.final_norm(x), self.token_embedding.weight)
