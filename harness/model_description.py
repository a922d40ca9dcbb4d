"""What a worker says of a model file (`harness.protocol.Describe`), read: which method is meant, what its inputs are,
and whether it is a language model. A method of a `.pte` says who runs its `operators` (`harness.worker.pte_operators`).

An input or output of a method is a dictionary: `kind` is `tensor`, `int`, `float`, `bool`, `str`, `none` or `list`; of
a tensor `dtype` (torch's name) and `sizes`, where a dynamic dimension has its upper bound (`.pte`) or the size of its
example (`.pt2`); `dynamic` names what each dimension varies with (`.pt2`) or says whether sizes may vary at all
(`.pte`), and is absent where that is not known; `limit` is the least number that is too large for an integer input that
is used as an index, and `longest` the size of the longest that some part of it is an index of; `value` is what a number
was when the program was exported, and `fixed` that the program takes no other.
"""

from __future__ import annotations

from typing import Any, Literal

from harness.errors import ModelError, UsageError
from harness.protocol import Describe

Input = dict[str, Any]
Positions = Literal["first", "scalar", "each", "none"]
FORWARD = "forward"
_INTEGERS = ("int64", "int32")


def is_tensor(described: Input) -> bool:
    """Whether an input or output is a tensor, and not a number or nothing."""
    return bool(described["dtype"] != "none")


def may_vary(described: Input) -> bool:
    """Whether the file says that a size of an input may be another than declared."""
    dynamic = described.get("dynamic")
    return any(symbol is not None for symbol in dynamic) if isinstance(dynamic, list) else dynamic is True


def find_method(description: Describe, wanted: str | None = None) -> dict[str, Any]:
    """The method that is measured: `wanted`, else `forward`, else the only one.

    Raises ModelError where the file has none that can be run, UsageError naming those that it has where there is no
    method of that name or it is not clear which is meant.
    """
    names = [str(method["name"]) for method in description.methods]
    if not names:
        raise ModelError(
            "The program has no method that can be run: it only has constants "
            f"({', '.join(sorted(description.metadata)) or 'none'}).",
            "Give the program whose constants these are, or export the model's `forward` into this one.",
        )
    name = wanted or (FORWARD if FORWARD in names else names[0] if len(names) == 1 else None)
    if name not in names:
        raise UsageError(
            f"The program has no method {wanted!r}: it has {', '.join(names)}."
            if wanted
            else f"The program has several methods and none is named forward: {', '.join(names)}.",
            f"Choose with --method {names[0]}; repeat the option to measure several.",
        )
    return next(method for method in description.methods if method["name"] == name)


def is_language_model(description: Describe) -> bool:
    """Whether a program follows ExecuTorch's LLM convention, `forward(tokens, positions)` with a KV cache and
    `get_vocab_size`, or Hugging Face's form of it (`cache_position`), or says that it has no cache: `forward(tokens)`.
    """
    known = description.metadata
    if not {"use_kv_cache", "get_vocab_size"} <= set(known) or (positions := _positions(description)) is None:
        return False
    return bool(known["use_kv_cache"]) == (positions != "none")


def positions_of(description: Describe) -> Positions:
    """How a language model is given the positions of its tokens: by that of the first, as a tensor [1] (`first`:
    ExecuTorch's `input_pos`) or without dimensions (`scalar`), or by a position for each token (`each`: Hugging Face's
    `cache_position`); or not at all (`none`), since it has no cache and is given all tokens again for each new one.
    """
    positions = _positions(description)
    assert positions is not None, "asked of a program that is no language model"
    return positions


def longest_prompt(description: Describe) -> int:
    """How many tokens a language model takes at once: the bound of the dynamic dimension in a `.pt2`, whose sizes are
    those of its example, and else the size that the file declares.
    """
    method = find_method(description)
    tokens = method["inputs"][0]
    declared, dynamic = int(tokens["sizes"][1]), tokens.get("dynamic")
    symbol = dynamic[1] if isinstance(dynamic, list) else None
    most = method.get("ranges", {}).get(symbol, [None, None])[1]
    return declared if most is None else int(most)


def _positions(description: Describe) -> Positions | None:
    forward = next((method for method in description.methods if method["name"] == FORWARD), None)
    if forward is None or len(forward["inputs"]) not in (1, 2):
        return None
    if len(forward["inputs"]) == 1:
        (tokens,) = forward["inputs"]
        return "none" if tokens["dtype"] in _INTEGERS and len(tokens["sizes"]) == 2 else None
    tokens, positions = forward["inputs"]
    if tokens["dtype"] not in _INTEGERS or positions["dtype"] not in _INTEGERS or len(tokens["sizes"]) != 2:
        return None
    if positions["sizes"] == []:
        return "scalar"
    if positions["sizes"] == [1]:
        # One token at a time: the position of the first is that of each.
        return "first"
    return "each" if positions["sizes"] == tokens["sizes"][1:] else None


def convention_of(description: Describe) -> str | None:
    """How a language model is asked, in words; None for what is none, or is asked in no known way."""
    if not is_language_model(description):
        return None
    return {
        "first": "ExecuTorch's convention (tokens, and the position of the first in input_pos [1])",
        "scalar": "ExecuTorch's convention (tokens, and the position of the first, without dimensions)",
        "each": "Hugging Face's convention (tokens, and a position for each in cache_position)",
        "none": "its tokens alone, without a KV cache: each new token costs the whole sequence",
    }[positions_of(description)]


HEAVY = ("aten::addmm", "aten::baddbmm", "aten::bmm", "aten::convolution", "aten::linear", "aten::mm")
"""Operators that nearly all time goes to in a network, so that they belong into a delegate."""


def heavy_operators(counts: dict[str, Any] | None) -> str | None:
    """Those of `HEAVY` that a method leaves to kernels outside delegates, with their number, such as `aten::mm 12`;
    None where there are none, or the file does not say.
    """
    kernels = {} if counts is None else counts["kernels"]
    return ", ".join(f"{name} {kernels[name]}" for name in HEAVY if name in kernels) or None


def lies_in_flash(description: Describe) -> bool:
    """Whether a program is all of a language model but its feed-forward layers, whose weights lie in files of neurons
    (`harness.flash.language_model.files`).
    """
    return bool(description.metadata.get("get_flash_layers")) and "get_vocab_size" in description.metadata


def cached_generation(context: int, vocabulary: int) -> dict[str, Any]:
    """The method of a language model by ExecuTorch's convention, `forward(tokens, input_pos)` to the logits of the last
    token, whose runtime holds the cache.
    """
    tokens = {
        "name": "tokens",
        "kind": "tensor",
        "dtype": "int32",
        "sizes": [1, context],
        "dynamic": [None, "length"],
        "limit": vocabulary,
    }
    # Made inputs are one call, which begins a sequence.
    position = {"name": "input_pos", "kind": "tensor", "dtype": "int64", "sizes": [1], "dynamic": [None], "limit": 1}
    return {
        "name": FORWARD,
        "planned_bytes": None,
        "delegates": [],
        "inputs": [tokens, position],
        "outputs": [{"kind": "tensor", "dtype": "float32", "sizes": [1, vocabulary]}],
        "ranges": {"length": [1, context]},
    }
