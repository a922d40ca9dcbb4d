"""The options of `harness run`, made from the fields of `RunRequest`, and its help in sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.cli import _completion
from harness.experiment.options import SECTIONS, Option
from harness.experiment.request import OPTIONS

Command = TypeVar("Command", bound=Callable[..., Any])
_RESULTS_SECTION = "results"
_COMPLETIONS = {"target": _completion.targets, "models": _completion.models}


class SectionedCommand(click.Command):
    """A command whose help has its options in sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options of the request by their section; others with the results."""
        section_of = {each.field: each.section for each in OPTIONS}
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in SECTIONS}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                sections[section_of.get(parameter.name or "", _RESULTS_SECTION)].append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(SECTIONS[name]):
                    formatter.write_dl(records)


def request_options(command: Command) -> Command:
    """Everything that a run may be asked for; each is None where it was not given."""
    for each in reversed(OPTIONS):
        command = _declared(each)(command)
    return command


def some_request_options(*names: str) -> Callable[[Command], Command]:
    """As `request_options`, of the fields of these names alone."""

    def declare(command: Command) -> Command:
        for each in reversed(OPTIONS):
            if each.field in names:
                command = _declared(each)(command)
        return command

    return declare


def given_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that were given on the command line."""
    values: dict[str, Any] = {}
    for each in OPTIONS:
        value = options.get(each.field)
        if value is None or value == ():
            continue
        values[each.field] = not value if each.turns_off else value
    return values


def _declared(each: Option) -> Callable[[Command], Command]:
    flags = [each.flag, *([each.short] if each.short else [])]
    help = each.help if each.scenario is None else f"{each.scenario}: {each.help[:1].lower()}{each.help[1:]}"
    if each.default_words is not None:
        help += f" [default: {each.default_words}]"
    kind = each.kind
    if kind.is_switch:
        return click.option(*flags, each.field, is_flag=True, default=None, help=help)
    kinds: Any = str
    if kind.choices:
        kinds = click.Choice(kind.choices)
    elif kind.is_file:
        kinds = click.Path(path_type=Path, dir_okay=False, exists=kind.must_exist)
    return click.option(
        *flags,
        each.field,
        type=kinds,
        metavar=kind.metavar,
        multiple=kind.repeats,
        help=help,
        shell_complete=_COMPLETIONS.get(each.field),
    )
