"""Parts of pages that are written from the code when the site is built: metrics, flags, columns, options.

MkDocs calls `on_page_markdown` for each page (`hooks` in mkdocs.yml). A page asks for a part by a line that ends
with `<!-- generated: NAME -->`, NAME being one of `PARTS`. So each fact stands in one place, the code. Without the
site,

    python docs/generate.py NAME

prints a part as Markdown.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any, get_args

import click

from harness import protocol
from harness.analysis import flags
from harness.api.result import TABLE_COLUMNS
from harness.cli import cli
from harness.cli.nightly.examples import example
from harness.experiment.request import OPTIONS
from harness.metrics import CATALOGUE, SECTIONS
from harness.metrics.metric import Metric
from harness.scenarios.catalogue import SCENARIOS
from harness.store import schemas

MARK = re.compile(r"^.*<!-- generated: ([a-z]+) -->$", re.MULTILINE)
BETTER = {"lower": "lower", "higher": "higher", None: "–"}
COMPARED = {"ratio": "ratio", "difference": "difference", None: "–"}
KINDS = {"_TIME": "UTC time", "bool_": "bool", "list_(string)": "list of strings", "list_(int64)": "list of int64"}
COLUMN = re.compile(r'^ *\("(?P<name>\w+)", (?P<type>[\w.()]+)\),(?: +# (?P<why>.*))?$')


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table. A bar outside of code would end a cell, so such bars are escaped."""
    heading = list(heading)
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


def cell(text: str) -> str:
    """Text of a cell. Every second part between backticks is code, which stays as it is."""
    parts = text.split("`")
    return "`".join(part if index % 2 else part.replace("|", r"\|") for index, part in enumerate(parts))


def metrics() -> str:
    """Every metric of the catalogue, in the order and under the headings of a printed table."""
    parts = []
    for section in SECTIONS:
        rows = [metric_row(metric) for metric in CATALOGUE if metric.section == section]
        if rows:
            heading = ("metric", "label in tables", "unit", "better", "compared as", "pass", "shown")
            parts.append(f"## {section}\n\n{table(heading, rows)}")
    return "\n".join(parts)


def metric_row(metric: Metric) -> list[str]:
    """The facts of one metric."""
    shown = "full report only" if not metric.main else "where known" if metric.where_known else "always"
    unit = "–" if metric.unit == "1" else metric.unit
    facts = [metric.label, unit, BETTER[metric.better], COMPARED[metric.compare], metric.measure, shown]
    return [f"`{metric.name}`", *facts]


def flag_names() -> list[str]:
    """Every flag that a run may carry."""
    return list(flags._MEANINGS)


def all_flags() -> str:
    """Every flag: what it means and what to do."""
    rows = ([f"`{name}`", flags.meaning(name), flags.advice(name) or "–"] for name in flag_names())
    return table(("flag", "what happened", "what to do"), rows)


def columns() -> str:
    """Every column of every table of the store, with the comment that it has in the code."""
    text = inspect.getsource(schemas)
    parts = []
    for name in (*schemas.TABLES, *schemas.LEDGERS):
        ((_, body),) = re.findall(rf"^({name.upper()}) = pa\.schema\(\n    \[\n(.*?)\n    \]", text, re.M | re.S)
        rows = [[f"`{column}`", kind, why] for column, kind, why in described(body.splitlines())]
        parts.append(f"### `{name}`\n\n{table(('column', 'type', 'what it is'), rows)}")
    return "\n".join(parts)


def described(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Name, type and comment of each column; a comment stands behind it or on the lines above."""
    above: list[str] = []
    for line in lines:
        if line.strip().startswith("#"):
            above.append(line.strip(" #"))
        elif match := COLUMN.match(line):
            kind = match["type"].replace("pa.", "").replace("()", "")
            yield match["name"], KINDS.get(kind, kind), match["why"] or " ".join(above)
            above = []


def scenarios() -> str:
    """Every scenario with the queries that a process is asked at least."""
    rows = ([f"`{each.name}`", each.summary, str(each.queries) if each.repeats else "1"] for each in SCENARIOS.values())
    return table(("scenario", "what it does", "queries per process, at least"), rows)


def commands() -> str:
    """Every command with its options."""
    return "\n".join(command_part(words, command) for words, command in all_commands())


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that can be called, groups before their members, with the words that call it."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield f"harness {name}", command
        for sub, member in getattr(command, "commands", {}).items():
            yield f"harness {name} {sub}", member


def command_part(words: str, command: click.Command) -> str:
    """What one command does and every option of it."""
    with click.Context(command, info_name=words) as context:
        usage = " ".join(command.collect_usage_pieces(context))
        text = inspect.cleandoc(command.help or command.short_help or "")
        rows = [option_row(option, context) for option in command.params if isinstance(option, click.Option)]
    prose = "\n\n".join(paragraph(part) for part in text.split("\n\n"))
    return f"## `{words}`\n\n```text\n{words} {usage}\n```\n\n{prose}\n\n{table(('option', 'what it does'), rows)}"


def paragraph(part: str) -> str:
    r"""Prose as it is; what click must not wrap (`\b`) is a block of commands."""
    if part.startswith("\b\n"):
        return f"```sh\n{part[2:]}\n```"
    return part.replace("<", "&lt;")


def option_row(option: click.Option, context: click.Context) -> list[str]:
    """Names and help of an option, with its default and range as `--help` shows them; choices stand with the help."""
    names, text = option.get_help_record(context) or (", ".join(option.opts), "")
    if isinstance(option.type, click.Choice):
        names, text = ", ".join(option.opts), f"{' or '.join(f'`{each}`' for each in option.type.choices)}. {text}"
    if option.secondary_opts:
        names = f"{', '.join(option.opts)}, {', '.join(option.secondary_opts)}"
    return [f"`{names}`", text.replace("<", "&lt;").replace("[", "\\[")]


def events() -> str:
    """Every event of the worker protocol, with its fields; those with a default may be left out."""
    rows = []
    for kind in get_args(protocol.Event):
        names = [f"`{each.name}`" + ("" if each.default is each.default_factory else "?") for each in fields(kind)]
        rows.append([f"`{kind.event}`", ", ".join(names) or "–", " ".join(inspect.cleandoc(kind.__doc__).split())])
    return table(("event", "fields (?: may be left out)", "what it says"), rows)


def result_columns() -> str:
    """The columns of `Result.table`."""
    return table(("column", "what it is"), ([f"`{name}`", text] for name, text in TABLE_COLUMNS.items()))


def request_fields() -> str:
    """Every field of `RunRequest`, with its option on the command line."""
    rows = (
        [
            f"`{each.field}`",
            f"`{each.flag}`",
            (f"{each.scenario}: " if each.scenario else "") + each.help.replace("<", "&lt;"),
            each.default_words or "–",
        ]
        for each in OPTIONS
    )
    return table(("field", "option", "what it says", "default"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "metrics": metrics,
    "flags": all_flags,
    "columns": columns,
    "scenarios": scenarios,
    "commands": commands,
    "events": events,
    "resulttable": result_columns,
    "request": request_fields,
    "nightly": lambda: f"```toml\n{example('config')}```\n",
}


def fill(markdown: str) -> str:
    """The text of a page with its parts in place of the lines that ask for them."""
    return MARK.sub(lambda match: PARTS[match[1]](), markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for each page."""
    return fill(markdown)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PARTS:
        sys.exit(f"Name one part: {', '.join(PARTS)}.")
    print(PARTS[sys.argv[1]](), end="")
