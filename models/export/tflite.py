"""From a trained GPT to a LiteRT file (`.tflite`), by the convention of LiteRT's own exporter of language models.

Two signatures over one set of weights: `decode` takes one token and `prefill_N` N of them, half a context and at most
128. Each takes `tokens` int32 [1, N], `input_pos` int32 [N], and for each block with attention its cache
`kv_cache_k_I` float32 [heads, channels, context] and `kv_cache_v_I` [heads, context, channels], which it gives back
under the same names, and `logits` float32 [1, 1, vocabulary]: in `prefill_N` those of the token whose place is in
`logits_at` int32 [1]. Behind the keys and values of the last block nothing else is computed, as in our `.pte`.

Queries, keys and values are one product. The weights of the norms are multiplied into the products behind them:
LiteRT's converter does so in some signatures and not in others, which then share no weights
(`findings/litert_torch_norm_weights.sh`). Precisions are those of `ai_edge_quantizer`, with activations rounded to int8
at run time:

* `fp32`.
* `int8`: products and tables int8, a step a channel.
* `int4-channel`, `int4-group32`: products int4, a step a channel or a group of 32 inputs; the tables and the readout
  stay int8.

Weights that are small integers already, those of a self-compressed model, are rounded again: a norm's weights are in
them, and the quantizer takes its steps from the largest weight.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.durations import OnStep, unheard
from harness.errors import ModelError, UsageError
from harness.models.export.deployment import full_rows, linear
from harness.models.export.embedding_tables import Table
from harness.models.export.library_noise import library_noise_hidden
from harness.models.gpt.architecture import BlockShape
from harness.models.gpt.network import GPT, MASKED, Block

TOLERANCE = {"fp32": 1e-4, "int8": 0.2, "int4-channel": 0.5, "int4-group32": 0.5}
"""Root mean square of the difference between a logit of the file and the model's, as a share of the logits' standard
deviation."""
AGREEMENT = {"fp32": 0.99, "int8": 0.9, "int4-channel": 0.75, "int4-group32": 0.75}
"""Least share of places where the file's most likely token is the model's."""
CHECKED_TOKENS = 512
LONGEST_PREFILL = 128
_BEHIND_PROMPT = 8  # tokens that the check gives behind a prompt
_READOUT = "readout"

Update = Callable[[Tensor, Tensor, int], Tensor]
"""A cache, the part that is new, and the dimension that counts tokens: the cache with that part in its place."""


class CachedBlock(nn.Module):
    """`Block` for one sequence; a sublayer of which nothing is left is absent. `last`: only the token that is asked for
    is computed behind its keys and values.
    """

    def __init__(self, block: Block, shape: BlockShape, width: int, last: bool) -> None:
        super().__init__()
        self.shape, self.last, self.width = shape, last, width
        self.scores, self.mixed = shape.heads * shape.qk_dim, shape.heads * shape.v_dim
        self.attention = self.ffn = False
        if block.attention is not None:
            self.attention = True
            weight = block.attention.qkv.weight.detach() * block.attention_norm.weight.detach()
            weight[: self.scores] *= block.attention.scale
            parts = [self.scores, self.scores + self.mixed] if last else [len(weight)]
            self.products = nn.ModuleList(linear(part, "fp32") for part in torch.split(weight, parts))
            rows = shape.attention_rows
            self.proj = linear(full_rows(block.attention.proj.weight.detach(), rows, width), "fp32")
        if block.ffn is not None:
            self.ffn, self.activation = True, block.ffn.activation
            self.fc = linear(block.ffn.fc.weight.detach() * block.ffn_norm.weight.detach(), "fp32")
            self.out = linear(full_rows(block.ffn.out.weight.detach(), shape.ffn_rows, width), "fp32")

    def forward(
        self, x: Tensor, mask: Tensor, wanted: Tensor | None, update: Update, keys: Tensor | None, values: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        picked = self.last and wanted is not None
        residual = x.index_select(1, cast(Tensor, wanted)) if picked else x
        if self.attention:
            assert keys is not None
            assert values is not None
            normed = F.layer_norm(x, (self.width,))
            if self.last:
                queries = self.products[0](normed.index_select(1, cast(Tensor, wanted)) if picked else normed)
                new_keys, new_values = self.products[1](normed).split([self.scores, self.mixed], dim=2)
            else:
                sizes = [self.scores, self.scores, self.mixed]
                queries, new_keys, new_values = self.products[0](normed).split(sizes, dim=2)
            keys = update(keys, self._heads(new_keys, self.shape.qk_dim).transpose(1, 2), 2)
            values = update(values, self._heads(new_values, self.shape.v_dim), 1)
            scores = torch.bmm(self._heads(queries, self.shape.qk_dim), keys) + mask
            mixed = torch.bmm(F.softmax(scores, dim=-1), values).permute(1, 0, 2).reshape(1, -1, self.mixed)
            residual = residual + self.proj(mixed)
        if self.ffn:
            residual = residual + self.out(self.activation(self.fc(F.layer_norm(residual, (self.width,)))))
        return residual, keys, values

    def _heads(self, x: Tensor, channels: int) -> Tensor:
        """[1, T, heads * channels] to [heads, T, channels]."""
        return x.view(-1, self.shape.heads, channels).transpose(0, 1)


class Cached(nn.Module):
    """The program of both signatures. `update` is LiteRT's operator that writes into a cache."""

    def __init__(self, gpt: GPT, update: Callable[[Tensor, Tensor, list[Tensor]], Tensor]) -> None:
        super().__init__()
        config, self.update = gpt.config, update
        self.width = config.width
        self.tokens, self.positions = Table(gpt.token_embedding.weight), Table(gpt.position_embedding.weight)
        pairs = list(zip(gpt.blocks, config.block_shapes, strict=True))
        self.blocks = nn.ModuleList(
            CachedBlock(cast(Block, block), shape, config.width, block is pairs[-1][0]) for block, shape in pairs
        )
        self.readout = linear(gpt.token_embedding.weight.detach() * gpt.final_norm.weight.detach(), "fp32")
        self.register_buffer("masks", torch.full((config.context, config.context), MASKED).triu(diagonal=1))

    def forward(
        self, tokens: Tensor, input_pos: Tensor, logits_at: Tensor | None = None, **cache: Tensor
    ) -> dict[str, Tensor]:
        zero, begin = torch.zeros((), dtype=torch.int32), input_pos[0]

        def update(kept: Tensor, new: Tensor, dimension: int) -> Tensor:
            return self.update(kept, new, [begin if place == dimension else zero for place in range(3)])

        x = self.tokens.rows(tokens) + self.positions.rows(input_pos)
        mask, made = F.embedding(input_pos, self.get_buffer("masks")), dict[str, Tensor]()
        mask_of_wanted = mask if logits_at is None else mask.index_select(0, logits_at)
        for number, block in enumerate(self.blocks):
            names = [f"kv_cache_{kind}_{number}" for kind in "kv"]
            keys, values = (cache.get(name) for name in names)
            x, *updated = block(x, mask_of_wanted if block.last else mask, logits_at, update, keys, values)
            made |= {name: part for name, part in zip(names, updated, strict=True) if part is not None}
        if logits_at is not None and x.size(1) != 1:  # the last block has no attention left
            x = x.index_select(1, logits_at)
        return {**made, "logits": self.readout(F.layer_norm(x, (self.width,)))}


def export_tflite(gpt: GPT, path: Path, precision: str, tokens: Tensor, on_step: OnStep = unheard) -> dict[str, float]:
    """Write `gpt` to `path`, weights as `precision` says (see above). The file is checked on the text `tokens` int64
    [n], of which the first 512 are taken. What the check measured and allows (`check_tflite`).

    Raises UsageError for another precision, ModelError if the file computes something else than `gpt`.
    """
    if precision not in TOLERANCE:
        raise UsageError(
            f"There is no precision {precision!r} of a .tflite.", f"Choose one of: {', '.join(TOLERANCE)}."
        )
    with library_noise_hidden(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        on_step("exporting")
        _convert(gpt.eval(), path)
        if precision != "fp32":
            on_step("rounding the weights")
            _round(path, precision)
        on_step("checking the file")
        return check_tflite(gpt, path, precision, tokens)


def check_tflite(gpt: GPT, path: Path, precision: str, tokens: Tensor) -> dict[str, float]:
    """Run the file beside `gpt` on windows of `tokens`, the beginning of each at once, and each token by token. The
    difference of the logits in spreads, the share of places where the most likely token is the same, and what of both
    is allowed.

    Raises ModelError where the difference is more than `TOLERANCE`, or the share less than `AGREEMENT`.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    context, longest = gpt.config.context, _prefill(gpt)
    prefill, decode = (interpreter.get_signature_runner(name) for name in (f"prefill_{longest}", "decode"))
    text = tokens[: max(CHECKED_TOKENS, context) // context * context].view(-1, context)
    computed, expected = [], []
    for window, wanted in zip(text.to(torch.int32).numpy(), gpt(text), strict=True):
        for prompt in (longest, 1):
            cache = {name: part.numpy() for name, part in _empty(gpt).items()}
            # Behind a prompt some tokens, and the whole window one by one.
            end = context if prompt == 1 else min(context, prompt + _BEHIND_PROMPT)
            for begin, count in [(0, prompt), *((place, 1) for place in range(prompt, end))]:
                places = torch.arange(begin, begin + count, dtype=torch.int32).numpy()
                given = {"tokens": window[None, begin : begin + count], "input_pos": places} | cache
                cache = prefill(**given, logits_at=places[-1:]) if count > 1 else decode(**given)
                computed.append(torch.from_numpy(cache.pop("logits"))[0])
            expected.append(wanted[prompt - 1 : end])
    logits, logits_expected = torch.cat(computed), torch.cat(expected)
    difference = ((logits - logits_expected).square().mean().sqrt() / logits_expected.std()).item()
    agreement = (logits.argmax(1) == logits_expected.argmax(1)).double().mean().item()
    if not (difference <= TOLERANCE[precision] and agreement >= AGREEMENT[precision]):
        raise ModelError(
            f"{path.name} computes something else than its model: logits differ by {difference:.2g} spreads, and "
            f"{agreement:.1%} of its most likely tokens are the model's.",
            "Report this with the versions of torch, litert-torch and ai-edge-litert.",
        )
    return {
        "logits_difference_spreads": difference,
        "logits_difference_allowed": TOLERANCE[precision],
        "same_tokens": agreement,
        "same_tokens_least": AGREEMENT[precision],
        "checked_tokens": len(logits),
    }


def _prefill(gpt: GPT) -> int:
    """How many tokens the signature for prompts takes."""
    return max(2, min(LONGEST_PREFILL, gpt.config.context // 2))


def _empty(gpt: GPT) -> dict[str, Tensor]:
    """The cache of a new sequence."""
    cache = {}
    for number, shape in enumerate(gpt.config.block_shapes):
        if shape.heads:
            cache[f"kv_cache_k_{number}"] = torch.zeros(shape.heads, shape.qk_dim, gpt.config.context)
            cache[f"kv_cache_v_{number}"] = torch.zeros(shape.heads, gpt.config.context, shape.v_dim)
    return cache


def _convert(gpt: GPT, path: Path) -> None:
    """Write the file in float32."""
    import litert_torch
    from litert_torch.generative.custom_ops.dynamic_update_slice import dynamic_update_slice

    model, cache, longest = Cached(gpt, dynamic_update_slice).eval(), _empty(gpt), _prefill(gpt)
    one = {"tokens": torch.zeros(1, 1, dtype=torch.int32), "input_pos": torch.zeros(1, dtype=torch.int32)}
    many = {
        "tokens": torch.zeros(1, longest, dtype=torch.int32),
        "input_pos": torch.arange(longest, dtype=torch.int32),
        "logits_at": torch.zeros(1, dtype=torch.int32),
    }
    converter = litert_torch.signature("decode", model, sample_kwargs=one | cache)
    converter.signature(f"prefill_{longest}", model, sample_kwargs=many | cache).convert().export(str(path))


def _round(path: Path, precision: str) -> None:
    """Round the weights of a file in float32."""
    from ai_edge_quantizer import qtyping, quantizer, recipe_manager

    recipe = recipe_manager.RecipeManager()
    recipe.add_dynamic_config(regex=".*", operation_name=qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=8)
    if precision != "int8":
        granularity = qtyping.QuantGranularity
        steps = granularity.CHANNELWISE if precision == "int4-channel" else granularity.BLOCKWISE_32
        recipe.add_dynamic_config(
            regex=f"^(?!.*{_READOUT}).*",
            operation_name=qtyping.TFLOperationName.FULLY_CONNECTED,
            num_bits=4,
            granularity=steps,
        )
    with tempfile.TemporaryDirectory() as folder:
        rounded = Path(folder) / path.name
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            rounding = quantizer.Quantizer(str(path), recipe.get_quantization_recipe())
            rounding.quantize().export_model(str(rounded))
        path.write_bytes(rounded.read_bytes())
