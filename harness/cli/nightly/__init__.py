"""`harness nightly`: measure every night, watch the series, and alert when a rerun agrees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import _hints
from harness.cli.nightly.examples import EXAMPLES, example

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from harness.nightly.config import NightlyConfig
    from harness.nightly.watch import Watched

# A night may take hours, and one that is held longer than a day should be looked at.
_PATIENCE_S = 86_400.0


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
    is still undecided, the next night looks again. While a published regression stands the exit code is 3.

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
    """Measure a night, then say what changed. Exit codes: 0 fine, 1 a job failed, 2 usage, 3 a regression stands."""
    from harness.cli._progress import Reporter
    from harness.cli._subjects import find_artifacts
    from harness.cli.nightly.subprocess_run import check_options, night_arguments, rerun_arguments, run_session
    from harness.errors import HarnessError
    from harness.nightly.artifacts import keep, kept_file
    from harness.nightly.config import arguments
    from harness.nightly.night import Measured, run_night
    from harness.nightly.verdict import Pair
    from harness.target import find_target

    config = _read(config_file)
    check_options(arguments(config.run), config.target)
    reporter = Reporter(quiet=quiet)
    with _alone(config, reporter.waiting):
        named = (*config.models, *([config.reference] if config.reference else []))
        *files, last = find_artifacts(named, find_target(config.target), reporter).values()
        files, reference = (files, last) if config.reference else ([*files, last], None)

        def measure() -> Measured:
            # Under its hash as its name, by which the series know it.
            kept = [kept_file(config.results, keep(config.results, reference))] if reference else []
            return run_session(night_arguments(config, [str(path) for path in (*files, *kept)]), reporter.note)

        def rerun(pair: Pair, pairs: int) -> str:
            files = f"{pair.good.name[:12]} (good) and {pair.bad.name[:12]}"
            reporter.note(f"measuring again: {files}, {pairs} processes each, interleaved")
            given = rerun_arguments(config.target, config.results, config.run, pair, pairs)
            done = run_session(given, reporter.note)
            if done.session_id is None or done.failed:
                raise HarnessError(done.reason or "The rerun left no session.", "The next night tries again.")
            return done.session_id

        watched = run_night(config, files, measure, rerun)
    _print(watched, as_json, summary)
    if watched.standing:
        ctx.exit(3)
    ctx.exit(0 if watched.last is not None and watched.last.status == "complete" else 1)


@nightly.command()
@_config
@_json
@_summary
@click.pass_context
def status(ctx: click.Context, config_file: Path, as_json: bool, summary: Path | None) -> None:
    """Say again what the nights so far say; measures nothing. Exit code 3 while a published regression stands.

    \b
    harness nightly status nightly.toml --json
    """
    from harness.nightly.watch import look

    watched = look(_read(config_file))
    _print(watched, as_json, summary)
    ctx.exit(3 if watched.standing else 0)


@nightly.command()
@_config
@click.argument("alert", metavar="ID")
@click.option("--reason", metavar="TEXT", help="Why it may stand, for those who ask later.")
def resolve(config_file: Path, alert: str, reason: str | None) -> None:
    """Acknowledge the published regression whose id begins with ID, so that it stands no more.

    \b
    harness nightly resolve nightly.toml 3f9a --reason "the price of the new head"
    """
    from harness.cli._progress import Reporter
    from harness.nightly import watch
    from harness.nightly.night import utc_now

    config = _read(config_file)
    with _alone(config, Reporter(quiet=False).waiting):
        found = watch.resolve(config, alert, reason, utc_now)
    click.echo(f"Alert {found.alert_id} is resolved: {found.reason}.")


@nightly.command("example")
@click.argument("what", type=click.Choice(EXAMPLES))
def example_command(what: str) -> None:
    """Print a configuration, a workflow of GitHub Actions, or a line for crontab.

    \b
    harness nightly example github > .github/workflows/nightly.yml
    """
    click.echo(example(what), nl=False)


def _read(file: Path) -> NightlyConfig:
    from dataclasses import replace

    from harness.cli.nightly.subprocess_run import absolute, run_options
    from harness.nightly.config import read_config

    config = read_config(file, run_options())
    _hints.remember(config.results)
    return replace(config, run=absolute(config.run, file.parent))


def _alone(config: NightlyConfig, on_wait: Callable[[str, str], None]) -> AbstractContextManager[None]:
    """One night at a time in one folder of results: the second waits for the first."""
    import functools
    import hashlib

    from harness.lease import lease

    folder = hashlib.sha256(str(config.results.resolve()).encode()).hexdigest()[:12]
    return lease(f"nights-{folder}", _PATIENCE_S, functools.partial(on_wait, str(config.results)))


def _print(watched: Watched, as_json: bool, summary: Path | None) -> None:
    from harness.errors import StoreError
    from harness.nightly.summary import render_watched

    if summary is not None:
        try:
            with summary.open("a", encoding="utf-8") as file:
                file.write(render_watched(watched, "markdown") + "\n")
        except OSError as error:
            raise StoreError(
                f"The summary {summary} cannot be written ({error.strerror}).", "The night itself is stored."
            ) from error
    click.echo(render_watched(watched, "json" if as_json else "terminal"), nl=False)
