"""`harness targets build`: the native worker for a machine, and what it was built from."""

from __future__ import annotations

import click


@click.command()
@click.argument("machine", metavar="arm64|native")
@click.option("--force", is_flag=True, help="Build it even if it is there.")
def build(machine: str, force: bool) -> None:
    """Build the native worker, for arm64 or (native) for this x86-64 machine.

    It is kept in the cache folder and built again by itself when a source, a version or the compiler changes. It needs
    a C++ compiler for the machine and, for another machine than this, the network once: ExecuTorch's wheel for it.
    """
    from harness.errors import UsageError
    from harness.targets.native.build import MACHINES, bundle

    if machine not in MACHINES:
        raise UsageError(f"There is nothing to build for {machine!r}.", f"Choose one of: {', '.join(MACHINES)}.")
    built = bundle(MACHINES[machine], force=force)
    size = sum(path.stat().st_size for path in built.folder.iterdir())
    click.echo(f"{built.folder} ({size / 1e6:.1f} MB, {len(list(built.folder.iterdir()))} files)")
