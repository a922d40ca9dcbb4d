"""What every compression method is: a name, options of its own type, and a function. One that acts on a trained model
(`Method`) has

    run: (model, calibration, options) -> weights

and one that is learned in training (`TrainedMethod`) changes the model before it, and reads its weights after it:

    start: (model, options) -> training, training.weights() -> weights

A third party adds one with an entry point of the group `harness.compression` that names either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_type_hints

from torch import Tensor, nn

from harness.errors import UsageError
from harness.models.compress.calibration import Calibration
from harness.models.compress.stored import Stored

if TYPE_CHECKING:
    from harness.models.compress.training import Training

GROUP = "harness.compression"
EIGHT_BIT = "after training, 8 bit"
FEW_BITS = "after training, 4 bit and less"
LOW_RANK = "low rank"
SHARING = "sharing"
IN_TRAINING = "in training"
ADAPTERS = "adapters"
FAMILIES = (EIGHT_BIT, FEW_BITS, IN_TRAINING, ADAPTERS, LOW_RANK, SHARING)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every method takes.

    `skip` names layers that are left as they are, as patterns of a shell (`blocks.0.*`). `embedding_bits` stores
    embeddings in so many bits, a step for each row (absmax); None leaves them.
    """

    skip: tuple[str, ...] = ()
    embedding_bits: int | None = None

    def __post_init__(self) -> None:
        if self.embedding_bits is not None:
            check_range("embedding_bits", self.embedding_bits, 2, 8)


OptionsType = TypeVar("OptionsType", bound=Options)


@dataclass
class Weights:
    """What a method makes of a model.

    `layers` are the compressed layers by name; `changed` other parameters that it changed, by their full name, such as
    the norm that takes the inverse of a scale; `scales` float32 [in] what the columns of a layer were multiplied by
    before it was compressed; `left` says of each layer with a matrix of weights that was left as it
    is why; `facts` what else belongs into the record (JSON values).
    """

    layers: dict[str, Stored]
    changed: dict[str, Tensor] = field(default_factory=dict)
    scales: dict[str, Tensor] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AnyMethod(Generic[OptionsType]):
    """What `Method` and `TrainedMethod` share. `source` is the paper that defines it."""

    name: str
    family: str
    options: type[OptionsType]
    source: str

    def parse(self, given: Mapping[str, Any]) -> OptionsType:
        """The options from their names and values. Raises UsageError for an unknown, missing or impossible one."""
        known = {option.name: option for option in fields(self.options)}
        for name in given:
            if name not in known:
                raise UsageError(f"{self.name} has no option {name!r}.", f"Choose from: {', '.join(known)}.")
        kinds = get_type_hints(self.options)
        for name, option in known.items():
            if name not in given and option.default is MISSING and option.default_factory is MISSING:
                raise UsageError(f"{self.name} needs the option {name!r}.", "Give it.")
        for name, value in given.items():
            if not _fits(value, kinds[name]):
                raise UsageError(f"{name} of {self.name} cannot be {value!r}.", f"Give {_words(kinds[name])}.")
        try:
            return self.options(**given)
        except ValueError as error:
            raise UsageError(f"{self.name} cannot be used: {error}.", "Correct the option.") from error

    def parse_text(self, given: Mapping[str, str]) -> OptionsType:
        """The options from texts, as a command line gives them. Raises UsageError as `parse`."""
        kinds = get_type_hints(self.options)
        return self.parse({name: _value(text, kinds[name]) if name in kinds else text for name, text in given.items()})


@dataclass(frozen=True, kw_only=True)
class Method(AnyMethod[OptionsType]):
    """A method that acts on a trained model; where it is `calibrated` it needs inputs to run the model on.

    `run` must leave the model as it is. Raises UsageError or DataError.
    """

    run: Callable[[nn.Module, Calibration | None, OptionsType], Weights]
    calibrated: bool


@dataclass(frozen=True, kw_only=True)
class TrainedMethod(AnyMethod[OptionsType]):
    """A method that is learned while the model is trained on.

    `start` changes the model in place, so that it computes and learns as the method wants, and returns what the method
    adds to training. Raises UsageError where it can treat no layer.
    """

    start: Callable[[nn.Module, OptionsType], Training]


def method_names(*, trained: bool | None = None) -> list[str]:
    """Every method that `find_method` finds, sorted: where `trained` is given, only those that are learned in training,
    or only the others.
    """
    names = sorted(point.name for point in entry_points(group=GROUP))
    return names if trained is None else [n for n in names if isinstance(find_method(n), TrainedMethod) == trained]


def find_method(name: str) -> Method[Any] | TrainedMethod[Any]:
    """The method of that name. Raises UsageError where there is none, or it cannot be loaded."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise UsageError(f"There is no compression method {name!r}.", f"Choose one of: {', '.join(sorted(points))}.")
    try:
        method = points[name].load()
        if not isinstance(method, Method | TrainedMethod):
            raise TypeError("it is neither a Method nor a TrainedMethod of harness.models.compress.method")
    except Exception as error:  # somebody else's code: whatever it raises, the other methods work
        raise UsageError(
            f"The compression method {name!r} cannot be loaded ({error}).", "Install its package again, or remove it."
        ) from error
    return method


def after_training(name: str) -> Method[Any]:
    """The method of that name, which acts on a trained model. Raises UsageError as `find_method`, and for one that is
    learned in training.
    """
    method = find_method(name)
    if isinstance(method, TrainedMethod):
        raise UsageError(
            f"{name} is learned in training, and cannot be applied to a model that is not trained on.",
            "Use harness.models.prepare(module, method=...) in a training loop of your own.",
        )
    return method


def source_module(name: str) -> str:
    """The module of the method of that name, which is not imported. Raises UsageError where there is none."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise UsageError(f"There is no compression method {name!r}.", f"Choose one of: {', '.join(sorted(points))}.")
    return points[name].module


def check_range(name: str, value: int, least: int, most: int) -> None:
    """Raises ValueError for a whole number that is not from `least` to `most`."""
    if value not in range(least, most + 1):
        raise ValueError(f"{name} is {value}, not a whole number from {least} to {most}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError for a text that is none of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, not one of {', '.join(choices)}")


def check_group(group: int | None) -> None:
    """Raises ValueError for a number of columns that cannot share a step."""
    if group is not None and group < 2:
        raise ValueError(f"group is {group}, not a number of columns from 2 on")


def check_share(name: str, value: float, *, most: float = 1.0) -> None:
    """Raises ValueError for a number that is not above 0 and at most `most`."""
    if not 0 < value <= most:
        raise ValueError(f"{name} is {value}, not a number above 0 and up to {most:g}")


def options_json(options: Options) -> dict[str, Any]:
    """Options as JSON values, those alone that are given or have a default other than None."""
    values = asdict(options)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None and value != ()
    }


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if type(None) in get_args(kind) else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    for wanted in _kinds(kind):
        if wanted is type(None):
            if value is None:
                return True
        elif get_args(wanted):  # tuple[str, ...]
            if isinstance(value, tuple | list) and all(isinstance(part, get_args(wanted)[0]) for part in value):
                return True
        elif wanted is float:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return True
        elif isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
            return True
    return False


def _value(text: str, kind: Any) -> Any:
    """A text as the type of its option; the text itself where it is none, which `parse` refuses."""
    for wanted in _kinds(kind):
        if wanted is bool and text in ("true", "false"):
            return text == "true"
        if wanted in (int, float):
            try:
                return wanted(text)
            except ValueError:
                continue
        if get_args(wanted):
            return tuple(text.split(","))
    return text


def _words(kind: Any) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return next((words[wanted] for wanted in _kinds(kind) if wanted in words), "names")
