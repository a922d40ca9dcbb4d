"""The file of a figure: what kind it is, what draws it, and what is printed once it is written."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.outside_files import write_whole
from harness.report.machine import dump_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def kind_of_file(output: Path) -> str:
    """What kind of file is asked for. Raises UsageError where it or matplotlib is not to be had."""
    formats = drawer("style").FORMATS
    kind = output.suffix.lower().removeprefix(".")
    if kind not in formats:
        raise UsageError(
            f"The ending of {output.name} names no kind of figure.", f"Choose one of: {', '.join(formats)}."
        )
    return kind


def drawer(name: str) -> ModuleType:
    """A module that draws with matplotlib, an extra."""
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise UsageError(
            "Figures are drawn by matplotlib, which is not installed.",
            "Install it with `pip install 'edge-harness[figures]'`.",
        ) from error
    return importlib.import_module(f"harness.report.figures.{name}")


def written(drawn: Figure, output: Path, caption: Sequence[str], values: list[dict[str, Any]], as_json: bool) -> str:
    """Write the file; where it is, with its caption or everything that is drawn."""
    kind = kind_of_file(output)
    write_whole(output, drawer("style").file_bytes(drawn, kind, caption), "Name another file with --output.")
    if as_json:
        return dump_json("figure", {"file": str(output), "caption": caption, "panels": values})
    return "\n".join([str(output), "", *caption, ""])
