"""What of a request the runtimes of its models cannot do, said before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import UsageError
from harness.experiment.model_source import Say
from harness.experiment.request import RunRequest
from harness.experiment.runtime_options import check_runtime_options
from harness.runtime import Runtime, compiles
from harness.target import Target


def check_runtimes(
    request: RunRequest,
    target: Target,
    files: Mapping[str, Path],
    runtimes: Mapping[str, Runtime | None],
    say: Say,
) -> None:
    """Says which models something that is asked for does not concern. Raises UsageError for an option that no runtime
    of these models has, and for a profile where none of them times operators.
    """
    check_runtime_options(request, runtimes.values())
    if request.compile:
        _say_what_is_not_compiled(files, runtimes, say)
    if request.profile:
        _say_what_is_not_profiled(request, target, files, runtimes, say)


def profiles(request: RunRequest, target: Target, path: Path, runtime: Runtime | None) -> bool:
    """Whether the operators of a model can be timed: by its runtime, or by its target itself, which knows nothing of
    other interpreters.
    """
    if runtime is None or (path.suffix in target.capabilities.profiled_formats and not request.pythons):
        return target.capabilities.per_operator
    return runtime.capabilities.per_operator


def _say_what_is_not_compiled(files: Mapping[str, Path], runtimes: Mapping[str, Runtime | None], say: Say) -> None:
    others = [name for name, path in files.items() if not compiles(path.suffix)]
    if others:
        say(f"--compile does not concern {_with_runtimes(others, runtimes)}, which cannot be compiled.")


def _say_what_is_not_profiled(
    request: RunRequest,
    target: Target,
    files: Mapping[str, Path],
    runtimes: Mapping[str, Runtime | None],
    say: Say,
) -> None:
    others = [name for name, path in files.items() if not profiles(request, target, path, runtimes[name])]
    if not others:
        return
    named = _with_runtimes(others, runtimes)
    if len(others) == len(files):
        raise UsageError(f"The operators of {named} cannot be timed.", "Leave out --profile.")
    say(f"--profile does not concern {named}, where operators cannot be timed.")


def _with_runtimes(names: Sequence[str], runtimes: Mapping[str, Runtime | None]) -> str:
    """Such as `a, b (torch) and c (executorch)`, in the order of the models."""
    by_runtime: dict[str | None, list[str]] = {}
    for name in names:
        runtime = runtimes[name]
        by_runtime.setdefault(None if runtime is None else runtime.name, []).append(name)
    parts = [f"{', '.join(of)}{f' ({runtime})' if runtime else ''}" for runtime, of in by_runtime.items()]
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
