"""What `harness models price` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.analysis.comparison import compare_tables
from harness.api.zoo import Zoo
from harness.cli._progress import Reporter
from harness.cli._waiting import waiting
from harness.cli.models import price_table
from harness.cli.models.channel_prices import prices as prices_of
from harness.errors import UsageError
from harness.experiment.request import RunRequest
from harness.experiment.run import run
from harness.models.recipe import INTEGERS_PER_CHANNEL, LAYERS
from harness.models.zoo.pricing import write_programs
from harness.models.zoo.recipes import packaged
from harness.report.machine import dump_json
from harness.report.rendering import render_tables
from harness.scratch import ScratchFolder
from harness.store.dataset import read_tables
from harness.store.writer import prepare
from harness.target import Target, find_target


def price(
    name: str,
    target_name: str,
    precision: str | None,
    phase: str,
    threads: int,
    blocks: int,
    results: Path,
    as_json: bool,
) -> None:
    """Measure what removing one output channel saves, for each kind of layer, and print it."""
    recipe = packaged().find(name)
    precision = precision or (recipe.precision if recipe.precision in INTEGERS_PER_CHANNEL else "int4-channel")
    target = _checked(target_name)
    prepare(results)
    with ScratchFolder() as folder, Reporter(quiet=False) as reporter:
        programs = []
        with waiting(f"models price {recipe.name} {precision}", "making the programs") as clock:
            clock.begin(f"at most {len(LAYERS) + 1} programs")
            for number, program in enumerate(write_programs(recipe, precision, Path(folder)), start=1):
                programs.append(program)
                clock.within(number, len(LAYERS) + 1)
                reporter.note(f"made {program.path.stem}")
        options: dict[str, Any] = {
            "models": {program.path.stem: program.path for program in programs},
            "threads": threads,
            "processes": blocks,
        }
        request = RunRequest(target=target.name, scenario="generate", quality=False, memory=False, **options)
        outcome = run(request, results, Zoo(), reporter)
    reporter.summary(outcome)
    if not outcome.succeeded:
        raise click.exceptions.Exit(1)
    tables, what = read_tables(results, outcome.session_id), f"{recipe.name} in {precision}, {phase}"
    (comparison,) = compare_tables(tables, baseline=programs[0].path.stem)
    uncut, prices = prices_of(comparison, phase, programs)
    if as_json:
        click.echo(dump_json("price", price_table.as_json(comparison, what, uncut, prices)), nl=False)
    else:
        click.echo(render_tables([price_table.table(comparison, what, uncut, prices)], "terminal"))
        click.echo(price_table.toml(recipe.name, comparison, what, prices), nl=False)
    if outcome.failures:
        raise click.exceptions.Exit(1)


def _checked(name: str) -> Target:
    """The target of that name. Raises UsageError where it cannot be used, or has no latency to price anything by."""
    target = find_target(name)
    state, able = target.availability(), target.capabilities
    if not state.available:
        raise UsageError(f"Target {name} is not available here: {state.reason}.", state.todo)
    if able.latency is None or ".pte" not in able.formats or "generate" not in able.scenarios:
        raise UsageError(
            f"Target {name} cannot time a language model in a .pte file.", "`harness targets` shows what each measures."
        )
    return target
