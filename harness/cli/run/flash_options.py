"""What `harness run --scenario flash` asks and prints beyond other scenarios: options, files, the ablation's table."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.cli.flash.ablate import READERS, parse_bytes

if TYPE_CHECKING:
    from harness.cli._progress import Reporter
    from harness.experiment.plan import Subject
    from harness.target import Target

Command = TypeVar("Command", bound=Callable[..., Any])

# Spelled out here too, so that --help imports no numpy.
POLICIES = ("none", "hybrid", "predictor", "windowing", "bundling", "pipeline")
PREDICTORS = ("exact", "low-rank")
_NUMBERS = {"window": "5", "depth": "32"}
_WORDS = {"policy": (POLICIES, "bundling"), "reader": (READERS, "threads")}
_OPTIONS = (*_NUMBERS, *_WORDS, "predictor", "dram_budget", "peer", "ablate")


def _sizes(ctx: click.Context, option: click.Parameter, value: str | None) -> list[int | None] | None:
    """Numbers of bytes, without repetition."""
    if value is None:
        return None
    return list(dict.fromkeys(parse_bytes(ctx, option, part.strip()) for part in value.split(",")))


def flash_options(command: Command) -> Command:
    """What `run` takes for --scenario flash alone; each is None where it was not given."""
    for option in (
        click.option(
            "--ablate", is_flag=True, default=None, help="flash: every policy, and the table of the ablation."
        ),
        click.option(
            "--peer/--no-peer",
            default=None,
            help="flash: where fio is installed, set the reads against its own of that size and depth, after the first "
            "process of each model: some seconds. [default: peer]",
        ),
        click.option("--depth", metavar="LIST", help="flash: reads at once. Sweeps. [default: 32]"),
        click.option(
            "--reader", metavar="LIST", help=f"flash: what reads: {', '.join(READERS)}. Sweeps. [default: threads]"
        ),
        click.option(
            "--predictor",
            type=click.Choice(PREDICTORS),
            help="flash: how the neurons to read are chosen: by the up projection, kept in DRAM, or by trained "
            "predictors, which miss some. [default: exact]",
        ),
        click.option(
            "--policy",
            metavar="LIST",
            help=f"flash: how far the ablation's steps go: {', '.join(POLICIES)}. Sweeps. [default: bundling]",
        ),
        click.option(
            "--dram-budget", callback=_sizes, metavar="LIST", help="flash: for neurons in DRAM, such as 2MB. Sweeps."
        ),
        click.option("--window", metavar="LIST", help="flash: tokens whose neurons stay in DRAM. Sweeps. [default: 5]"),
    ):
        command = option(command)
    return command


def flash_sweeps(options: dict[str, Any]) -> dict[str, list[Any]]:
    """The fields of a flash job with their values; none of another scenario. Raises UsageError, also where options of
    flash were given to another scenario.
    """
    from harness.errors import UsageError
    from harness.experiment.plan import parse_sweep

    given = [name for name in _OPTIONS if options[name] is not None]
    if options["scenario"] != "flash":
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(f"Only --scenario flash takes {flags}.", "Add --scenario flash, or leave it out.")
        return {}
    if options["ablate"] and options["policy"]:
        raise UsageError("An ablation runs every policy.", "Give --ablate or --policy, not both.")
    sweeps: dict[str, list[Any]] = {name: parse_sweep(options[name] or default) for name, default in _NUMBERS.items()}
    if min(sweeps["depth"]) < 1:
        raise UsageError("At least one read is made at once.", "Give --depth 1 or more.")
    sweeps |= {name: _words(name, options[name] or default, known) for name, (known, default) in _WORDS.items()}
    # Predictors that miss neurons make another model of it, with a quality of its own: they do not sweep.
    return sweeps | {
        "predictor": [options["predictor"] or PREDICTORS[0]],
        "dram_budget_bytes": options["dram_budget"] or [None],
        "peer": [None if options["peer"] is False else True],
    }


def _words(name: str, text: str, known: Sequence[str]) -> list[str]:
    from harness.errors import UsageError

    words = list(dict.fromkeys(text.split(",")))
    if unknown := [word for word in words if word not in known]:
        raise UsageError(f"There is no {name} {unknown[0]!r}.", f"Choose from: {', '.join(known)}.")
    return words


def find_in_flash(
    models: tuple[str, ...], target: Target, options: dict[str, Any], reporter: Reporter
) -> tuple[str, ...]:
    """Files as they are, names as the files of the models in the form that lies in flash, built if need be: anew, too,
    where predictors are asked for and there are none.

    Raises UsageError for a target that cannot read weights from flash, HarnessError with what a build said.
    """
    from harness.errors import UsageError
    from harness.flash.io.proof import HIDDEN_CACHE

    if "flash" not in target.capabilities.scenarios:
        raise UsageError(f"Target {target.name} has no scenario flash here.", "`harness targets` shows what each has.")
    if any((reading.name, reading.value) == ("hypervisor", "yes") for reading in target.environment()):
        reporter.note(HIDDEN_CACHE)
    return tuple(text if os.path.isfile(text) else str(_find(text, options, reporter)) for text in models)


def _find(name: str, options: dict[str, Any], reporter: Reporter) -> Path:
    from harness.children import ending_with_us
    from harness.errors import HarnessError, UsageError
    from harness.flash.language_model.files import neurons_path, predictors_path
    from harness.models.zoo.artifacts import built_flash, known

    if not known(name.removesuffix(".pte")):
        raise UsageError(f"{name} is neither a file nor the name of a model.", "`harness models list` shows the names.")
    name = name.removesuffix(".pte")
    current = built_flash(name)
    if current is not None:
        wanted = [neurons_path(current, "plain"), neurons_path(current, "bundled")]
        wanted += [predictors_path(current)] if options["predictor"] == "low-rank" else []
        if all(path.exists() for path in wanted):
            return current
    reporter.note(f"building {name} with its feed-forward weights in files of their own, once: half a minute")
    command = [sys.executable, "-P", "-m", "harness", "flash", "build", name, *(["--force"] if current else [])]
    command += ["--data", str(options["data"])] if options["data"] else []
    ended = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=ending_with_us())
    if ended.returncode != 0:
        what, _, todo = ended.stderr.strip().rpartition("harness: ")[2].partition("\n")
        raise HarnessError(what, todo)
    return Path(ended.stdout.strip())


def by_policy(subjects: dict[str, Subject]) -> dict[str, Subject]:
    """Each model once a policy, by a name that says both. Its text is that of prompts; the quality of the last policy,
    which has every step, is that of all.
    """
    labelled = [
        (f"{name} {_added(policy)}", subject, policy) for name, subject in subjects.items() for policy in POLICIES
    ]
    return {label: replace(subject, name=label, fields={"policy": policy}) for label, subject, policy in labelled}


def ablation_of(results: Path, session: str, as_json: bool) -> str:
    """The table of the ablation that a session measured, one a model, or its figures as JSON."""
    from harness.flash.ablation.from_results import read_ablation
    from harness.report import flash_ablation as tables

    return tables.stored(read_ablation(results, session), as_json)


def _added(policy: str) -> str:
    return policy if policy in ("none", "hybrid") else f"+ {policy}"
