"""What the core asks of a runtime, and how it finds one: by the entry-point group `harness.runtimes`.

A runtime reads a model file and executes it inside the Python worker. It declares which formats it loads, on which
devices, and what it can measure; targets, the worker and the contract suite ask these capabilities and never test a
name. A third party adds a runtime with an entry point of its own, which names a module or a class.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from harness.errors import ModelError, UsageError
from harness.job import Files, Job
from harness.protocol import Describe, Event, Loaded, Ops
from harness.scenarios.queries import Series
from harness.target import Availability

GROUP = "harness.runtimes"
_GREATEST = 2**31 - 1
Execute = Callable[[Sequence[Any]], Sequence[Any]]
Arrange = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class RuntimeOption:
    """Something of a runtime that can be set with `--runtime-option NAME=VALUE`, and that changes what is measured.

    `values` are those that it may have; none of them: a whole number from `least`. `default` is what the runtime's
    users get who say nothing, or what harness chooses in its place, which `help` then gives the reason for.
    """

    name: str
    default: str
    help: str
    values: tuple[str, ...] = ()
    least: int = 0


@dataclass(frozen=True, kw_only=True)
class RuntimeCapabilities:
    """What a runtime loads and what it can measure.

    `formats` are suffixes of the files that it loads; those `on_request` it loads only where `--runtime` names it,
    since another runtime is the usual one for them. `devices`: `cpu`, `cuda`. `distributions` are the Python packages
    that it needs, whose versions are recorded; `install` says what to do where one is missing. `weights` are names of
    the file next to a model that holds its weights where the model itself does not (`Describe.external_data`), with
    `{stem}` or `{name}` of the model in them; the first is its own, the others are those that exporters give any model.
    `modes` are values of
    `--runtime` besides its name, ways in which it executes. `precisions` are those that it can be asked to compute in.

    `compiles`: it can compile a model before it runs it, as `--compile` asks. `generates`: it runs language models.
    `arrays`: it needs no torch, and `arrange` takes arrays of numpy as well as tensors: its memory is then measured in
    a process that never imports torch.
    `options`: what can be set of it besides (`option_values`).
    `planned_bytes`: it knows the size of its arena before it runs. `per_operator`: it times operators itself, in the
    profile pass. `outputs`: its outputs can be read, so that they can be compared.
    """

    formats: tuple[str, ...]
    on_request: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    distributions: tuple[str, ...] = ()
    install: str = ""
    weights: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    compiles: bool = False
    generates: bool = False
    arrays: bool = False
    planned_bytes: bool = False
    per_operator: bool = False
    outputs: bool = True
    options: tuple[RuntimeOption, ...] = ()

    def __post_init__(self) -> None:
        """A text is a sequence too: ("numpy") would stand for five distributions of one letter."""
        for name, value in vars(self).items():
            if isinstance(value, str) and name != "install":
                raise TypeError(f"{name} is the text {value!r}, not a tuple: write ({value!r},)")


class Probe(Protocol):
    """What a device that is not the processor says besides the host's clock."""

    def clear(self) -> None:
        """What follows is measured."""
        ...

    def measured(self, phases: Mapping[str, Series]) -> Iterable[Event]:
        """What the device says of the queries since `clear`, whose durations are in `phases`."""
        ...

    def adding_state(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """`emit`, with the device's state added to the host's wherever that is emitted."""
        ...

    def memory(self, phase: str) -> Iterable[Event]:
        """The device's memory at the end of a phase."""
        ...


def as_given(inputs: Sequence[Any]) -> Sequence[Any]:
    """What a program takes that takes its inputs one by one, as tensors of torch."""
    return inputs


@dataclass(frozen=True)
class LoadedModel:
    """`execute` runs the method that is timed: inputs in, outputs out, nothing of ours in between. It returns when the
    outputs are there; they are tensors of torch, arrays of numpy or numbers.

    `all_logits`, where the model has one, maps tokens int64 [1, T] to the logits float32 [1, T, vocabulary] of every
    position, and `window` is its T. `probe` is that of the device, where it is not the processor. `arrange` makes of a
    flat list of inputs (tensors of torch, arrays of numpy for a runtime that takes `arrays`, numbers) what `execute`
    takes, before anything is timed: arrays of numpy, or inputs by name. `operators` are the times of the operators
    since the model was loaded for a job whose pass is
    `profile`.
    """

    description: Describe
    loaded: Loaded
    execute: Execute
    all_logits: Execute | None = None
    window: int | None = None
    probe: Probe | None = None
    arrange: Arrange = as_given
    operators: Callable[[], Iterable[Ops]] | None = None


class Runtime(Protocol):
    """What a worker asks of a runtime. Importing its module and reading `capabilities` must not import the library
    behind it: workers of other runtimes do so too.
    """

    @property
    def name(self) -> str:
        """That of its entry point."""
        ...

    @property
    def capabilities(self) -> RuntimeCapabilities: ...

    def start(self, device: str) -> dict[str, str]:
        """Import all that the runtime itself needs and make the device ready, so that loading a model is charged for
        the model alone. The versions of what is beneath it, by name; those of `distributions` are known already.
        """
        ...

    def describe(self, path: Path) -> Describe:
        """What the file says of itself: methods, their inputs and outputs (`harness.model_description`), metadata.
        Raises ModelError for a file that is damaged.
        """
        ...

    def load(self, path: Path, job: Job, files: Files) -> LoadedModel:
        """Load the model with `job.threads` threads, in `job.precision`, compiled where `job.compile` says so, and time
        that. Raises ModelError for a file that is damaged, UsageError for a method (`job.method`) that it does not
        have.
        """
        ...


@runtime_checkable
class Preparing(Protocol):
    """What a runtime may have besides: something to be done before a load is timed."""

    def prepare(self, path: Path) -> None:
        """Load what the model needs and is no part of it, such as libraries of operators. Must not read its weights: a
        cold start must find the file cold. Raises ModelError for a library that there is not.
        """
        ...


@runtime_checkable
class Probed(Protocol):
    """What a runtime may have besides: a device of its own to ask for its time and its memory."""

    @property
    def probe(self) -> Probe: ...


@runtime_checkable
class Conditional(Protocol):
    """What a runtime may have besides: something that it needs here beyond its distributions."""

    def availability(self) -> Availability:
        """Whether it can be used here; quick, without importing its library."""
        ...


def runtime_names() -> list[str]:
    """The names of all installed runtimes, sorted."""
    return sorted(_entry_points())


def find_runtime(name: str) -> Runtime:
    """The runtime of that name. Raises UsageError listing the others when there is none, or when it cannot be
    imported.
    """
    points = _entry_points()
    if name not in points:
        raise UsageError(
            f"There is no runtime {name!r}.", f"Choose one of: {', '.join(sorted(points))} (`harness targets`)."
        )
    return _load(points[name])


def installed_runtimes() -> list[Runtime]:
    """All runtimes by name, whether they are available here or not; those that cannot be imported are left out."""
    runtimes = []
    for _, point in sorted(_entry_points().items()):
        with contextlib.suppress(UsageError):
            runtimes.append(_load(point))
    return runtimes


def runtimes_on(device: str) -> list[Runtime]:
    """Those of `installed_runtimes` that serve a device."""
    return [runtime for runtime in installed_runtimes() if device in runtime.capabilities.devices]


def availability(runtime: Runtime) -> Availability:
    """Whether a runtime can be used here, by its distributions and its own word; if not, why and what to install."""
    can = runtime.capabilities
    if missing := [name for name in can.distributions if _version(name) is None]:
        reason = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        return Availability(False, reason, can.install or f"pip install {' '.join(missing)}")
    return runtime.availability() if isinstance(runtime, Conditional) else Availability(True)


def distribution_versions(runtime: Runtime) -> dict[str, str]:
    """The versions of the distributions that a runtime needs, by name."""
    versions = {name: _version(name) for name in runtime.capabilities.distributions}
    return {name: number for name, number in versions.items() if number is not None}


@dataclass(frozen=True)
class RuntimeChoice:
    """What the runtimes of a device offer together, for the capabilities of a target: suffixes of files, precisions,
    the names of the runtimes, and all values that `--runtime` may have for them.
    """

    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    names: tuple[str, ...]
    values: tuple[str, ...]


def runtime_choice(device: str, preferred: str) -> RuntimeChoice:
    """Of the runtimes that serve `device`. Formats and precisions are those of runtimes that are available here; the
    `preferred` format, which a model that is named without a suffix is built in, comes first.
    """
    runtimes = runtimes_on(device)
    usable = [runtime.capabilities for runtime in runtimes if availability(runtime).available]
    formats = {suffix for can in usable for suffix in (*can.formats, *can.on_request)}
    names = [runtime.name for runtime in runtimes]
    return RuntimeChoice(
        formats=tuple(sorted(formats, key=lambda suffix: (suffix != preferred, suffix))),
        precisions=tuple(dict.fromkeys(precision for can in usable for precision in can.precisions)),
        names=tuple(names),
        values=tuple(dict.fromkeys([*names, *(mode for runtime in runtimes for mode in runtime.capabilities.modes)])),
    )


def runtime_for(path: Path, device: str, wanted: str | None = None) -> Runtime:
    """The runtime for a file on a device: the one that `wanted` names, itself or a mode of it, else the usual one of
    the file's format.

    Raises ModelError for a file that is not there or of no format that is loaded here, UsageError for a runtime that
    there is not, that does not load the file or is not available here, and where several claim the format.
    """
    runtimes = runtimes_on(device)
    if wanted is not None:
        runtimes = [runtime for runtime in runtimes if _is_named(runtime, wanted)]
        if not runtimes:
            find_runtime(wanted)  # it may be one that cannot be imported
            raise UsageError(f"Runtime {wanted} does not run on {device}.", "Leave out --runtime, or choose another.")
    suffixes = {runtime.name: _suffixes(runtime, by_name=wanted is not None) for runtime in runtimes}
    loading = [runtime for runtime in runtimes if path.suffix in suffixes[runtime.name]]
    if not loading:
        known = ", ".join(sorted({suffix for own in suffixes.values() for suffix in own}))
        if wanted is not None:
            raise UsageError(f"Runtime {wanted} loads {known}, not {path.name}.", "Leave out --runtime for this model.")
        raise ModelError(f"{path} is of no format this worker loads ({known}).", "Export it to one of these.")
    if not path.exists():
        raise ModelError(f"{path} does not exist.", "Check the path.")
    usable = [runtime for runtime in loading if availability(runtime).available]
    if not usable:
        state = availability(loading[0])
        raise UsageError(f"{loading[0].name}, which loads {path.name}, is not available: {state.reason}.", state.todo)
    if len(usable) > 1:
        names = [runtime.name for runtime in usable]
        raise UsageError(
            f"Several runtimes load {path.name}: {', '.join(names)}.", f"Choose one: --runtime {names[0]}."
        )
    return usable[0]


def loading_runtime(suffix: str, names: Sequence[str], wanted: str | None = None) -> Runtime | None:
    """The runtime that loads files with this suffix, of those called `names`: the one that `wanted` names, where that
    `concerns` them, else the usual one. None where there is none here, or several claim the format.
    """
    runtimes = [runtime for runtime in installed_runtimes() if runtime.name in names]
    named = [runtime for runtime in runtimes if wanted is not None and _is_named(runtime, wanted)]
    loading = [runtime for runtime in named if suffix in _suffixes(runtime, by_name=True)]
    loading = loading or [runtime for runtime in runtimes if suffix in _suffixes(runtime, by_name=False)]
    usable = [runtime for runtime in loading if availability(runtime).available]
    return usable[0] if len(usable) == 1 else None


def concerns(wanted: str, suffix: str) -> bool:
    """Whether `--runtime wanted` is about files with this suffix: not where it names a runtime, or a mode of one, that
    does not load them.
    """
    named = [runtime for runtime in installed_runtimes() if _is_named(runtime, wanted)]
    return not named or any(suffix in _suffixes(runtime, by_name=True) for runtime in named)


def weight_files(model: Path) -> list[Path]:
    """Where the weights of a model lie if it does not hold them itself, its own name first; empty where no runtime that
    loads such files knows of any.
    """
    loading = [runtime for runtime in installed_runtimes() if model.suffix in _suffixes(runtime, by_name=True)]
    names = [name for runtime in loading for name in runtime.capabilities.weights]
    return [model.with_name(name.format(stem=model.stem, name=model.name)) for name in dict.fromkeys(names)]


def compiles(suffix: str) -> bool:
    """Whether a runtime that loads files with this suffix can compile them."""
    return any(
        runtime.capabilities.compiles and suffix in _suffixes(runtime, by_name=True) for runtime in installed_runtimes()
    )


def with_runtime(job: Job, chosen: str | None, model: Path) -> Job:
    """A job as the worker gets it: where it names no runtime (a description does not), it is for the one that its
    target was `chosen` with, if that concerns the format of the model.
    """
    if job.runtime is not None or chosen is None or not concerns(chosen, model.suffix):
        return job
    return replace(job, runtime=chosen)


def unloadable_runtimes() -> list[str]:
    """Why a runtime that is installed cannot be imported, a sentence for each."""
    reasons = []
    for _, point in sorted(_entry_points().items()):
        try:
            _load(point)
        except UsageError as error:
            reasons.append(error.message)
    return reasons


def missing_runtime(suffix: str, names: Sequence[str]) -> Availability | None:
    """Why none of the runtimes `names` loads files with this suffix here, though one would, and what to install; None
    where none would.
    """
    runtimes = [runtime for runtime in installed_runtimes() if runtime.name in names]
    states = [availability(runtime) for runtime in runtimes if suffix in _suffixes(runtime, by_name=True)]
    return next((state for state in states if not state.available), None)


def check_precision(runtime: Runtime, precision: str | None) -> None:
    """Raises UsageError for a precision that a runtime cannot be asked to compute in."""
    known = runtime.capabilities.precisions
    if precision is None or precision in known:
        return
    if known:
        raise UsageError(f"There is no precision {precision!r} here.", f"Choose one of: {', '.join(known)}.")
    raise UsageError(f"{runtime.name} computes in the file's own precision.", "Leave out --precision.")


def option_values(can: RuntimeCapabilities, job: Job) -> dict[str, str]:
    """The values of all options of a runtime for a job, by name: the given ones, defaults for the others.

    Raises UsageError for an option that it does not have, or a value that the option cannot have.
    """
    options = {option.name: option for option in can.options}
    for name, value in job.runtime_options or ():
        if name not in options:
            known = f"Choose one of: {', '.join(options)}." if options else "Leave out --runtime-option."
            raise UsageError(f"The runtime has no option {name!r}.", known)
        check_option(options[name], value)
    return {name: option.default for name, option in options.items()} | dict(job.runtime_options or ())


def check_option(option: RuntimeOption, value: str) -> None:
    """Raises UsageError for a value that an option of a runtime cannot have."""
    if option.values and value not in option.values:
        raise UsageError(f"{option.name} cannot be {value!r}.", f"Choose one of: {', '.join(option.values)}.")
    whole = value.isascii() and value.isdigit() and value == str(int(value))  # 064 would be another job than 64
    if not option.values and not (whole and option.least <= int(value) <= _GREATEST):
        raise UsageError(f"{option.name} cannot be {value!r}.", f"Give a whole number, {option.least} or more.")


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _load(point: EntryPoint) -> Runtime:
    try:
        loaded = point.load()
        runtime: Runtime = loaded() if isinstance(loaded, type) else loaded
        if not isinstance(runtime.capabilities, RuntimeCapabilities):
            raise TypeError("its capabilities are no RuntimeCapabilities")
        if runtime.name != point.name:
            raise ValueError(f"it calls itself {runtime.name!r}")
    except Exception as error:  # somebody else's code: whatever it raises, the other runtimes work
        raise UsageError(
            f"Runtime {point.name!r} cannot be loaded ({error}).", "Install its package again, or remove it."
        ) from error
    return runtime


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _is_named(runtime: Runtime, wanted: str) -> bool:
    return wanted == runtime.name or wanted in runtime.capabilities.modes


def _suffixes(runtime: Runtime, *, by_name: bool) -> tuple[str, ...]:
    """The formats that a runtime loads, with those `on_request` where it is asked for by name."""
    can = runtime.capabilities
    return (*can.formats, *(can.on_request if by_name else ()))
