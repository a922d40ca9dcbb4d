"""Which options of runtimes hold for which model of a run, before anything is measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from harness.errors import UsageError
from harness.experiment.request import RunRequest
from harness.runtime import Runtime, RuntimeOption, check_option

Values = tuple[tuple[str, str], ...]
"""As `Job.runtime_options` has them."""


def check_runtime_options(request: RunRequest, runtimes: Iterable[Runtime | None]) -> None:
    """Raises UsageError for an option that no runtime of these models has, with the nearest names, and for a value that
    it cannot have.
    """
    if not request.runtime_options:
        return
    known = {runtime.name: runtime for runtime in runtimes if runtime is not None}
    if request.ablate and any(len(values) > 1 for _, values in request.runtime_options):
        raise UsageError("An ablation has one condition, and its policies differ.", "Give each option one value.")
    for name, values in request.runtime_options:
        having = [(runtime, option) for runtime in known.values() if (option := _option(runtime, name)) is not None]
        if not having:
            raise UsageError(f"No runtime of these models has an option {name!r}.", _instead(name, known.values()))
        for runtime, option in having:
            for value in values:
                try:
                    check_option(option, value)
                except UsageError as error:
                    raise UsageError(f"{runtime.name}: {error.message}", error.hint) from error


def option_combinations(request: RunRequest, runtime: Runtime | None) -> list[Values | None]:
    """Every combination of the values of those options that a runtime has, as its jobs have them: sorted, and without
    those that are defaults, so that a job is the same whether one writes its defaults or not. None: all are defaults.
    """
    if runtime is None:
        return [None]
    swept: dict[str, tuple[str, ...]] = {}
    for name, values in sorted(request.runtime_options, key=lambda pair: "." in pair[0]):  # RUNTIME.NAME counts more
        if (option := _option(runtime, name)) is not None:
            swept[option.name] = values
    defaults = {option.name: option.default for option in runtime.capabilities.options}
    combinations = [
        tuple(sorted((name, value) for name, value in zip(swept, values, strict=True) if value != defaults[name]))
        for values in itertools.product(*swept.values())
    ]
    return [combination or None for combination in dict.fromkeys(combinations)]


def _option(runtime: Runtime, name: str) -> RuntimeOption | None:
    """The option of a runtime that is called so, or `RUNTIME.NAME`."""
    options = runtime.capabilities.options
    return next((option for option in options if name in (option.name, f"{runtime.name}.{option.name}")), None)


def _instead(name: str, runtimes: Iterable[Runtime]) -> str:
    names = {runtime.name: [option.name for option in runtime.capabilities.options] for runtime in runtimes}
    every = list(dict.fromkeys(option for options in names.values() for option in options))
    if not every:
        return f"{_listed(list(names)) or 'What runs them'} has no options: leave out --runtime-option."
    if near := get_close_matches(name.rpartition(".")[2], every, n=3):
        return f"Perhaps you mean {' or '.join(near)}."
    return f"There are: {'; '.join(f'{runtime}: {_listed(options)}' for runtime, options in names.items() if options)}."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
