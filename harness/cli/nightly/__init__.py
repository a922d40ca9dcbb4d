"""`harness nightly`: measure every night, watch the series, and alert when a rerun agrees."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.nightly.examples import EXAMPLES, example


class _RunByDefault(click.Group):
    """`harness nightly CONFIG.toml` is `harness nightly run CONFIG.toml`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and args[0].endswith(".toml"):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


_config = click.argument("config_file", metavar="CONFIG.toml", type=click.Path(path_type=Path, dir_okay=False))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_summary = click.option(
    "--summary",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="Add the night to this file as Markdown; $GITHUB_STEP_SUMMARY in a workflow.",
)


@click.group(cls=_RunByDefault, short_help="Measure every night; alert on regressions that a rerun confirms.")
def nightly() -> None:
    """Measure the models of a configuration every night, and watch every figure for a change.

    A change for the worse is a provisional alert, from the fifth night on raised on the night itself. The file of
    tonight and that of the last good night are then measured again, interleaved, in 10 pairs of processes, and where
    these do not decide in 20 and 40 more. The alert is published (regression) or withdrawn (no regression); where it
    is still undecided, the next night looks again. While a published regression is unresolved the exit code is 3.

    \b
    harness nightly example config > nightly.toml
    harness nightly nightly.toml
    harness nightly status nightly.toml
    """


@nightly.command("run")
@_config
@_json
@_summary
@click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")
@click.pass_context
def run_command(ctx: click.Context, config_file: Path, as_json: bool, summary: Path | None, quiet: bool) -> None:
    """Measure a night, then say what changed. Exit codes: 0 fine, 1 a job failed, 2 usage, 3 a regression is
    unresolved.
    """
    from harness.cli.nightly import commands

    watched = commands.measure_night(config_file, quiet=quiet)
    commands.show(watched, summary, as_json=as_json)
    if watched.standing:
        ctx.exit(3)
    ctx.exit(0 if watched.last is not None and watched.last.status == "complete" else 1)


@nightly.command()
@_config
@_json
@_summary
@click.option("--quiet", "-q", is_flag=True, expose_value=False, help="As of `nightly run`; there is no progress here.")
@click.pass_context
def status(ctx: click.Context, config_file: Path, as_json: bool, summary: Path | None) -> None:
    """Say again what the nights so far say; measures nothing. Exit code 3 while a published regression is
    unresolved.

    \b
    harness nightly status nightly.toml --json
    """
    from harness.cli.nightly import commands

    watched = commands.look(config_file)
    commands.show(watched, summary, as_json=as_json)
    ctx.exit(3 if watched.standing else 0)


@nightly.command()
@_config
@click.argument("alert", metavar="ID")
@click.option("--reason", metavar="TEXT", help="Why it is accepted, for those who ask later.")
def resolve(config_file: Path, alert: str, reason: str | None) -> None:
    """Acknowledge the published regression whose id begins with ID, so that it is resolved.

    \b
    harness nightly resolve nightly.toml 3f9a --reason "the price of the new head"
    """
    from harness.cli.nightly import commands

    click.echo(commands.resolve(config_file, alert, reason))


@nightly.command("example")
@click.argument("what", type=click.Choice(EXAMPLES))
def example_command(what: str) -> None:
    """Print a configuration, a workflow of GitHub Actions, or a line for crontab.

    \b
    harness nightly example github > .github/workflows/nightly.yml
    """
    click.echo(example(what), nl=False)
