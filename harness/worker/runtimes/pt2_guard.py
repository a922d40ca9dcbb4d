"""Opening a `.pt2` from a stranger: what in such an archive could run code is refused before torch looks at it.

torch.export.load unpickles what an archive says is pickled, loads compiled libraries, and hands the symbolic sizes of a
graph to sympy, which evaluates them as Python. A worker is a process of its own, but no sandbox.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import ModelError

_CHARACTERS = re.compile(r"[\w\s'\"(),=+\-*/<>&|~.]*")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_NAME = re.compile(r"[A-Za-z_]\w*")
_ATTRIBUTE = re.compile(r"\.\s*[A-Za-z_]")
# How symbols are assumed to behave, and names of torch's own that are no classes of sympy.
_WORDS = {"True", "False", "integer", "positive", "nonnegative", "real"}


def check_archive(path: Path) -> None:
    """Raises ModelError for an archive that is missing, damaged, or has anything beside a graph and plain tensors."""
    again = "Export it again with torch.export.save, with plain tensors only."
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            payloads = [json.loads(archive.read(name)) for name in names if name.endswith("_config.json")]
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist.", "Check the path.") from error
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RecursionError) as error:
        raise ModelError(f"{path} is no .pt2 archive or is damaged ({error}).", again) from error
    if len({name.casefold() for name in names}) < len(names):
        # Two readers of zip files need not agree which of them counts.
        raise ModelError(f"{path} has two entries of one name.", again)
    if any("/data/aotinductor/" in name for name in names):
        raise ModelError(f"{path} contains compiled code, which could do anything on this machine.", again)
    legacy = any(name.endswith(".pt") and ("/weights/" in name or "/constants/" in name) for name in names)
    if legacy or not all(_is_plain(payload) for payload in payloads):
        raise ModelError(
            f"{path} contains pickled objects, which could run any code on this machine, so it is not opened.",
            "If its weights are tensor subclasses (torchao's quantize_ makes such), call "
            "torchao.utils.unwrap_tensor_subclass(model) before torch.export.export; else save it with this version of "
            "torch.export.save.",
        )


@contextlib.contextmanager
def no_code() -> Iterator[None]:
    """Within the block torch unpickles tensors only, and sympy evaluates sizes only. Raises ValueError otherwise."""
    import sympy

    evaluate = sympy.sympify
    switch = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch's own: it covers the sample inputs
    before = os.environ.get(switch)

    def checked(expression: Any, *args: Any, **options: Any) -> Any:
        if isinstance(expression, str) and not is_size(expression):
            raise ValueError(f"it has a size that is no arithmetic: {expression[:60]!r}")
        return evaluate(expression, *args, **options)

    sympy.sympify, os.environ[switch] = checked, "1"
    try:
        yield
    finally:
        sympy.sympify = evaluate
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


def is_size(expression: str) -> bool:
    """Whether an expression is arithmetic on symbols: classes of sympy, numbers, names in quotes, and no attribute of
    anything.
    """
    import sympy
    import torch.utils._sympy.functions as torch_functions

    if not _CHARACTERS.fullmatch(expression) or "__" in expression or _ATTRIBUTE.search(expression):
        return False
    if not all(_NAME.fullmatch(a or b) for a, b in _QUOTED.findall(expression)):
        return False
    for word in _NAME.findall(_QUOTED.sub("", expression)):
        named = getattr(torch_functions, word, None) or getattr(sympy, word, None)
        known = isinstance(named, type) and issubclass(named, sympy.Basic)
        if not (known or word in _WORDS or re.fullmatch(r"[a-z]+\d+", word)):
            return False
    return True


def _is_plain(payload: Any) -> bool:
    """Whether a payload configuration names nothing but tensors stored as raw bytes."""
    entries = payload.get("config", {}).values() if isinstance(payload, dict) else ()
    return all(
        isinstance(entry, dict)
        and not entry.get("use_pickle")
        and str(entry.get("path_name", "")).startswith(("weight_", "tensor_"))
        for entry in entries
    )
