"""The same GPT, written down for an inference runtime: what it computes is equal, what it costs is not.

On a small model the operators that the delegate does not take, and what they copy, cost as much as the weights. So:

* Of the caches only the new tokens' places are written. Keys lie as [heads, channels, context] and values as [heads,
  context, channels], the shapes in which the delegate multiplies them: turning a whole cache around at each token costs
  more than the product. (Reading no more of it than there are tokens would make its length dynamic, which costs more.)
* A sequence's first call attends to its own tokens: nothing else is in the cache. Of a prompt of half the context that
  is half of attention's work, which in a shrunk model costs more than its weights.
* Of a call only the last token is read out. So behind the keys and values of the last block nothing is computed for the
  others: a sixth of a prompt's products.
* Queries, keys and values are three linear layers: splitting a fused one slices a dynamic length, which XNNPACK
  refuses. In integers their common input is rounded once. Attention is matmul, mask and softmax (PyTorch's fused
  operator guards against masked-out rows with a `where` over all scores), heads are a batch dimension, the scale is
  folded into the queries' weights, and shapes are given by -1 and constants (a symbolic view is refused too).
* The mask is computed from positions, three operators on scores' own shape; stored it would be as large as a layer.
* Layer norms stay outside the delegate: a call of it costs some microseconds, the norm taken to pieces costs more.
* Heads whose keys and values come from the same weights (grouped-query and multi-query attention) have one projection
  and one cache of them. Their queries stand one below the other, as further rows of the same product: nothing is
  repeated but the mask's rows, which is a column of positions. Such a block attends to its cache in the first call too.

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

from harness.models.compress.adapters.experts import ExpertsLinear
from harness.models.export.embedding_tables import QuantisedTable, Table
from harness.models.export.quantised_linear import QuantisedLinear, integers, rounded
from harness.models.gpt.architecture import BlockShape
from harness.models.gpt.network import GPT, MASKED, Attention, Block, FeedForward

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries [K, G T, qk_dim], keys [K, qk_dim, T] and values [K, T, v_dim] of a block's new tokens to their mixed values
[K, G T, v_dim]; earlier tokens, and where new ones are kept, are the caller's. Each of K heads of keys and values
belongs to G heads of queries, which stand one below the other."""


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Queries [K, R, qk_dim] over keys [K, qk_dim, N] and values [K, N, v_dim], mask [R, N] or [1, N] added:
    [K, R, v_dim].
    """
    return torch.bmm(F.softmax(torch.bmm(queries, keys) + mask, dim=-1), values)


def linear(weight: Tensor, precision: str) -> nn.Module:
    """A layer that multiplies by `weight` [out, in], stored as `precision` says."""
    if precision != "fp32":
        return QuantisedLinear(integers(weight, precision))
    layer = nn.Linear(weight.size(1), weight.size(0), bias=False)
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    return layer


def factors(layer: nn.Module) -> list[Tensor]:
    """The weights of a linear layer, or of the several that a low-rank method has made of it, first to last."""
    parts = list(layer) if isinstance(layer, nn.Sequential) else [layer]
    return [cast(Tensor, part.weight).detach() for part in parts]


def chain(weights: list[Tensor], precision: str) -> nn.Module:
    """Layers that multiply by `weights` [out, in] one after another."""
    layers = [linear(weight, precision) for weight in weights]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def deployed(layer: nn.Module, precision: str, rows: Callable[[Tensor], Tensor] = torch.detach) -> nn.Module:
    """A layer of the network as a program has it, `rows` done to the matrix that writes its output."""
    if isinstance(layer, ExpertsLinear):
        return layer.mapped(rows)
    *inner, last = factors(layer)
    return chain([*inner, rows(last)], precision)


def products(x: Tensor, *layers: nn.Module) -> list[Tensor]:
    """Each layer's output for the same x [..., in]; where they are quantised, x is rounded once for all of them."""
    if all(isinstance(layer, QuantisedLinear) for layer in layers):
        x = rounded(x)
        return [cast(QuantisedLinear, layer).product(x) for layer in layers]
    return [layer(x) for layer in layers]


def full_rows(weight: Tensor, rows: tuple[int, ...] | None, width: int) -> Tensor:
    """`weight` [rows, in] with its rows where they belong among `width`, and zeros elsewhere."""
    return weight if rows is None else weight.new_zeros(width, weight.size(1)).index_copy(0, torch.tensor(rows), weight)


def output_rows(layer: nn.Module) -> Tensor:
    """The weights [out, n] of a layer of the network that are each one output's own, side by side."""
    if isinstance(layer, ExpertsLinear):
        return torch.cat([layer.base.weight, layer.experts.writing.weight], dim=1).detach()
    return factors(layer)[-1]


def distinct_heads(qkv: nn.Module, shape: BlockShape) -> int:
    """How many heads of keys and values are left where groups of neighbours that have the same weights, to the bit, are
    one: a divisor of the heads, which all of them are where no group does.
    """
    scores = shape.heads * shape.qk_dim
    _, *parts = torch.split(output_rows(qkv), [scores, scores, shape.heads * shape.v_dim])
    for count in (count for count in range(1, shape.heads) if shape.heads % count == 0):
        groups = [part.reshape(count, shape.heads // count, -1) for part in parts]
        if all(torch.equal(group, group[:, :1].expand_as(group)) for group in groups):
            return count
    return shape.heads


def first_of_groups(weight: Tensor, heads: int, kept: int) -> Tensor:
    """The rows of the first head of each of `kept` groups: `weight` [heads * size, n] to [kept * size, n]."""
    return weight.reshape(kept, heads // kept, -1, weight.size(1))[:, 0].flatten(0, 1)


class DeployedAttention(nn.Module):
    """`Attention` for one sequence: [1, T, W] to [1, T, W], or to [1, 1, W] for its last token alone.

    Its keys and values have `kv_heads` heads, each shared by `group` heads of queries.
    """

    def __init__(self, attention: Attention, width: int, precision: str) -> None:
        super().__init__()
        self.shape = shape = attention.shape
        scores, mixed = shape.heads * shape.qk_dim, shape.heads * shape.v_dim
        sizes = [scores, scores, mixed]
        qkv: nn.Module = attention.qkv
        self.reading = nn.Sequential()
        if isinstance(qkv, nn.Sequential):
            *reading, qkv = qkv
            self.reading = nn.Sequential(*(linear(cast(Tensor, part.weight), precision) for part in reading))
        self.queries = deployed(qkv, precision, lambda w: torch.split(w, sizes)[0] * attention.scale)
        self.kv_heads = kept = distinct_heads(qkv, shape)
        self.group = shape.heads // kept
        self.keys = deployed(qkv, precision, lambda w: first_of_groups(torch.split(w, sizes)[1], shape.heads, kept))
        self.values = deployed(qkv, precision, lambda w: first_of_groups(torch.split(w, sizes)[2], shape.heads, kept))
        self.proj = deployed(attention.proj, precision, lambda w: full_rows(w, shape.attention_rows, width))

    def forward(self, x: Tensor, attend: Attend, of_last: bool = False) -> Tensor:
        heads, qk_dim, v_dim = self.shape.heads, self.shape.qk_dim, self.shape.v_dim
        x = self.reading(x)
        if of_last:
            (queries,), (keys, values) = products(x[:, -1:], self.queries), products(x, self.keys, self.values)
        else:
            queries, keys, values = products(x, self.queries, self.keys, self.values)
        queries = queries.view(-1, heads, qk_dim).permute(1, 0, 2)
        if self.group > 1:
            queries = queries.contiguous().view(self.kv_heads, -1, qk_dim)
        mixed = attend(
            queries,
            keys.view(-1, self.kv_heads, qk_dim).permute(1, 2, 0),
            values.view(-1, self.kv_heads, v_dim).permute(1, 0, 2),
        )
        if self.group > 1:  # four dimensions: of three, torch.export asks more than it can prove
            mixed = mixed.view(self.kv_heads, self.group, -1, v_dim).permute(2, 0, 1, 3)
        else:
            mixed = mixed.permute(1, 0, 2)
        output: Tensor = self.proj(mixed.contiguous().view(1, -1, heads * v_dim))
        return output

    def caches(self, context: int) -> tuple[Tensor, Tensor]:
        """Empty ones, of keys [K, qk_dim, context] and of values [K, context, v_dim]."""
        keys = torch.zeros(self.kv_heads, self.shape.qk_dim, context)
        return keys, torch.zeros(self.kv_heads, context, self.shape.v_dim)


class DeployedFeedForward(nn.Module):
    """`FeedForward`: [1, T, W] to [1, T, W]."""

    def __init__(self, ffn: FeedForward, rows: tuple[int, ...] | None, width: int, precision: str) -> None:
        super().__init__()
        self.fc, self.activation = deployed(ffn.fc, precision), ffn.activation
        self.out = deployed(ffn.out, precision, lambda w: full_rows(w, rows, width))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(self.activation(self.fc(x)))
        return output


class DeployedBlock(nn.Module):
    """`Block`: [1, T, W] to [1, T, W], or to [1, 1, W] for its last token alone; a sublayer of which nothing is left is
    absent.
    """

    def __init__(self, block: Block, shape: BlockShape, width: int, precision: str) -> None:
        super().__init__()
        self.attention: DeployedAttention | None = None
        self.ffn: DeployedFeedForward | None = None
        if block.attention is not None:
            self.attention_norm = block.attention_norm
            self.attention = DeployedAttention(block.attention, width, precision)
        if block.ffn is not None:
            self.ffn_norm = block.ffn_norm
            self.ffn = DeployedFeedForward(block.ffn, shape.ffn_rows, width, precision)

    def forward(self, x: Tensor, attend: Attend, of_last: bool = False) -> Tensor:
        residual = x[:, -1:] if of_last else x
        if self.attention is not None:
            residual = residual + self.attention(self.attention_norm(x), attend, of_last)
        x = residual
        if self.ffn is not None:
            x = x + self.ffn(self.ffn_norm(x))
        return x


class Body(nn.Module):
    """What both methods of a program share: embeddings, blocks, and the readout, with weights as `precision` says."""

    places: Tensor

    def __init__(self, gpt: GPT, precision: str = "fp32") -> None:
        super().__init__()
        self.config = gpt.config
        table = Table if precision == "fp32" else QuantisedTable
        self.tokens, self.positions = table(gpt.token_embedding.weight), table(gpt.position_embedding.weight)
        pairs = zip(gpt.blocks, gpt.config.block_shapes, strict=True)
        self.blocks = nn.ModuleList(
            DeployedBlock(cast(Block, block), shape, gpt.config.width, precision) for block, shape in pairs
        )
        attentions = [cast(DeployedBlock, block).attention for block in self.blocks]
        self.groups = [1 if attention is None else attention.group for attention in attentions]
        self.final_norm = gpt.final_norm
        # The readout decides every token and is small: it is never stored in fewer than 8 bits, those of its table.
        self.head = linear(gpt.token_embedding.weight.detach(), "fp32" if precision == "fp32" else "int8")
        self.register_buffer("places", torch.arange(gpt.config.context, dtype=torch.float32)[:, None])

    def embedding(self, tokens: Tensor, start: int) -> Tensor:
        """tokens int64 [1, T], the first at position `start`, to float32 [1, T, W]."""
        return self.tokens.rows(tokens) + self.positions.stretch(start, tokens.size(1))

    def mask(self, start: int, length: int, group: int = 1) -> Tensor:
        """What is added to the scores [G T, context] of tokens from position `start`, of `group` heads one below the
        other: 0 up to a token's own position.
        """
        distance = below(self.places.narrow(0, start, length), group) - self.places.view(1, -1)
        return torch.clamp(distance * -MASKED, MASKED, 0.0)

    def readout(self, x: Tensor) -> Tensor:
        """[1, T, W] to logits [1, T, vocabulary]."""
        logits: Tensor = self.head(self.final_norm(x))
        return logits


def below(rows: Tensor, times: int) -> Tensor:
    """`rows` [T, n] so many times one below the other: [times T, n]."""
    return rows if times == 1 else rows.repeat(times, 1)


def _to_new(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, _k: Tensor, _v: Tensor, _mask: Tensor) -> Tensor:
    return attention(q, k, v, mask)


def _to_cached(q: Tensor, _k: Tensor, _v: Tensor, _mask: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return attention(q, k, v, mask)


class Generator(nn.Module):
    """ExecuTorch's LLM convention: new tokens and their position in, logits of the last token out.

    The caches are mutable buffers, so state stays inside the program, for one sequence. A call from position 0 starts
    a new one: what lies beyond the current position is masked.
    """

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body, context = body, body.config.context
        for number, block in enumerate(body.blocks):
            layer = cast(DeployedBlock, block).attention
            if layer is not None:
                keys, values = layer.caches(context)
                self.register_buffer(f"keys_{number}", keys, persistent=False)
                self.register_buffer(f"values_{number}", values, persistent=False)
        self.register_buffer("order", torch.arange(context), persistent=False)

    def forward(self, tokens: Tensor, input_pos: Tensor) -> Tensor:
        """tokens int64 [1, T], input_pos int64 [1] (the first one's position) to logits float32 [1, vocabulary]."""
        body, length = self.body, tokens.size(1)
        position = cast(int, input_pos[0].item())
        # torch.export must be told that a position read from data is in range.
        torch._check(position >= 0)  # type: ignore[no-untyped-call]
        torch._check(position + length <= body.config.context)  # type: ignore[no-untyped-call]
        new = self.get_buffer("order").narrow(0, position, length)

        masks = {
            group: (body.mask(0, length, group)[:, :length], body.mask(position, length, group))
            for group in sorted(set(body.groups))
        }
        own, whole = masks[body.groups[0]]  # the last token's row is the last of any of them
        # Copies: torch.cond refuses a view that begins at a place read from data.
        masks_of_last = own[-1:].clone(), whole[-1:].clone()
        first, final = input_pos == 0, len(body.blocks) - 1

        def attend(number: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            all_keys, all_values = self.get_buffer(f"keys_{number}"), self.get_buffer(f"values_{number}")
            # Assigned by index, the values of a single head would lose their first dimension, and the runtime aborts.
            all_keys.index_copy_(2, new, keys)
            all_values.index_copy_(1, new, values)
            own_mask, mask = masks_of_last if number == final else masks[body.groups[number]]
            if body.groups[number] > 1:
                # In torch.cond (of torch 2.13) G T rows could not be exported: such a block always reads its cache.
                return attention(queries, all_keys, all_values, mask)
            operands = (queries, keys, values, own_mask, all_keys, all_values, mask)
            return cast(Tensor, torch.cond(first, _to_new, _to_cached, operands))

        x = body.embedding(tokens, position)
        for number, block in enumerate(body.blocks):
            x = block(x, partial(attend, number), number == final)
        return body.readout(x)[:, 0]


class AllLogits(nn.Module):
    """Every position's logits, for quality over a text: tokens int64 [1, context] to [1, context, vocabulary]."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, tokens: Tensor) -> Tensor:
        body = self.body
        x = body.embedding(tokens, 0)
        masks = {group: body.mask(0, body.config.context, group) for group in sorted(set(body.groups))}
        for block, group in zip(body.blocks, body.groups, strict=True):
            x = block(x, partial(attention, mask=masks[group]))
        return self.body.readout(x)
