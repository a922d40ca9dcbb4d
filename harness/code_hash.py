"""A hash of the code behind an artifact, found from its imports: an artifact is current while that code is.

A list of files kept by hand goes stale in silence, and a cached artifact then outlives the code that made it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def code_hash(entries: tuple[str, ...], packages: tuple[str, ...]) -> str:
    """12 hexadecimal digits of the sha256 over the source of `source_files(entries, packages)`, names included.

    It is computed once per process, whose own code does not change.
    """
    digest = hashlib.sha256()
    for module, file in source_files(entries, packages).items():
        source = file.read_bytes()
        digest.update(f"{module} {len(source)}\n".encode() + source)
    return digest.hexdigest()[:12]


def source_files(entries: Collection[str], packages: Collection[str]) -> dict[str, Path]:
    """The modules `entries` and all that they import, directly or not, from `packages`, sorted by dotted name.

    Every import statement counts, those inside functions and under TYPE_CHECKING too; a module brings the `__init__`
    of the packages that it lies in. No module is imported, only the packages around it. Raises ModuleNotFoundError for
    an entry that does not exist.
    """
    file_by_module: dict[str, Path] = {}
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module in file_by_module:
            continue
        file = _source(module)
        if file is None:
            raise ModuleNotFoundError(f"No source of {module!r}", name=module)
        file_by_module[module] = file
        names = [*_imported(file, module), module.rpartition(".")[0]]
        waiting += [name for name in names if _within(name, packages) and _source(name) is not None]
    return dict(sorted(file_by_module.items()))


def _within(module: str, packages: Collection[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _imported(file: Path, module: str) -> tuple[str, ...]:
    """The dotted names that a file imports; of `from package import name` both, since the name may be a module."""
    return tuple(_names(ast.parse(file.read_bytes()), module, file.name == "__init__.py"))


def _names(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parents = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parents, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _source(name: str) -> Path | None:
    """The file of a module's source; None for what is no module (an attribute of one), or has no source in Python."""
    parent = name.rpartition(".")[0]
    if parent and not _is_package(parent):
        return None
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _is_package(name: str) -> bool:
    parent = name.rpartition(".")[0]
    if parent and not _is_package(parent):
        return False
    spec = find_spec(name)
    return spec is not None and spec.submodule_search_locations is not None
