"""Text from a GPT in eager PyTorch: many sequences at once, a token of each a step, keys and values remembered.

B is the sequences, C the model's context, H a block's heads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.models.gpt.network import GPT, Attention, Block

Choose = Callable[[Tensor, int], Tensor]
"""The next tokens int64 [B], from the logits [B, vocabulary] of the token at that position."""


class Memory:
    """The keys and values of a block's attention, float32 [B, H, C, size of a head] each."""

    def __init__(self, attention: Attention, sequences: int, context: int) -> None:
        shape = attention.shape
        self.keys = torch.empty(sequences, shape.heads, context, shape.qk_dim)
        self.values = torch.empty(sequences, shape.heads, context, shape.v_dim)

    def attend(self, attention: Attention, x: Tensor, position: int) -> Tensor:
        """What attention writes for the token at `position`, x [B, W], which is remembered."""
        shape = attention.shape
        sizes = [shape.heads * size for size in (shape.qk_dim, shape.qk_dim, shape.v_dim)]
        queries, keys, values = (part.unflatten(1, (shape.heads, -1)) for part in attention.qkv(x).split(sizes, dim=1))
        self.keys[:, :, position], self.values[:, :, position] = keys, values
        scores = (queries * attention.scale)[:, :, None] @ self.keys[:, :, : position + 1].transpose(2, 3)
        mixed = F.softmax(scores, dim=-1) @ self.values[:, :, : position + 1]
        output: Tensor = attention.proj(mixed.flatten(1))
        return output


@torch.no_grad()
def generate(model: GPT, first: Tensor, choose: Choose) -> Tensor:
    """Sequences of the model's context, int64 [B, C], that begin with the tokens `first` [B]. The model is evaluated
    without dropout.
    """
    context = model.config.context
    blocks = [block for block in model.blocks if isinstance(block, Block)]
    memories = [None if b.attention is None else Memory(b.attention, len(first), context) for b in blocks]
    tokens = torch.empty(len(first), context, dtype=torch.int64)
    tokens[:, 0] = first
    for position in range(context - 1):
        x = model.token_embedding(tokens[:, position]) + model.position_embedding.weight[position]
        for block, memory in zip(blocks, memories, strict=True):
            if memory is not None and block.attention is not None:
                update = memory.attend(block.attention, block.attention_norm(x), position)
                x = block.attention_rows(x[:, None], update[:, None])[:, 0]
            if block.ffn is not None:
                x = block.ffn_rows(x[:, None], block.ffn(block.ffn_norm(x))[:, None])[:, 0]
        logits = F.linear(model.final_norm(x), model.token_embedding.weight)
        tokens[:, position + 1] = choose(logits, position)
    return tokens
