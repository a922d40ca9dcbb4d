"""Devices that exist as a TOML file: those that come with a target, and the user's own."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError


def names(folder: Path, default: str) -> tuple[str, ...]:
    """The configurations in `folder`, the default first."""
    stems = sorted(file.stem for file in folder.glob("*.toml"))
    return (default, *(name for name in stems if name != default))


def locate(folder: Path, default: str, name: str | None) -> Path:
    """The file of that name, which is one of `names` or a path that ends in `.toml`; the default's for None.

    Raises UsageError, listing the known ones, for what is neither.
    """
    name = name or default
    if name.endswith(".toml"):
        return Path(name)
    if name not in names(folder, default):
        known = ", ".join(names(folder, default))
        raise UsageError(
            f"There is no configuration {name!r}.", f"Choose one of: {known}; or give your own .toml file."
        )
    return folder / f"{name}.toml"
