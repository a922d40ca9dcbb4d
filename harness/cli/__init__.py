"""The command line. Every command lies in a file of its own and imports what is heavy only when it runs, so that
`harness --help` and shell completion answer at once.
"""

from __future__ import annotations

import importlib
import signal
import sys

import click

from harness import __version__
from harness.cli import _hints, _streams
from harness.errors import HarnessError, Interrupted

COMMANDS = (
    "run",
    "compare",
    "report",
    "table",
    "figure",
    "results",
    "nightly",
    "bisect",
    "flash",
    "models",
    "zoo",
    "targets",
    "devices",
    "doctor",
)


class LazyGroup(click.Group):
    """Imports `harness.cli.NAME` when command NAME is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"harness.cli.{cmd_name}"), cmd_name)
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine, 1 a job failed, 2 usage, 3 nothing comparable, 130 interrupted.",
)
@click.version_option(__version__, package_name="edge-harness", prog_name="harness")
def cli() -> None:
    """What a compressed model really costs on a real device: latency, memory, I/O and quality, with intervals.

    \b
    harness run --target x86 --model baseline --model selfcomp
    """


def main() -> None:
    """Run the command line; print a user's error as its sentences and exit with its code."""
    _streams.prepare()
    # A scheduler's TERM ends a run as Ctrl-C does: the job in hand is recorded, its worker killed.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell in the background has it ignored
        signal.signal(signal.SIGINT, _interrupt)
    try:
        code = cli.main(standalone_mode=False)
        _streams.flush()
    except HarnessError as error:
        code = _explain(error)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        _streams.discard()  # nobody reads any more; say nothing
        code = 1
    except (KeyboardInterrupt, click.Abort):
        code = _explain(Interrupted("interrupted."))
    except Exception:
        if not _interrupted:  # in the middle of an import, which makes something else of it
            raise
        code = _explain(Interrupted("interrupted."))
    for number in (signal.SIGTERM, signal.SIGINT):  # the end itself is quick, and has nothing to say
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)
    sys.exit(code)


_interrupted: list[int] = []


def _interrupt(number: int, frame: object) -> None:
    _interrupted.append(number)
    raise KeyboardInterrupt


def _explain(error: HarnessError) -> int:
    click.echo(f"harness: {_hints.complete(error.message)}", err=True)
    if error.hint:
        click.echo(_hints.complete(error.hint), err=True)
    return error.exit_code
