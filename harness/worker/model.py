"""A loaded model as the scenarios see it, whatever runtime is behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from harness.protocol import Describe, Event, Loaded
from harness.scenarios import Series

if TYPE_CHECKING:
    from torch import Tensor

Execute = Callable[[Sequence["Tensor"]], Sequence["Tensor"]]


class Probe(Protocol):
    """What a device that is not the processor says beside the host's clock."""

    def clear(self) -> None:
        """What follows is measured."""
        ...

    def measured(self, phases: Mapping[str, Series]) -> Iterable[Event]:
        """What the device says of the queries since `clear`, whose durations are in `phases`."""
        ...

    def beside(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """`emit`, with the device's state beside the host's wherever that is told."""
        ...


@dataclass(frozen=True)
class Model:
    """`execute` runs the method that is timed: tensors in, tensors out, nothing of ours in between.

    `all_logits`, where the model has one, maps tokens int64 [1, T] to the logits float32 [1, T, vocabulary] of every
    position, and `window` is its T. `probe` is that of the device, where it is not the processor.
    """

    description: Describe
    loaded: Loaded
    execute: Execute
    all_logits: Execute | None = None
    window: int | None = None
    probe: Probe | None = None


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
