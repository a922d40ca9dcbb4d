"""A model whose neurons rest on most tokens, without training: what trained ReLU models come to by themselves."""

from __future__ import annotations

import torch

from harness.models.gpt.network import GPT, GPTConfig


def sparse_gpt(config: GPTConfig, seed: int = 0, lean: float = 1.5) -> GPT:
    """Weights drawn widely, so that each moves the logits. A direction of the residual stream that only the positions
    write to, and always alike, is what every up row leans against, by `lean` of its own spread.

    The signs of the final norm keep a readout that is tied to the embedding from saying each token again.
    """
    generator = torch.Generator().manual_seed(seed)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            spread = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.1 * spread if parameter.dim() == 1 else 0.4 * spread)
        model.final_norm.weight *= torch.randn(config.width, generator=generator).sign()
        direction = torch.ones(config.width)
        direction[1::2] = -1  # of mean 0, or a norm would take it away
        table, positions = model.token_embedding.weight, model.position_embedding.weight
        written = [out.weight.T for block in model.blocks for out in (block.attention.proj, block.ffn.out)]  # type: ignore[union-attr]
        for rows in (table, positions, *written):
            rows -= (rows @ direction)[:, None] * direction / config.width
        positions += direction
        for block in model.blocks:
            block.ffn.fc.weight -= 0.4 * lean * direction / config.width**0.5  # type: ignore[union-attr, operator]
    return model
