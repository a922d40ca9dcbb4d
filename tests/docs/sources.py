"""The project's pages as the tests of this folder read them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
SNIPPET = re.compile(r'^ *--8<-- "([^"]+)"$', re.MULTILINE)
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md")),
        *sorted(DOCS.glob("*.md")),
    )
}
"""Every page by its path from the root."""


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, files that they include in place."""
    found = [body for _, name, body in FENCE.findall(text) if name == language]
    return [SNIPPET.sub(lambda match: (DOCS / match[1]).read_text(encoding="utf-8"), body) for body in found]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", text)


def module(path: Path) -> ModuleType:
    """A Python file of `docs/` as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
