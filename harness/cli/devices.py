"""`harness devices`: which devices can be reached, how they are, and what each can measure."""

from __future__ import annotations

from typing import Any

import click


@click.command()
@click.option(
    "--devices",
    "file",
    type=click.Path(path_type=str, exists=True, dir_okay=False),
    help="The file that names devices. Default: $HARNESS_DEVICES, or devices.toml in harness's configuration folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every reading.")
def devices(**options: Any) -> None:
    """Show the devices that the devices file names and those that adb sees, and what can be read of each.

    \b
    harness devices
    harness run -t arm64 --device phone -m model.pte

    The file gives a device a name, the way to it, and the conditions that are wanted of it:

    \b
    default = "phone"                # what -t arm64 means without --device
    [phone]
    transport = "adb"
    serial = "R58N12ABCDE"           # left out: the only one attached
    cpus = [4, 5, 6, 7]              # the worker is pinned to these, unless --cpus says otherwise
    wait_below_celsius = 40          # before each job; gives up after wait_limit_s (300), with a flag
    governor = "schedutil"           # the one expected, where it is not performance
    [board]
    transport = "ssh"
    host = "pi@board"                # as ssh takes it: keys, ports and jump hosts come from ssh's configuration
    folder = "/mnt/ssd/harness"      # where files are kept there
    """
    from harness.cli import device_list

    device_list.devices(**options)
