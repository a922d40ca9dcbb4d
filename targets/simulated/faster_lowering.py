"""Lowering in less time: it retraces the program for each of a hundred passes, and what it repeats at every node of
each is done once, or not at all.

This is the one place where harness replaces parts of torch while it runs. Torch 2.13 offers no other way: the tracer
copies histories through its module's own name `copy`, without a switch, and ExecuTorch's passes make the interpreters
that they run themselves, so that a subclass of ours could not be handed in. Both are put back at the end.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from copy import copy
from types import SimpleNamespace
from typing import Any

import torch
import torch.fx.traceback
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode


@contextmanager
def faster_lowering() -> Iterator[None]:
    """Within it, at every node of a pass: torch does not copy the node's whole history, which grows with the passes;
    ExecuTorch's passes do not compute again which shape and type an operator gives (`_remembered`); and the garbage
    collector does not look for cycles.
    """
    without_history = SimpleNamespace(copy=copy, deepcopy=lambda history: [])
    call = torch.fx.Interpreter.call_function
    with (
        _replaced(torch.fx.traceback, "copy", without_history),
        _replaced(torch.fx.Interpreter, "call_function", _remembered(call)),
    ):
        gc.disable()
        try:
            yield
        finally:
            gc.enable()


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Within it the attribute `name` of `owner` is `value`."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _remembered(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call_function` of a plain interpreter, as ExecuTorch's passes use it, with the fake tensors it gave before for
    the same operator and arguments alike. Torch remembers them too, but not of operators that are not its own: int8 and
    TOSA's, which were 25,000 of 57,000 calls for a token's program of selfcomp-small.
    """
    known: dict[Hashable, Any] = {}

    def call_function(interpreter: torch.fx.Interpreter, target: Any, args: Any, kwargs: Any) -> Any:
        key = (target, _alike(args), _alike(tuple(kwargs.items())))
        # Who records what is called must see every call.
        if _UNLIKE in key or type(interpreter) is not torch.fx.Interpreter or get_proxy_mode() is not None:
            return call(interpreter, target, args, kwargs)
        if key not in known:
            result = call(interpreter, target, args, kwargs)
            if not isinstance(result, FakeTensor):
                return result
            known[key] = result
        return known[key]

    return call_function


_UNLIKE = object()
_PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)


def _alike(argument: Any) -> Hashable:
    """The same for arguments that give results of one shape and type, `_UNLIKE` for one of which that is not known."""
    if isinstance(argument, (tuple, list)):
        parts = tuple(_alike(part) for part in argument)
        return _UNLIKE if _UNLIKE in parts else (type(argument), parts)
    if type(argument) is FakeTensor and argument.constant is None:
        shape, strides = tuple(argument.shape), argument.stride()
        fixed = all(isinstance(size, int) for size in (*shape, *strides))
        return (id(argument.fake_mode), shape, strides, argument.dtype, argument.device) if fixed else _UNLIKE
    return (type(argument), argument) if type(argument) in _PLAIN else _UNLIKE
