"""From a trained GPT to a GGUF file, as users of llama.cpp would make one: its architecture `gpt2`, without a
tokenizer, since token ids are all that a measurement needs.

Biases are zeros, since the architecture asks for them; the readout is the table of tokens, by leaving `output.weight`
out. llama.cpp computes GELU by its tanh form, from a table of float16. Precisions, each of the matrices alone (norms
and positions stay float32, as llama.cpp's own quantiser leaves them):

* `fp32`: F32.
* `int8`: Q8_0, blocks of 32 inputs with a float16 step.
* `int4-group32`: Q4_0, such blocks too; the table of tokens is Q8_0, as that quantiser makes it at these widths.

Weights that are small integers already are not rounded again: where they fit, the blocks of a row hold exactly these,
with the step of the row as float16.

The architecture knows one size of heads and feed-forward layers for all layers, so that a cut model has no such file.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from harness.durations import OnStep, unheard
from harness.errors import ModelError, UsageError
from harness.models.export.deployment import full_rows
from harness.models.export.quantised_linear import exact_levels
from harness.models.gpt.network import GPT, Block

TOLERANCE = {"fp32": 2e-3, "int8": 0.1, "int4-group32": 0.5}
"""Root mean square of the difference between a logit of the file and the model's, as a share of the logits' standard
deviation. Of fp32 it is what the other form of GELU does."""
AGREEMENT = {"fp32": 0.99, "int8": 0.95, "int4-group32": 0.75}
"""Least share of places where the file's most likely token is the model's."""
CHECKED_TOKENS = 512
_TYPES = {"fp32": ("F32", "F32"), "int8": ("Q8_0", "Q8_0"), "int4-group32": ("Q4_0", "Q8_0")}
"""Types of the matrices and of the table of tokens."""
_FILE_TYPES = {"fp32": 0, "int8": 7, "int4-group32": 2}
_BLOCK = 32
# Tokens of one call behind the prompt, before they come one at a time.
_TOGETHER = 5


def export_gguf(gpt: GPT, path: Path, precision: str, tokens: Tensor, on_step: OnStep = unheard) -> dict[str, float]:
    """Write `gpt` to `path`, weights as `precision` says (see above). The file is checked on the text `tokens` int64
    [n], of which the first 512 are taken. What the check measured and allows (`check_gguf`).

    Raises UsageError for another precision, ModelError for shapes that the architecture does not have, and if the file
    computes something else than `gpt`.
    """
    if precision not in TOLERANCE:
        raise UsageError(f"There is no precision {precision!r} of a .gguf.", f"Choose one of: {', '.join(TOLERANCE)}.")
    _check_shapes(gpt, precision)
    with torch.no_grad():
        on_step("exporting")
        _write(gpt.eval(), path, precision)
        on_step("checking the file")
        return check_gguf(gpt, path, precision, tokens)


def check_gguf(gpt: GPT, path: Path, precision: str, tokens: Tensor) -> dict[str, float]:
    """Run the file beside `gpt` on windows of `tokens`: a prompt, some tokens at once, and the rest token by token. The
    difference of the logits in spreads, the share of places where the most likely token is the same, and what of both
    is allowed. The cache is float32 here, so that what is off comes from the file.

    Raises ModelError where the difference is more than `TOLERANCE`, or the share less than `AGREEMENT`.
    """
    context = gpt.config.context
    text = tokens[: max(CHECKED_TOKENS, context) // context * context].view(-1, context)
    expected = gpt(text).flatten(0, 1)
    with _LlamaCpp(path, context, expected.size(1)) as model:
        logits = torch.cat(
            [model.logits(window[begin:end], begin) for window in text for begin, end in _pieces(context)]
        )
    difference = ((logits - expected).square().mean().sqrt() / expected.std()).item()
    agreement = (logits.argmax(1) == expected.argmax(1)).double().mean().item()
    if not (difference <= TOLERANCE[precision] and agreement >= AGREEMENT[precision]):
        raise ModelError(
            f"{path.name} computes something else than its model: logits differ by {difference:.2g} spreads, and "
            f"{agreement:.1%} of its most likely tokens are the model's.",
            "Report this with the versions of torch, gguf and llama-cpp-python.",
        )
    return {
        "logits_difference_spreads": difference,
        "logits_difference_allowed": TOLERANCE[precision],
        "same_tokens": agreement,
        "same_tokens_least": AGREEMENT[precision],
        "checked_tokens": len(logits),
    }


def _check_shapes(gpt: GPT, precision: str) -> None:
    """Raises ModelError for a model that llama.cpp's architecture cannot hold, saying which rule it breaks."""
    config, others = gpt.config, "Build it as .pte or .onnx."
    if config.activation != "gelu":
        raise ModelError(f"llama.cpp's architecture gpt2 computes GELU, and this model {config.activation}.", others)
    neurons = config.block_shapes[0].ffn
    for number, shape in enumerate(config.block_shapes):
        if (shape.heads, shape.qk_dim, shape.v_dim) != (config.heads, config.head_dim, config.head_dim):
            raise ModelError(
                "In llama.cpp's architecture gpt2 every layer has the same heads, together as wide as the model "
                f"({config.heads} of {config.head_dim} channels); layer {number} has {shape.heads}, of {shape.qk_dim} "
                f"channels for queries and {shape.v_dim} for values.",
                others,
            )
        if not shape.ffn or shape.ffn != neurons:
            raise ModelError(
                "In llama.cpp's architecture gpt2 every layer has a feed-forward layer of the same size; layer 0 has "
                f"{neurons} neurons, layer {number} {shape.ffn}.",
                others,
            )
    if precision != "fp32" and (config.width % _BLOCK or neurons % _BLOCK):
        raise ModelError(
            f"GGUF's Q8_0 and Q4_0 have blocks of {_BLOCK} inputs; the model is {config.width} wide and has {neurons} "
            "neurons a layer.",
            "Build it in fp32.",
        )


def _write(gpt: GPT, path: Path, precision: str) -> None:
    import gguf

    config, (matrices, table) = gpt.config, _TYPES[precision]
    writer = gguf.GGUFWriter(str(path), "gpt2")
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.block_shapes[0].ffn)
    writer.add_head_count(config.heads)
    writer.add_layer_norm_eps(gpt.final_norm.eps)
    writer.add_vocab_size(config.vocabulary_size)
    writer.add_tokenizer_model("none")
    writer.add_file_type(_FILE_TYPES[precision])
    if precision != "fp32":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)

    def add(name: str, tensor: Tensor, kind: str = "F32") -> None:
        weight = tensor.detach().float().contiguous()
        array = weight.numpy() if kind == "F32" else _blocks(weight, kind)
        writer.add_tensor(name, array, raw_dtype=gguf.GGMLQuantizationType[kind])

    def add_with_bias(name: str, weight: Tensor, kind: str = "F32") -> None:
        add(f"{name}.weight", weight, kind)
        add(f"{name}.bias", torch.zeros(len(weight)))

    add("token_embd.weight", gpt.token_embedding.weight, table)
    add("position_embd.weight", gpt.position_embedding.weight)
    for number, (block, shape) in enumerate(zip(cast(list[Block], gpt.blocks), config.block_shapes, strict=True)):
        attention, ffn = block.attention, block.ffn
        assert attention is not None, "its shapes have been checked"
        assert ffn is not None, "its shapes have been checked"
        for name, weight, rows in (
            ("attn_qkv", attention.qkv.weight, None),
            ("attn_output", attention.proj.weight, shape.attention_rows),
            ("ffn_up", ffn.fc.weight, None),
            ("ffn_down", ffn.out.weight, shape.ffn_rows),
        ):
            add_with_bias(f"blk.{number}.{name}", full_rows(weight.detach(), rows, config.width), matrices)
        add_with_bias(f"blk.{number}.attn_norm", block.attention_norm.weight)
        add_with_bias(f"blk.{number}.ffn_norm", block.ffn_norm.weight)
    add_with_bias("output_norm", gpt.final_norm.weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _blocks(weight: Tensor, kind: str) -> np.ndarray:
    """The bytes [out, bytes of a row] of `weight` [out, in] as Q8_0 or Q4_0: of each 32 inputs a float16 step, and
    levels of 8 bits, or of 4 from 0 on, the first 16 in the low halves of 16 bytes.
    """
    import gguf

    exact, bits = exact_levels(weight), {"Q8_0": 8, "Q4_0": 4}[kind]
    step = torch.empty(0) if exact is None else exact.step.half()
    if exact is None or exact.bits > bits or not torch.allclose(step.float(), exact.step, rtol=1e-3, atol=0.0):
        rounded: np.ndarray = gguf.quants.quantize(weight.numpy(), gguf.GGMLQuantizationType[kind])
        return rounded
    levels = exact.levels.view(len(weight), -1, _BLOCK)
    if bits == 4:
        levels = (levels + 8).to(torch.uint8)
        levels = levels[..., : _BLOCK // 2] | levels[..., _BLOCK // 2 :] << 4
    steps = step.view(-1, 1, 1).expand(-1, levels.size(1), 1).contiguous().view(torch.uint8)
    return torch.cat([steps, levels.contiguous().view(torch.uint8)], dim=2).flatten(1).numpy()


def _pieces(context: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each call: half a window, then several tokens, then one at a time."""
    first = context // 2
    together = min(first + _TOGETHER, context)
    yield 0, first
    yield first, together
    yield from ((begin, begin + 1) for begin in range(together, context))


class _LlamaCpp:
    """A file in llama.cpp, on one thread, for one sequence. Raises ModelError where llama.cpp refuses it."""

    def __init__(self, path: Path, context: int, vocabulary: int) -> None:
        from llama_cpp import llama_cpp as library

        self._library, self._vocabulary = library, vocabulary
        self._log = library.llama_log_callback(lambda level, text, data: None)
        library.llama_log_set(self._log, None)
        library.llama_backend_init()
        parameters = library.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._model = library.llama_model_load_from_file(os.fsencode(path), parameters)
        options = library.llama_context_default_params()
        options.n_ctx = options.n_batch = context
        options.n_outputs_max_per_seq = 0  # of all tokens
        options.n_threads = options.n_threads_batch = 1
        options.type_k = options.type_v = library.GGML_TYPE_F32
        options.flash_attn_type = 0
        self._context = library.llama_init_from_model(self._model, options) if self._model else None
        if not self._context:
            raise ModelError(f"llama.cpp refuses {path.name}.", "Report this with the version of llama-cpp-python.")

    def __enter__(self) -> _LlamaCpp:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)

    def logits(self, tokens: Tensor, begin: int) -> Tensor:
        """Of each of `tokens` [n], the first of which stands at `begin`; 0 begins a new sequence."""
        library, count = self._library, len(tokens)
        if begin == 0:
            library.llama_memory_clear(library.llama_get_memory(self._context), False)
        batch = library.llama_batch(
            n_tokens=count,
            token=(ctypes.c_int32 * count)(*tokens.tolist()),
            pos=(ctypes.c_int32 * count)(*range(begin, begin + count)),
            logits=(ctypes.c_int8 * count)(*[1] * count),
        )
        if library.llama_decode(self._context, batch):
            raise ModelError("llama.cpp cannot compute the model.", "Report this with the version of llama-cpp-python.")
        rows = ctypes.POINTER(ctypes.c_float * (count * self._vocabulary))
        values = ctypes.cast(library.llama_get_logits(self._context), rows).contents
        return torch.frombuffer(values, dtype=torch.float32).view(count, -1).clone()
