"""What a worker may say, version 1: JSON Lines on its standard output, the last of them `done` or `error`.

Times are nanoseconds of the worker's monotonic clock, sizes are bytes. A quantity that could not be measured is null
and has a reason. Arrays, not a line a sample. A stream that ends without `done` or `error` is a failed job whatever
the exit code says.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, get_args, get_type_hints

from harness.errors import WorkerError

PROTOCOL = 1
_LIMIT = 1 << 63


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The first event. `versions` names the runtimes; `device` is what the worker can see of where it runs."""

    event: ClassVar[str] = "hello"
    protocol: int
    worker: str
    versions: dict[str, str]
    device: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Describe:
    """What a model file says of itself: methods with their inputs (`harness.model_description`), values of its constant
    methods, delegates, and whether its weights lie in a file of their own.
    """

    event: ClassVar[str] = "describe"
    format: str
    methods: list[dict[str, Any]]
    metadata: dict[str, Any]
    delegates: list[str]
    external_data: bool = False


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The model is ready. `program_ns` opens and verifies the file, `method_ns` prepares the method (delegates,
    arena); null where there is no clock. `sums_may_clip`: sums of its integer products may not fit on this processor.
    `settings`: what the runtime really runs with, by name, asked of the runtime where it can say so: threads, options
    with their defaults, precision hints, flags of its build.
    """

    event: ClassVar[str] = "loaded"
    program_ns: int | None
    method_ns: int | None
    program_bytes: int
    planned_bytes: int | None
    sums_may_clip: bool = False
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Consecutive iterations of one phase: first, warmup, steady, prefill, decode, ttft (time to first token). A phase
    may be reported in several events, one after the other.

    `duration_ns` is null under an emulator, whose clock means nothing; `instructions` where they are not counted.
    """

    event: ClassVar[str] = "samples"
    phase: str
    start_ns: list[int]
    duration_ns: list[int] | None
    instructions: list[int] | None = None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of the worker process when a phase ends; `peak_rss_bytes` is the peak within that phase."""

    event: ClassVar[str] = "memory"
    phase: str
    peak_rss_bytes: int | None
    rss_bytes: int | None
    pss_bytes: int | None
    device_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Io:
    """Storage traffic of a phase: what the program asked for and what the kernel read from the device for it."""

    event: ClassVar[str] = "io"
    phase: str
    asked_bytes: int | None
    read_bytes: int | None
    major_faults: int | None


@dataclass(frozen=True, kw_only=True)
class Ops:
    """One operator of a profile: its total over all `calls`, in nanoseconds."""

    event: ClassVar[str] = "ops"
    operator: str
    delegate: str | None
    calls: int
    total_ns: int


@dataclass(frozen=True, kw_only=True)
class Scalar:
    """One value of the whole job or of a `phase`, with its unit in its name; null with a `reason` where it could not be
    had.
    """

    event: ClassVar[str] = "scalar"
    name: str
    value: float | None
    reason: str | None = None
    phase: str | None = None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The state of the device at a moment of a long job, such as `minute 3`, read when nothing was timed. Each reading
    has a name with its unit and a value as text, or null and a `reason`.
    """

    event: ClassVar[str] = "environment"
    moment: str
    readings: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file of outputs that the worker wrote, and its sha256."""

    event: ClassVar[str] = "output"
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a language model generated after the prompt of that number, counted from 0, in its tokens."""

    event: ClassVar[str] = "answer"
    prompt: int
    tokens: list[int]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far long work has come, for the person who waits; never stored."""

    event: ClassVar[str] = "progress"
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Done:
    """The job is complete."""

    event: ClassVar[str] = "done"


@dataclass(frozen=True, kw_only=True)
class Error:
    """The job cannot be completed. `kind` is a short stable word, `message` a sentence for the user."""

    event: ClassVar[str] = "error"
    kind: str
    message: str
    todo: str = ""


Event = (
    Hello
    | Describe
    | Loaded
    | Samples
    | Memory
    | Io
    | Ops
    | Scalar
    | Environment
    | Output
    | Answer
    | Progress
    | Done
    | Error
)
_EVENTS: dict[str, type[Event]] = {kind.event: kind for kind in get_args(Event)}
_CHECKS: dict[Any, tuple[type, ...]] = {
    int: (int,),
    bool: (bool,),
    str: (str,),
    float | None: (int, float, type(None)),
    int | None: (int, type(None)),
    str | None: (str, type(None)),
    list[int]: (list,),
    list[int] | None: (list, type(None)),
    list[str]: (list,),
    list[dict[str, Any]]: (list,),
    dict[str, str]: (dict,),
    dict[str, Any]: (dict,),
}
_READING = ("name", "value", "reason")
# Resolved once: a stream of a million samples is few events, but a stream of operators is many.
_HINTS = {kind: get_type_hints(kind) for kind in _EVENTS.values()}


def encode(event: Event) -> str:
    """One line of JSON, without its newline. Raises ValueError for NaN and infinities."""
    return json.dumps({"event": event.event, **asdict(event)}, separators=(",", ":"), allow_nan=False)


def decode(line: str) -> Event:
    """The event in a line. Fields unknown to this version are ignored, so that newer workers can say more.

    Raises WorkerError (kind `protocol`) for anything that is not a well-formed event of protocol 1.
    """
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _rubbish(line, "is not JSON") from error
    name = raw.get("event") if isinstance(raw, dict) else None
    kind = _EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _rubbish(line, "names no known event")
    if kind is Hello and type(raw.get("protocol")) is int and raw["protocol"] != PROTOCOL:
        raise WorkerError(
            "protocol",
            f"The worker speaks protocol {raw['protocol']}, this harness speaks {PROTOCOL}.",
            "Install one version of harness on both sides.",
        )
    hints = _HINTS[kind]
    known = {f.name for f in fields(kind)}
    values = {key: value for key, value in raw.items() if key in known}
    for key, value in values.items():
        if not isinstance(value, _CHECKS[hints[key]]) or not (hints[key] is bool or _storable(value)):
            raise _rubbish(line, f"has a wrong `{key}`")
    try:
        event = kind(**values)
    except TypeError as error:
        raise _rubbish(line, "lacks a field") from error
    if isinstance(event, Samples):
        _check_samples(event, line)
    if isinstance(event, Environment):
        _check_readings(event, line)
    return event


def _storable(value: Any) -> bool:
    """Whether a value of a field fits the store: no truth value for a number, 64 bits, finite, whole characters."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -_LIMIT <= value < _LIMIT
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value)


def _check_samples(event: Samples, line: str) -> None:
    arrays = [array for array in (event.start_ns, event.duration_ns, event.instructions) if array is not None]
    if len({len(array) for array in arrays}) != 1:
        raise _rubbish(line, "has arrays of different lengths")
    if not all(type(value) is int and 0 <= value < _LIMIT for array in arrays for value in array):
        raise _rubbish(line, "has a sample that is no count of nanoseconds")


def _check_readings(event: Environment, line: str) -> None:
    for reading in event.readings:
        if not isinstance(reading, dict) or not isinstance(reading.get("name"), str):
            raise _rubbish(line, "has a reading without a name")
        if not all(isinstance(reading.get(key), str | None) and _storable(reading.get(key)) for key in _READING):
            raise _rubbish(line, "has a reading that is no text")


def _rubbish(line: str, why: str) -> WorkerError:
    shown = line[:80] + ("..." if len(line) > 80 else "")
    return WorkerError(
        "protocol",
        f"The worker printed a line that {why}: {shown!r}.",
        "Its standard error, kept with the failed run, may say more (`harness report`).",
    )
