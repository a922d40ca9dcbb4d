"""`harness table`: a table for a paper, from what was stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli import _completion
from harness.cli._options import results_option
from harness.conditions.fields import FILTERS


@click.command(short_help="Make a table for a paper.")
@click.argument("spec", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model", "-m", "models", multiple=True, metavar="NAME", help="A row, in this order. [default: all]")
@click.option(
    "--column",
    "-c",
    "columns",
    multiple=True,
    metavar="METRIC[,KEY=VALUE]...",
    shell_complete=_completion.columns,
    help=f"A column; keys are show (value, ratio, both), header, {', '.join(FILTERS)}.",
)
@click.option("--columns", "list_columns", is_flag=True, help="List what may be a column: each metric with its label.")
@click.option("--baseline", metavar="NAME", help="Set the others against this. [default: the first row]")
@click.option(
    "--session", "sessions", multiple=True, metavar="ID|latest|all", help="Repeat it for several. [default: latest]"
)
@click.option("--title", help="Stands above the table.")
@click.option("--label", help="The table's name in LaTeX and HTML, such as tab:models.")
@click.option("--allow-different", is_flag=True, help="Compare runs of different conditions, with a warning.")
@results_option
@click.option(
    "--format",
    "fmt",
    type=click.Choice(("latex", "markdown", "html", "csv")),
    default="markdown",
    show_default=True,
    help="How to print it.",
)
def table(**options: Any) -> None:
    """Print a table with models as rows and metrics as columns, as SPEC.toml or the options describe it.

    One column a condition that was measured, and the geometric mean of the ratios over them. Bold is only what can be
    told from all others; n.s. means that the interval of a ratio contains 1.

    \b
    harness table --columns
    harness table --format latex > table.tex
    harness table -m baseline-small -m selfcomp-small -c decode_latency_ns_p50 -c model_bytes,show=ratio -c loss_nats
    harness table paper.toml --format latex
    harness table peers.toml --session all
    harness table zoo.toml
    """
    from harness.cli import paper_table

    paper_table.table(**options)
