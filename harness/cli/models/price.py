"""`harness models price`: what removing a channel saves on a target, for the penalty of a compression recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli._options import results_option

if TYPE_CHECKING:
    from harness.target import Target

INTEGERS = ("int8", "int4-channel")
"""The programs' weights are integers with a step a channel, whichever model they are sized after."""


@click.command()
@click.argument("name")
@click.option("--target", "-t", "target_name", required=True, help="Where to measure; `harness targets` lists them.")
@click.option("--precision", type=click.Choice(INTEGERS), help="Default: int8 for a model in int8, else int4-channel.")
@click.option(
    "--phase",
    type=click.Choice(("decode", "prefill")),
    default="decode",
    show_default=True,
    help="What is to be fast: a token that is generated, or the prompt before them.",
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of a worker.")
@click.option(
    "--blocks",
    type=click.IntRange(3),
    default=5,
    show_default=True,
    help="Worker processes a program, interleaved. More of them make the intervals narrower.",
)
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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
    """Measure what removing one output channel saves, for each kind of layer in the blocks of model NAME, and print it
    with the table `prices` of a recipe in zoo.toml.

    Programs of NAME's architecture and random weights are made, the whole one and one without half of the channels of
    each kind, and set against each other in the scenario `generate`.

    \b
    harness models price selfcomp --target x86 --blocks 10
    """

    from harness.analysis.comparison import compare_tables
    from harness.api.zoo import Zoo
    from harness.cli._progress import Reporter
    from harness.cli._waiting import waiting
    from harness.cli.models import price_table as _prices
    from harness.experiment.request import RunRequest
    from harness.experiment.run import run
    from harness.models.recipe import LAYERS
    from harness.models.zoo.pricing import write_programs
    from harness.models.zoo.recipes import packaged
    from harness.report.machine import dump_json
    from harness.report.rendering import render_tables
    from harness.scratch import ScratchFolder
    from harness.store.dataset import read_tables
    from harness.store.writer import prepare

    recipe = packaged().find(name)
    precision = precision or (recipe.precision if recipe.precision in INTEGERS else "int4-channel")
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
    uncut, prices = _prices.prices(comparison, phase, programs)
    if as_json:
        click.echo(dump_json("price", _prices.as_json(comparison, what, uncut, prices)), nl=False)
    else:
        click.echo(render_tables([_prices.table(comparison, what, uncut, prices)], "terminal"))
        click.echo(_prices.toml(recipe.name, comparison, what, prices), nl=False)
    if outcome.failures:
        raise click.exceptions.Exit(1)


def _checked(name: str) -> Target:
    """The target of that name. Raises UsageError where it cannot be used, or has no latency to price anything by."""
    from harness.errors import UsageError
    from harness.target import find_target

    target = find_target(name)
    state, able = target.availability(), target.capabilities
    if not state.available:
        raise UsageError(f"Target {name} is not available here: {state.reason}.", state.todo)
    if able.latency is None or ".pte" not in able.formats or "generate" not in able.scenarios:
        raise UsageError(
            f"Target {name} cannot time a language model in a .pte file.", "`harness targets` shows what each measures."
        )
    return target
