"""`harness figure`: figures for print, from what was stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.cli._options import json_option, results_option
from harness.cli.models.figures import figures as model_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.report.figures.panels import Panel

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
    """Which results are drawn, and where to."""
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
@_drawing_options
@_output_option("pareto.pdf")
def pareto(
    cost: str | None,
    quality: str | None,
    models: tuple[str, ...],
    results: Path,
    session: str,
    target: str | None,
    allow_different: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Draw quality against cost: a point a model with its intervals, and the Pareto front.

    A model is called dominated only where the intervals support it.

    \b
    harness figure pareto
    harness figure pareto --quality perplexity --cost peak_over_idle_bytes --output memory.svg
    harness figure pareto --cost joules_per_token --output energy.svg
    """
    fmt = _format(output)
    panels, left_out = _panels(results, session, models, target, allow_different)
    from harness.report.figures.pareto import draw
    from harness.report.figures.points import COSTS, QUALITIES, choose, drawable, points_of
    from harness.report.figures.telling import panel_json, points_json, tell_points

    x, y = choose(cost, COSTS, panels), choose(quality, QUALITIES, panels)
    found = drawable([(panel, *points_of(panel, x, y)) for panel in panels])
    drawn = draw([panel for panel, _, _ in found], [points for _, points, _ in found], x, y)
    said = [panel_json(panel, points_json(points, x, y), absent) for panel, points, absent in found]
    _write(drawn, output, fmt, [*tell_points(found, x, y), *left_out], said, as_json)


@figure.command(short_help="Latencies of every process and model.")
@click.option("--phase", metavar="NAME", help="Of which phase: decode, prefill, ttft, steady. [default: decode]")
@_drawing_options
@_output_option("distribution.pdf")
def distribution(
    phase: str | None,
    models: tuple[str, ...],
    results: Path,
    session: str,
    target: str | None,
    allow_different: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Draw which share of the samples is how fast, by model and process, without warm-ups.

    \b
    harness figure distribution
    harness figure distribution --phase prefill --output prefill.png
    """
    fmt = _format(output)
    panels, left_out = _panels(results, session, models, target, allow_different)
    from harness.report.figures.distribution import draw
    from harness.report.figures.latencies import choose_phase, label_of, latencies_of
    from harness.report.figures.telling import latencies_json, panel_json, tell_latencies

    name = choose_phase(phase, panels)
    every = [(panel, *latencies_of(panel, name)) for panel in panels]
    found = [(panel, latencies, absent) for panel, latencies, absent in every if latencies]
    drawn = draw([panel for panel, _, _ in found], [latencies for _, latencies, _ in found], label_of(name))
    said = [panel_json(panel, latencies_json(latencies), absent) for panel, latencies, absent in found]
    _write(drawn, output, fmt, [*tell_latencies(found, label_of(name)), *left_out], said, as_json)


@figure.command(short_help="How near models come to what the device can do.")
@_drawing_options
@_output_option("roofline.pdf")
def roofline(
    models: tuple[str, ...],
    results: Path,
    session: str,
    target: str | None,
    allow_different: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Draw multiplications a second against multiplications a byte, below the bounds of array and memory.

    Only for targets that say what they can do at most, as a simulated accelerator does.

    \b
    harness run --target npu --model baseline --model selfcomp
    harness figure roofline --output roofline.svg
    """
    fmt = _format(output)
    panels, left_out = _panels(results, session, models, target, allow_different)
    from dataclasses import asdict

    from harness.report.figures.intensity import rooflines
    from harness.report.figures.roofline import draw
    from harness.report.figures.telling import panel_json, tell_rooflines

    found = rooflines(panels)
    drawn = draw([panel for panel, *_ in found], [(roof, dots) for _, roof, dots, _ in found])
    said = [
        panel_json(panel, [asdict(dot) for dot in dots], absent) | {"roof": asdict(roof)}
        for panel, roof, dots, absent in found
    ]
    _write(drawn, output, fmt, [*tell_rooflines(found), *left_out], said, as_json)


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
    fmt = _format(output)
    from dataclasses import asdict

    from harness.errors import NothingComparable
    from harness.flash.ablation.from_results import read_ablation
    from harness.report.figures.ablation import Step, draw
    from harness.report.flash_ablation import table_of
    from harness.report.table import lines_of

    found = [one for one in read_ablation(results, session) if len(one.rows) > 1]
    if not found:
        raise NothingComparable(
            f"Session {session} of {results} has no ablation.", "Measure one: `harness run --scenario flash --ablate`."
        )
    panels = [(one.model, [Step(row.policy, row.io, row.token, row.flash_bytes) for row in one.rows]) for one in found]
    caption = [
        "What each step of an ablation does to the latency of a token, and to the bytes that it reads from flash. "
        "Filled: waiting for flash. Hollow: the whole token. Bars: 95 % intervals over processes.",
    ]
    for table in map(table_of, found):
        caption += [f"{table.title}: {'; '.join(table.caption[:2])}", *table.notes]
    origin = " · ".join(dict.fromkeys(f"{one.job['target']} · session {one.session}" for one in found))
    said = [{"model": name, "steps": [asdict(step) for step in steps]} for name, steps in panels]
    _write(draw(panels, origin), output, fmt, lines_of(caption), said, as_json)


# The figures of a model's own weights and training need no results; they have one implementation, under both names.
figure.add_command(model_figures, "model")


def _format(output: Path) -> str:
    """What kind of file is asked for. Raises UsageError where it or matplotlib is not to be had."""
    import importlib

    from harness.errors import UsageError

    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise UsageError(
            "Figures are drawn by matplotlib, which is not installed.",
            "Install it with `pip install 'edge-harness[figures]'`.",
        ) from error
    from harness.report.figures.style import FORMATS

    fmt = output.suffix.lower().removeprefix(".")
    if fmt not in FORMATS:
        raise UsageError(
            f"The ending of {output.name} names no kind of figure.", f"Choose one of: {', '.join(FORMATS)}."
        )
    return fmt


def _panels(
    results: Path, session: str, models: Sequence[str], target: str | None, allow_different: bool
) -> tuple[list[Panel], list[str]]:
    from harness.report.figures.panels import panels_of
    from harness.store.dataset import read_tables

    return panels_of(read_tables(results, session), models=models, target=target, allow_different=allow_different)


def _write(
    drawn: Figure, output: Path, fmt: str, caption: Sequence[str], panels: list[dict[str, Any]], as_json: bool
) -> None:
    """Write the file and print where it is, with its caption or everything that is drawn."""
    from harness.outside_files import write_whole
    from harness.report.figures.style import file_bytes
    from harness.report.machine import dump_json

    write_whole(output, file_bytes(drawn, fmt, caption), "Name another file with --output.")
    if as_json:
        click.echo(dump_json({"version": 1, "file": str(output), "caption": caption, "panels": panels}), nl=False)
    else:
        click.echo("\n".join([str(output), "", *caption]))
