"""What `harness nightly` and `harness bisect` start: `harness run`, as a process that may crash without them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.children import ending_with_us

if TYPE_CHECKING:
    from harness.metrics import Metric
    from harness.nightly.config import NightlyConfig
    from harness.nightly.night import Measured
    from harness.nightly.verdict import Pair

# Set by the night itself; everything else that `harness run` takes may be given.
_OWN = frozenset({"target", "model", "results", "format", "json", "quiet", "ablate", "profile"})
# What the condition of an alert says, so that a sweep is not run again for one of its combinations.
_CONDITION = frozenset({"scenario", "threads", "batch", "prompt-tokens", "new-tokens", "cpus", "precision"})


def run_options() -> tuple[str, ...]:
    """The names of the options of `harness run` that a configuration may give."""
    from harness.cli.run import run

    names = [option.opts[0].removeprefix("--") for option in run.params if isinstance(option, click.Option)]
    return tuple(name for name in names if name not in _OWN)


def check_options(given: Sequence[str], target: str) -> None:
    """Whether `harness run` takes these options. Raises UsageError in its own words."""
    from harness.cli.run import run
    from harness.errors import UsageError

    try:
        run.make_context("harness run", ["--target", target, "--model", "x", *given])
    except click.ClickException as error:
        message = error.format_message().rstrip(".")
        raise UsageError(f"`harness run` would refuse these options: {message}.", "Correct them.") from error


def run_session(given: Sequence[str], say: Callable[[str], None]) -> Measured:
    """`harness run` with these arguments, to its end; its lines of progress go to `say` as they come."""
    from harness.nightly.night import Measured

    command = [sys.executable, "-P", "-m", "harness", "run", *given, "--json"]
    with tempfile.TemporaryFile("w+") as out:  # a pipe that nobody reads would block it
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a Ctrl-C reaches it once, from here
            preexec_fn=ending_with_us(signal.SIGTERM),  # a night that is killed leaves no run that holds the device
        )
        assert process.stderr is not None
        last: list[str] = []
        try:
            for line in process.stderr:
                say(line.rstrip("\n"))
                last = [*last[-19:], line.strip()]
            process.wait()
        except BaseException:
            process.terminate()  # which it takes for a Ctrl-C: the job in hand is recorded
            process.wait()
            raise
        out.seek(0)
        session = _session_of(out.read())
    if session is None:
        return Measured(None, failed=True, reason=_explained(last, process.returncode))
    failed = process.returncode != 0
    return Measured(session, failed, _explained(last, process.returncode) if failed else None)


def night_arguments(config: NightlyConfig, models: Sequence[str]) -> list[str]:
    """How the session of a night is run."""
    from harness.nightly.config import arguments

    return [*_fixed(config.target, config.results, models), *arguments(config.run)]


def rerun_arguments(target: str, results: Path, run: Mapping[str, Any], pair: Pair, new_pairs: int) -> list[str]:
    """How two files are measured again: under the one condition, in the one pass that decides, in so many processes
    each, whatever those of a night are.
    """
    from harness.nightly.config import arguments

    where = pair.condition
    chosen = {
        key: value for key, value in run.items() if key not in {*_CONDITION, "no-quality", "no-memory", "energy-csv"}
    }
    chosen["processes"] = new_pairs
    for key in sorted(_CONDITION):
        value = getattr(where, key.replace("-", "_"))
        if value is not None:
            chosen[key] = value
    chosen |= {"no-quality": True, "no-memory": pair.measure != "memory", "energy": pair.measure == "energy"}
    return [*_fixed(target, results, (str(pair.good), str(pair.bad))), *arguments(chosen)]


def pair_arguments(
    target: str, results: Path, good: Path, bad: Path, metric: Metric, options: Sequence[str], new_pairs: int
) -> list[str]:
    """How `harness bisect` measures two files, in so many processes each."""
    passes = ["--no-quality", *(["--no-memory"] if metric.measure != "memory" else [])]
    passes += ["--energy"] if metric.measure == "energy" else []
    return [*_fixed(target, results, (str(good), str(bad))), *passes, *options, "--processes", str(new_pairs)]


def processes_in(options: Sequence[str], target: str) -> int | None:
    """The `--processes` among these options of `harness run`; None where it is not among them."""
    from harness.cli.run import run

    given = run.make_context("harness run", ["--target", target, "--model", "x", *options]).params["processes"]
    return None if given is None else int(given)


def absolute(run: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The options with files that are given relative to `folder` made absolute."""
    from harness.cli.run import run as command

    files = {option.opts[0].removeprefix("--") for option in command.params if isinstance(option.type, click.Path)}
    return {
        key: str(folder.resolve() / value) if key in files and isinstance(value, str) else value
        for key, value in run.items()
    }


def _fixed(target: str, results: Path, models: Sequence[str]) -> list[str]:
    named = [part for model in models for part in ("--model", model)]
    return ["--target", target, *named, "--results", str(results)]


def _session_of(out: str) -> str | None:
    """The session of the comparison that was printed; None where there is none."""
    try:
        return str(json.loads(out)["data"]["comparisons"][0]["sessions"][0])
    except (ValueError, LookupError, TypeError):
        return None


def _explained(lines: Sequence[str], code: int) -> str:
    """What it said last, or how it ended."""
    said = [number for number, line in enumerate(lines) if line.startswith(("harness: ", "failed "))]
    if said:
        return " ".join(lines[said[-1] :]).removeprefix("harness: ")
    if code < 0:
        return f"`harness run` was ended by {signal.Signals(-code).name}."
    return f"`harness run` ended with exit code {code}: {lines[-1] if lines else 'it said nothing'}"
