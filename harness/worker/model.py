"""A loaded model as the scenarios see it, whatever runtime is behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.protocol import Describe, Loaded

if TYPE_CHECKING:
    from torch import Tensor

Execute = Callable[[Sequence["Tensor"]], Sequence["Tensor"]]


@dataclass(frozen=True)
class Model:
    """`execute` runs the method that is timed: tensors in, tensors out, nothing of ours in between.

    `all_logits`, where the model has one, maps tokens int64 [1, T] to the logits float32 [1, T, vocabulary] of every
    position, and `window` is its T.
    """

    description: Describe
    loaded: Loaded
    execute: Execute
    all_logits: Execute | None = None
    window: int | None = None


def is_language_model(description: Describe) -> bool:
    """Whether a program follows ExecuTorch's LLM convention: `forward(tokens, input_pos)` with a KV cache and
    `get_vocab_size`.
    """
    forward = next((method for method in description.methods if method["name"] == "forward"), None)
    return (
        forward is not None
        and len(forward["inputs"]) == 2
        and len(forward["inputs"][0]["sizes"]) == 2
        and bool(description.metadata.get("use_kv_cache"))
        and "get_vocab_size" in description.metadata
        and all(meta["dtype"] in ("int64", "int32") for meta in forward["inputs"])
    )


def lies_in_flash(description: Describe) -> bool:
    """Whether a program is all of a language model but its feed-forward layers, whose weights lie in files of neurons
    (`harness.flash.files`).
    """
    return bool(description.metadata.get("get_flash_layers")) and "get_vocab_size" in description.metadata


def main_method(description: Describe) -> dict[str, Any]:
    """The method that is timed, `forward` or the only one, with the dtype and sizes of its `inputs` and `outputs`;
    where a dimension is dynamic its size is the upper bound.
    """
    return next((m for m in description.methods if m["name"] == "forward"), description.methods[0])
