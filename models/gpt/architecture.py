"""The dimensions of a GPT, whole or cut. No tensors here: who only looks a model up need not import torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockShape:
    """What one block has: its heads, channels a head, feed-forward neurons, and the residual channels it writes.

    `attention_rows` and `ffn_rows` list the residual channels that are written; None means all of them, in order.
    A block with 0 heads (or 0 neurons) has no attention (or no feed-forward layer) at all.
    """

    heads: int
    qk_dim: int
    v_dim: int
    ffn: int
    attention_rows: tuple[int, ...] | None = None
    ffn_rows: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """A GPT's dimensions. `heads` and `width` are those of the uncut model; `shapes`, one a block, say what is left.

    `context` is the greatest number of tokens a sequence may have, `dropout` a probability used in training only.
    """

    vocabulary_size: int
    context: int
    layers: int
    heads: int
    width: int
    activation: str = "gelu"
    dropout: float = 0.0
    shapes: tuple[BlockShape, ...] | None = None

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.activation not in ("gelu", "relu"):
            raise ValueError(f"activation is {self.activation!r}, not 'gelu' or 'relu'")
        if self.shapes is not None and len(self.shapes) != self.layers:
            raise ValueError(f"{len(self.shapes)} shapes for {self.layers} layers")

    @property
    def head_dim(self) -> int:
        """Channels a head before anything was cut; attention scores keep its 1/sqrt() afterwards."""
        return self.width // self.heads

    @property
    def block_shapes(self) -> tuple[BlockShape, ...]:
        """The shape of every block, first to last."""
        uncut = BlockShape(self.heads, self.head_dim, self.head_dim, 4 * self.width)
        return self.shapes or (uncut,) * self.layers
