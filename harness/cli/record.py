"""What `harness report` prints."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from harness.errors import NothingComparable, UsageError
from harness.outside_files import write_whole
from harness.report.page import render_page
from harness.report.record import read_record, render_answers, render_record
from harness.report.rendering import Format
from harness.report.sessions import render_sessions


def report(
    ctx: click.Context,
    results: Path,
    session: str,
    baseline: str | None,
    fmt: Format,
    as_json: bool,
    allow_different: bool,
    list_sessions: bool,
    text: bool,
    html: Path | None,
) -> None:
    """Print every metric, every run with its flags, what failed and why, and the state of the device."""
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}
    if html is not None:
        if unused := given & {"list_sessions", "text", "fmt", "as_json"}:
            names = ", ".join(sorted(option.opts[0] for option in ctx.command.params if option.name in unused))
            raise UsageError(f"--html does not go with {names}.", "A page has one form: leave the others out.")
        _write_page(html, results, session if "session" in given else "all", baseline, allow_different)
        return

    chosen: Format = "json" if as_json else fmt
    if list_sessions:
        click.echo(render_sessions(results, chosen), nl=False)
        return
    record = read_record(results, session, baseline=baseline, allow_different=allow_different)
    if text:
        if not record.answers:
            raise NothingComparable(
                "No answer of a language model is stored in this session.",
                "Answers are kept of prompts that are text: `harness run -m model.pte --prompt 'Once upon a time'`.",
            )
        click.echo(render_answers(record, chosen), nl=False)
        return
    click.echo(render_record(record, chosen), nl=False)


def _write_page(page: Path, results: Path, session: str, baseline: str | None, allow_different: bool) -> None:

    text = render_page(results, session, baseline=baseline, allow_different=allow_different)
    write_whole(page, text, "Name another file with --html.")
    click.echo(page)
