"""`harness flash`: what reading weights from flash costs, on the device at hand and on published ones."""

from __future__ import annotations

from typing import Any

import click

from harness.cli.flash.ablate import ablate
from harness.cli.flash.build import build
from harness.cli.flash.profile import profile
from harness.cli.flash.trace import trace
from harness.cli.flash.write import write


@click.group()
def flash() -> None:
    """Measure and model the reading of feed-forward weights from flash to DRAM.

    \b
    harness flash profile /data --output phone.toml
    harness flash ablate --shape opt-6.7b-layer
    """


flash.add_command(profile)
flash.add_command(write)
flash.add_command(ablate)
flash.add_command(build)
flash.add_command(trace)


@flash.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reproduce(**options: Any) -> None:
    """Print the published I/O latencies of LLM in a flash beside those of the device model, and which are predictions.

    \b
    harness flash reproduce
    """
    from harness.cli.flash import reproducing

    reproducing.reproduce(**options)
