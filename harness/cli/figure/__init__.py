"""`harness figure`: figures for print, from what was stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.analysis.parts import ROW_PARTS
from harness.cli._options import json_option, results_option
from harness.cli.models.figures import figures as model_figures

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(short_help="Draw figures for print.")
def figure() -> None:
    """Draw what was measured as PDF, SVG or PNG, one column of a paper wide, and print the caption.

    Every figure is a function of the results: the same give the same bytes. A condition that differs (threads, batch,
    target) has a panel of its own.

    \b
    harness figure pareto --cost model_bytes --output front.pdf
    harness figure distribution baseline-small selfcomp-small --output latency.svg
    harness figure model selfcomp
    """


def _drawing_options(command: Command) -> Command:
    """Which results are drawn; with an output, the arguments of `drawing.panels`."""
    for option in (
        json_option,
        click.option("--allow-different", is_flag=True, help="Show runs of different conditions, with a warning."),
        click.option("--target", metavar="NAME", help="Only what was measured on this target."),
        click.option("--session", default="latest", show_default=True, metavar="ID|latest|all", help="Which session."),
        results_option,
        click.argument("models", nargs=-1, metavar="[MODEL]..."),
    ):
        command = option(command)
    return command


def _output_option(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--output",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path(default),
        show_default=True,
        help="The file; its ending (.pdf, .svg, .png) says what kind.",
    )


@figure.command(short_help="Quality against latency, size, memory or energy.")
@click.option("--cost", metavar="METRIC", help="Across. [default: latency]")
@click.option("--quality", metavar="METRIC", help="Upwards. [default: the loss, or what was measured]")
@click.option("--marks", type=click.Choice(ROW_PARTS), help="One mark for each of these. [default: all alike]")
@_drawing_options
@_output_option("pareto.pdf")
def pareto(cost: str | None, quality: str | None, marks: str | None, as_json: bool, **selection: Any) -> None:
    """Draw quality against cost: a point a model with its intervals, and the Pareto front.

    A model is called dominated only where the intervals support it.

    \b
    harness figure pareto
    harness figure pareto --quality perplexity --cost peak_over_idle_bytes --output memory.svg
    harness figure pareto --cost joules_per_token --output energy.svg
    harness figure pareto --cost decode_latency_ns_p50 --marks runtime --output peers.pdf
    harness figure pareto --session all --cost model_bytes --marks family --output zoo.pdf
    """
    from harness.cli.figure import drawing

    selected = drawing.panels(**selection)
    click.echo(drawing.pareto(selected, cost, quality, marks, as_json=as_json), nl=False)


@figure.command(short_help="Latencies of every process and model.")
@click.option("--phase", metavar="NAME", help="Of which phase: decode, prefill, ttft, steady. [default: decode]")
@_drawing_options
@_output_option("distribution.pdf")
def distribution(phase: str | None, as_json: bool, **selection: Any) -> None:
    """Draw which share of the samples is how fast, by model and process, without warm-ups.

    \b
    harness figure distribution
    harness figure distribution --phase prefill --output prefill.png
    """
    from harness.cli.figure import drawing

    selected = drawing.panels(**selection)
    click.echo(drawing.distribution(selected, phase, as_json=as_json), nl=False)


@figure.command(short_help="Latency of a decoded token against its position.")
@_drawing_options
@_output_option("position.pdf")
def position(as_json: bool, **selection: Any) -> None:
    """Draw how long a decoded token takes, against how many tokens stand before it.

    Attention over a long context is another work than over a short one: a mean over positions hides it.

    \b
    harness run -t x86 -m baseline -m selfcomp --prompt-tokens 16 --new-tokens 200
    harness figure position --output position.svg
    """
    from harness.cli.figure import drawing

    selected = drawing.panels(**selection)
    click.echo(drawing.position(selected, as_json=as_json), nl=False)


@figure.command(short_help="How near models come to what the device can do.")
@_drawing_options
@_output_option("roofline.pdf")
def roofline(as_json: bool, **selection: Any) -> None:
    """Draw multiplications a second against multiplications a byte, below the bounds of array and memory.

    Only for targets that say what they can do at most, as a simulated accelerator does.

    \b
    harness run --target npu --model baseline --model selfcomp
    harness figure roofline --output roofline.svg
    """
    from harness.cli.figure import drawing

    selected = drawing.panels(**selection)
    click.echo(drawing.roofline(selected, as_json=as_json), nl=False)


@figure.command(short_help="What each step of a flash ablation does.")
@results_option
@click.option("--session", default="latest", show_default=True, metavar="ID|latest|all", help="Which session.")
@json_option
@_output_option("ablation.pdf")
def ablation(results: Path, session: str, output: Path, as_json: bool) -> None:
    """Draw the latency of a token and the bytes it reads from flash, step by step, as `harness run --ablate` measured.

    \b
    harness run -t x86 -m relu --scenario flash --dram-budget 3MB --ablate
    harness figure ablation --output ablation.svg
    """
    from harness.cli.figure import drawing

    click.echo(drawing.ablation(results, session, output, as_json=as_json), nl=False)


# The figures of a model's own weights and training need no results; they have one implementation, under both names.
figure.add_command(model_figures, "model")
