"""Every command that the pages show can be typed: it exists, with those options and choices."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from docs.sources import PAGES, blocks, prose

from harness.cli import cli

INLINE = re.compile(r"`(harness [a-z][^`]*)`")


def typed(text: str) -> list[list[str]]:
    """The words after `harness` of each command: in blocks of shell and in code within sentences."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    lines += [" ".join(code.split()) for code in INLINE.findall(prose(text))]
    parts = [part.strip() for line in lines for part in re.split(r"&&|\|(?=\s)|;", line)]
    found = [shlex.split(part, comments=True) for part in parts if part.startswith("harness ")]
    return [words[1:] for words in found]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the first words name, and what is left of them."""
    command, rest = cli.get_command(click.Context(cli), words[0]), words[1:]
    assert command is not None, f"there is no command harness {words[0]}"
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"there is no {rest[0]} of {command.name}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def check(words: list[str]) -> None:
    """Raise where the words could not be typed."""
    command, rest = command_of(words)
    if ">" in rest:
        rest = rest[: rest.index(">")]
    context = click.Context(command, info_name=command.name, allow_extra_args=True)
    values, _, _ = command.make_parser(context).parse_args(list(rest))
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice) and isinstance(value, str | list):
            for each in [value] if isinstance(value, str) else value:
                parameter.type.convert(each, parameter, context)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_can_be_typed(page: str) -> None:
    for words in typed(PAGES[page]):
        try:
            check(words)
        except click.UsageError as error:
            pytest.fail(f"harness {' '.join(words)}: {error.format_message()}")


def test_commands_are_read_from_blocks_and_from_sentences() -> None:
    """The reader of this test itself: what it looked at, and that it notices what is wrong."""
    assert len([words for text in PAGES.values() for words in typed(text)]) > 100
    assert typed("See `harness report --list`.\n\n```sh\npip install . && harness run -t x86 -m a  # so\n```\n") == [
        ["run", "-t", "x86", "-m", "a"],
        ["report", "--list"],
    ]
    for wrong in (["run", "--targets", "x86"], ["run", "--scenario", "offlin"], ["compare", "--format", "word"]):
        with pytest.raises(click.UsageError):
            check(wrong)
    with pytest.raises(AssertionError):
        check(["models", "bild"])


def test_columns_that_are_shown_are_metrics() -> None:
    from harness.metrics import CATALOGUE

    names = {metric.name for metric in CATALOGUE}
    shown = re.findall(r"(?:-c|--cost) ([a-z0-9_]+)", " ".join(PAGES.values()))
    assert shown
    assert set(shown) <= names
