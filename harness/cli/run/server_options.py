"""What `harness run` takes for scenarios that look like use: server, multi-stream, sustained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.scenarios.catalogue import SCENARIOS

if TYPE_CHECKING:
    from harness.target import Target

Command = TypeVar("Command", bound=Callable[..., Any])

_SCENARIOS = {name: scenario.options for name, scenario in SCENARIOS.items() if not scenario.in_flash}
_OPTIONS = {option: default for options in _SCENARIOS.values() for option, default in options.items()}


def load_options(command: Command) -> Command:
    """What `run` takes for these scenarios alone; each is None where it was not given."""
    for option in (
        click.option(
            "--duration", metavar="TIME", help=f"sustained: how long, such as 30m. [default: {_OPTIONS['duration']}]"
        ),
        click.option(
            "--streams", metavar="LIST", help=f"multi-stream: samples a query. Sweeps. [default: {_OPTIONS['streams']}]"
        ),
        click.option(
            "--latency-bound",
            metavar="TIMES",
            help="server: what p99 may take, such as 15ms. Sweeps. Without --rate the highest rate that holds it is "
            "searched for, in trials of --min-iterations queries (1000) and --max-duration at most.",
        ),
        click.option("--rate", metavar="LIST", help="server: queries/s that arrive, such as 50 or 10-50:10. Sweeps."),
    ):
        command = option(command)
    return command


def load_job(options: dict[str, Any], target: Target) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Fields of the jobs that sweep, and those that all share. Raises UsageError for what this target or the scenario
    cannot do.
    """
    from harness.errors import UsageError
    from harness.experiment.arrivals import load_of
    from harness.statistics.early_stopping import FEWEST_QUERIES

    scenario = options["scenario"]
    sweeps, fixed = load_of(scenario, {name: options[name] for name in _OPTIONS})
    if _SCENARIOS.get(scenario) and scenario not in target.capabilities.scenarios:
        raise UsageError(
            f"Target {target.name} has no scenario {scenario} here.", "`harness targets` shows what each has."
        )
    if sweeps.get("rate_queries_per_s") == [None] and (options["min_iterations"] or FEWEST_QUERIES) < FEWEST_QUERIES:
        raise UsageError(
            f"{options['min_iterations']} queries cannot tell p99.", f"Give --min-iterations {FEWEST_QUERIES} or more."
        )
    return sweeps, fixed
