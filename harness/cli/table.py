"""`harness table`: a table for a paper, from what was stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import _completion
from harness.cli._options import results_option
from harness.conditions.fields import FILTERS

if TYPE_CHECKING:
    from harness.report.rendering import PaperFormat


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
def table(
    spec: Path | None,
    models: tuple[str, ...],
    columns: tuple[str, ...],
    baseline: str | None,
    sessions: tuple[str, ...],
    title: str | None,
    label: str | None,
    allow_different: bool,
    results: Path,
    fmt: PaperFormat,
    list_columns: bool,
) -> None:
    """Print a table with models as rows and metrics as columns, as SPEC.toml or the options describe it.

    One column a condition that was measured, and the geometric mean of the ratios over them. Bold is only what can be
    told from all others; n.s. means that the interval of a ratio contains 1.

    \b
    harness table --columns
    harness table --format latex > table.tex
    harness table -m baseline-small -m selfcomp-small -c decode_latency_ns_p50 -c model_bytes,show=ratio -c loss_nats
    harness table paper.toml --format latex
    """
    from harness.analysis.published_figures import read_published
    from harness.analysis.selection import read_selection
    from harness.analysis.spec import parse_column, parse_spec, read_spec

    if list_columns:
        from harness.report.metric_list import render_metrics

        click.echo(render_metrics(), nl=False)
        return
    from harness.errors import UsageError
    from harness.report.paper.table import paper_table
    from harness.report.rendering import render_paper

    options: dict[str, Any] = {
        "models": list(models),
        "columns": [parse_column(column) for column in columns],
        "baseline": baseline,
        "select": {"session": list(sessions)} if sessions else None,
        "title": title,
        "label": label,
        "allow_different": allow_different,
    }
    given = {key: value for key, value in options.items() if value}
    if spec is not None and given:
        raise UsageError(
            f"{spec} and options both say what the table shows.", "Write it all in the file, or leave the file out."
        )
    wanted = read_spec(spec) if spec is not None else parse_spec(given, Path())
    published, notes = read_published(wanted.published)
    click.echo(render_paper(paper_table(read_selection(results, wanted), wanted, published, notes), fmt), nl=False)
