"""`harness bisect`: the first commit whose model is slower than that of a good one, by interleaved runs."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli._options import results_option


@click.command(short_help="Find the commit that made a model slower.")
@click.argument("good")
@click.argument("bad")
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTIONS OF HARNESS RUN]")
@click.option("--target", "-t", required=True, help="Where to measure; `harness targets` lists them.")
@click.option("--file", metavar="PATH", help="The model file inside the repository.")
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The git repository. [default: that of this folder]",
)
@click.option("--metric", "metric_name", metavar="NAME", help="What must not be worse. [default: median latency]")
@click.option(
    "--min-change",
    type=float,
    default=0.03,
    show_default=True,
    help="Worse by so large a share, at least.",
)
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")
def bisect(
    good: str,
    bad: str,
    run_options: tuple[str, ...],
    target: str,
    file: str | None,
    repository: Path,
    metric_name: str | None,
    min_change: float,
    results: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find the first version after GOOD, up to BAD, that is slower than GOOD beyond what noise does.

    GOOD and BAD are commits of a repository that has the model as --file, or two model files. Every version that is
    tried is measured together with GOOD's, ten interleaved processes each, and where these do not decide twenty and
    forty more (`--processes` says another number, and is not repeated); equal files are measured once.

    \b
    harness bisect v1.0 main --file models/selfcomp.pte -t x86
    harness bisect v1.0 main --file models/selfcomp.pte -t x86 -- --threads 2 --processes 20
    harness bisect yesterday.pte today.pte -t x86
    """
    from harness.cli import bisecting

    bisecting.bisect(
        (good, bad),
        bisecting.request_of(target, run_options),
        file=file,
        repository=repository,
        metric_name=metric_name,
        min_change=min_change,
        results=results,
        as_json=as_json,
        quiet=quiet,
    )
