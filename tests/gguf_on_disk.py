"""Tiny GGUF files for the tests, written tensor by tensor, and what numpy computes of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")

VOCABULARY, CONTEXT, WIDTH, HEADS, LAYERS = 29, 16, 64, 2, 2


def weights(
    width: int = WIDTH, layers: int = LAYERS, vocabulary: int = VOCABULARY, context: int = CONTEXT, seed: int = 3
) -> dict[str, np.ndarray]:
    """Of a GPT-2 without biases, by their names in GGUF, each [out, in]; far from uniform, so that a wrong place or a
    mask that is missing shows.
    """
    source = np.random.default_rng(seed)

    def normal(*sizes: int) -> np.ndarray:
        return source.normal(0, 1.2 / np.sqrt(sizes[-1]), sizes).astype(np.float32)

    made = {"token_embd.weight": normal(vocabulary, width) * 4, "position_embd.weight": normal(context, width) * 4}
    for layer in range(layers):
        made |= {
            f"blk.{layer}.attn_qkv.weight": normal(3 * width, width) * 2,
            f"blk.{layer}.attn_output.weight": normal(width, width),
            f"blk.{layer}.ffn_up.weight": normal(4 * width, width),
            f"blk.{layer}.ffn_down.weight": normal(width, 4 * width),
        }
    return made


def write_gpt2(
    path: Path,
    arrays: dict[str, np.ndarray] | None = None,
    *,
    heads: int = HEADS,
    metadata: dict[str, Any] | None = None,
    architecture: str = "gpt2",
    leave_out: tuple[str, ...] = (),
    kind: str = "F32",
    tokenizer: str = "none",
) -> Path:
    """A GPT-2 without the tokens of its `tokenizer`. `kind` is the type of its matrices; `metadata` are added."""
    arrays = arrays or weights()
    vocabulary, width = arrays["token_embd.weight"].shape
    layers = sum(name.endswith("ffn_up.weight") for name in arrays)
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, value in {
        "context_length": len(arrays["position_embd.weight"]),
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": 4 * width,
        "attention.head_count": heads,
        "vocab_size": vocabulary,
    }.items():
        if key not in leave_out:
            writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_epsilon", 1e-5)
    writer.add_tokenizer_model(tokenizer)
    for key, value in (metadata or {}).items():
        {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32}[type(value)](key, value)
    tensors = dict(arrays)
    for norm in ("output_norm", *(f"blk.{layer}.{name}_norm" for layer in range(layers) for name in ("attn", "ffn"))):
        tensors[f"{norm}.weight"] = np.ones(width, np.float32)
        tensors[f"{norm}.bias"] = np.zeros(width, np.float32)
    for name, array in arrays.items():
        if name.startswith("blk."):
            tensors[name.replace(".weight", ".bias")] = np.zeros(len(array), np.float32)
    for name, array in tensors.items():
        if name in leave_out:
            continue
        if kind != "F32" and name.startswith("blk.") and array.ndim == 2:
            as_kind = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(array, as_kind), raw_dtype=as_kind)
        else:
            writer.add_tensor(name, array)
    _close(writer)
    return path


def gpt2_logits(tokens: np.ndarray, arrays: dict[str, np.ndarray] | None = None, heads: int = HEADS) -> np.ndarray:
    """Tokens [n] to the logits [n, vocabulary] of every place, in float64."""
    tensors = {name: array.astype(np.float64) for name, array in (arrays or weights()).items()}
    count, width = len(tokens), tensors["token_embd.weight"].shape[1]
    x = tensors["token_embd.weight"][tokens] + tensors["position_embd.weight"][:count]
    mask = np.triu(np.full((count, count), -np.inf), 1)
    layer = 0
    while f"blk.{layer}.ffn_up.weight" in tensors:
        queries, keys, values = (
            part.reshape(count, heads, -1).transpose(1, 0, 2)
            for part in np.split(_normed(x) @ tensors[f"blk.{layer}.attn_qkv.weight"].T, 3, axis=1)
        )
        scores = queries @ keys.transpose(0, 2, 1) / np.sqrt(width / heads) + mask
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ values
        x = x + mixed.transpose(1, 0, 2).reshape(count, width) @ tensors[f"blk.{layer}.attn_output.weight"].T
        hidden = _normed(x) @ tensors[f"blk.{layer}.ffn_up.weight"].T
        active = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + active @ tensors[f"blk.{layer}.ffn_down.weight"].T
        layer += 1
    return np.asarray(_normed(x) @ tensors["token_embd.weight"].T)


def write_llama(path: Path, *, tokens: tuple[str, ...] = tuple("abcdefghijklmnopqrstuvwxyz. ")) -> Path:
    """A model of the architecture `llama` with grouped heads and a tokenizer of its own, as others publish them."""
    width, hidden, heads, kv_heads, source = 64, 96, 4, 2, np.random.default_rng(5)
    vocabulary = 3 + len(tokens)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *tokens])
    writer.add_token_scores([0.0] * vocabulary)
    writer.add_token_types([2, 3, 3, *[1] * len(tokens)])
    writer.add_chat_template("{{ messages }}" * 100)

    def matrix(out: int, into: int) -> np.ndarray:
        return source.normal(0, 1 / np.sqrt(into), (out, into)).astype(np.float32)

    ones, kv_width = np.ones(width, np.float32), width // heads * kv_heads
    for name, array in {
        "token_embd.weight": matrix(vocabulary, width),
        "output_norm.weight": ones,
        "output.weight": matrix(vocabulary, width),
        "blk.0.attn_norm.weight": ones,
        "blk.0.attn_q.weight": matrix(width, width),
        "blk.0.attn_k.weight": matrix(kv_width, width),
        "blk.0.attn_v.weight": matrix(kv_width, width),
        "blk.0.attn_output.weight": matrix(width, width),
        "blk.0.ffn_norm.weight": ones,
        "blk.0.ffn_gate.weight": matrix(hidden, width),
        "blk.0.ffn_up.weight": matrix(hidden, width),
        "blk.0.ffn_down.weight": matrix(width, hidden),
    }.items():
        writer.add_tensor(name, array)
    _close(writer)
    return path


def with_number(content: bytes, key: str, number: int) -> bytes:
    """The file with another number of 32 bits for a key that it has."""
    entry = struct.pack("<Q", len(key)) + key.encode()
    at = content.index(entry) + len(entry) + 4
    return content[:at] + struct.pack("<I", number) + content[at + 4 :]


def edited(key: str, number: int) -> Callable[[Path], None]:
    """What writes a GPT-2 with another number of 32 bits for a key."""

    def make(path: Path) -> None:
        write_gpt2(path)
        path.write_bytes(with_number(path.read_bytes(), key, number))

    return make


def _normed(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5))


def _close(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
