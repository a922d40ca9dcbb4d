"""What a runtime says and gives, checked before anything is stored: a runtime may be somebody else's, and nonsense of
it must be told as its own, not as a fault of the model or of harness.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from harness.protocol import Describe, Loaded, Ops
from harness.runtime import Execute, LoadedModel
from harness.worker.torch_outputs import leaves

KINDS = ("tensor", "int", "float", "bool", "str", "none", "list")


class RuntimeFault(Exception):
    """What is wrong with what a runtime says or gives, as it follows its name: "says that ...", without a full stop."""


def check_description(described: Any) -> Describe:
    """What `describe` gave. Raises RuntimeFault where it is no description, or a method has no name, inputs or outputs
    as they are meant (`harness.model_description`).
    """
    if not isinstance(described, Describe):
        raise RuntimeFault(f"describes a model by {_shown(described)}, which is no Describe")
    for method in described.methods:
        if not isinstance(method, dict) or not isinstance(method.get("name"), str):
            raise RuntimeFault(f"describes a method without a name: {_shown(method)}")
        for side in ("inputs", "outputs"):
            if not isinstance(method.get(side), list):
                raise RuntimeFault(f"describes the method {method['name']} without a list of {side}")
            for each in method[side]:
                if (fault := _fault_of(each)) is not None:
                    raise RuntimeFault(f"describes one of the {side} of {method['name']} {fault}: {_shown(each)}")
    return described


def check_model(model: Any) -> LoadedModel:
    """What `load` gave. Raises RuntimeFault where a time or a size is no whole number from 0."""
    if not isinstance(model, LoadedModel) or not isinstance(model.loaded, Loaded):
        raise RuntimeFault(f"loads a model as {_shown(model)}, which is no LoadedModel")
    check_description(model.description)
    loaded = model.loaded
    if not callable(model.execute) or not callable(model.arrange):
        raise RuntimeFault("loads a model without functions `execute` and `arrange`")
    for words, value, known in (
        ("opening the model took {} ns", loaded.program_ns, False),
        ("preparing its method took {} ns", loaded.method_ns, False),
        ("the model has {} bytes", loaded.program_bytes, True),
        ("its planned arena has {} bytes", loaded.planned_bytes, False),
    ):
        if not _is_count(value) and (known or value is not None):
            raise RuntimeFault(f"says that {words.format(_shown(value))}")
    if not all(isinstance(name, str) and isinstance(value, str) for name, value in loaded.settings.items()):
        raise RuntimeFault(f"has settings that are no texts: {_shown(loaded.settings)}")
    return model


def check_operators(operators: Iterable[Any]) -> Iterator[Ops]:
    """What `operators` gave, one by one. Raises RuntimeFault at a time or a count that is no whole number from 0."""
    for event in operators:
        if not isinstance(event, Ops):
            raise RuntimeFault(f"times an operator by {_shown(event)}, which is no Ops")
        if not _is_count(event.total_ns) or not _is_count(event.calls):
            times = f"{_shown(event.calls)} calls of {event.operator} took {_shown(event.total_ns)} ns"
            raise RuntimeFault(f"says that {times}")
        yield event


def check_outputs(outputs: Any) -> Any:
    """What `execute` gave. Raises RuntimeFault where it is no sequence, or something in it is no tensor of torch, no
    array of numbers, no number, no text and not None.
    """
    import numpy as np
    import torch

    if not isinstance(outputs, (list, tuple, dict)):
        raise RuntimeFault(f"gives {_shown(outputs)} where a list of outputs is meant")
    for output in leaves(outputs):
        known = isinstance(output, (torch.Tensor, np.ndarray, np.generic, bool, int, float, str, type(None)))
        if not known or (isinstance(output, (np.ndarray, np.generic)) and output.dtype.kind not in "biufcV"):
            raise RuntimeFault(f"gives an output that is no tensor: {_shown(output)}")
    return outputs


def checking_outputs(model: LoadedModel) -> LoadedModel:
    """`model`, all whose outputs are checked. Not for what is timed."""

    def checked(execute: Execute) -> Execute:
        return lambda inputs: check_outputs(execute(inputs))

    execute = checked(model.execute)
    all_logits = model.all_logits
    if all_logits is not None:
        all_logits = execute if all_logits is model.execute else checked(all_logits)
    return replace(model, execute=execute, all_logits=all_logits)


def _fault_of(described: Any) -> str | None:
    if not isinstance(described, dict):
        return "by no dictionary"
    if described.get("kind", "tensor") not in KINDS:
        return f"with a kind that is none of {', '.join(KINDS)}"
    if not isinstance(described.get("dtype"), str):
        return "without a dtype"
    sizes = described.get("sizes")
    if not isinstance(sizes, (list, tuple)) or not all(size is None or _is_count(size) for size in sizes):
        return "without sizes"
    return None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
