"""Operators outside of the core sets of ExecuTorch and torch that come with their wheels: registered where a program
calls one, so that nobody else waits for them.

ExecuTorch's are loaded as libraries and not by importing their Python modules, of which one imports torch's compiler.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

from harness.errors import ModelError

# By the namespace of an operator: a library of ExecuTorch's wheel, or a module.
_LIBRARIES = {
    "llama": ("extension/llm/custom_ops", "*custom_ops_aot_lib.*"),
    "quantized_decomposed": ("kernels/quantized", "*quantized_ops_aot_lib.*"),
}
_MODULES = {"quantized_decomposed": "torch.ao.quantization.fx._decomposed", "torchao": "torchao"}


def register(operators: Iterable[str]) -> None:
    """Register what ExecuTorch has for operators of a `.pte`, such as `llama::custom_sdpa.out`."""
    for namespace in {operator.partition("::")[0] for operator in operators} & _LIBRARIES.keys():
        _load(*_LIBRARIES[namespace])


def register_torch(namespaces: Iterable[str]) -> None:
    """Register what torch needs for the operators of these namespaces in a `.pt2`. Raises ModelError where the package
    that has them is not installed.
    """
    for namespace in sorted(set(namespaces)):
        if namespace in _MODULES:
            try:
                importlib.import_module(_MODULES[namespace])
            except ImportError as error:
                raise ModelError(
                    f"The model calls operators of {namespace}, which cannot be imported ({error}).",
                    f"Install it: pip install {namespace}.",
                ) from error
        elif namespace in _LIBRARIES:
            _load(*_LIBRARIES[namespace])


def _load(folder: str, pattern: str) -> None:
    import torch
    from executorch.extension.pybindings import _C  # noqa: F401 - the library is linked against it

    spec = importlib.util.find_spec("executorch")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for library in (Path(place) / folder).glob(pattern):
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
