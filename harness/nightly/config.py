"""What a night measures and watches: one TOML file, checked key by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.experiment.request import OPTIONS, NamedModel, RunRequest, model_beside, request_values
from harness.metrics import CATALOGUE, METRICS, Metric
from harness.outside_files import expanded, read_toml
from harness.store.place import is_local, results_folder

# Those of a scenario or target that has none of the others are simply absent.
DEFAULT_METRICS = tuple(metric.name for metric in CATALOGUE if metric.watched)
_KEYS = ("target", "models", "reference", "results", "metrics", "run", "detect")
# Set by the night itself; everything else that `harness run` takes may be given.
_OWN = frozenset({"target", "models", "profile", "ablate", "skip_existing"})
_METRICS = {
    name: metric for name, metric in METRICS.items() if metric.compare is not None and metric.better is not None
}


@dataclass(frozen=True, kw_only=True)
class NightlyConfig:
    """`name` is the file's, `request` what is measured every night. `reference` is one more model, which stays the
    same, and which what takes time is set against; None without one.

    A change is one of `min_change` (a share: 0.03 is 3 %) or more with a p-value of at most `max_p`.
    """

    name: str
    sha256: str
    request: RunRequest
    results: Path
    metrics: tuple[Metric, ...]
    reference: NamedModel | None = None
    max_p: float = 1e-4
    min_change: float = 0.03

    @property
    def target(self) -> str:
        """Where the nights measure."""
        return self.request.target


def read_config(path: Path) -> NightlyConfig:
    """The configuration in a file; relative paths in it start from its folder. Raises UsageError."""
    return read_toml(
        path,
        lambda data, sha256: parse_config(data, path, sha256),
        "configuration",
        "`harness nightly example config` prints one to begin with.",
    )


def parse_config(data: Mapping[str, Any], path: Path, sha256: str) -> NightlyConfig:
    """The configuration in a mapping as TOML gives it. Raises UsageError naming the first key that is wrong."""
    where = path.name
    _check_keys(data, _KEYS, where)
    for key in ("target", "models", "results"):
        if key not in data:
            raise UsageError(
                f"{where} lacks the key {key!r}.", "`harness nightly example config` prints a complete one."
            )
    run = _of(data.get("run", {}), dict, "a table of options", f"{where} [run]")
    own = [name for option in OPTIONS if option.field in _OWN for name in (option.key, option.field) if name in run]
    if own:
        raise UsageError(f"{where} [run] has the key {own[0]!r}, which a night sets itself.", "Leave it out.")
    values = request_values(run, path.parent, f"{where} [run]")
    if len(values.get("pythons", ())) > 1:
        raise UsageError(
            f"{where} [run] names several interpreters, but a night follows each model in one.",
            "Write a configuration for each, or compare them by `harness run --python A --python B`.",
        )
    detect = _of(data.get("detect", {}), dict, "a table", f"{where} [detect]")
    _check_keys(detect, ("max_p", "min_change"), f"{where} [detect]")
    metrics, reference = data.get("metrics", DEFAULT_METRICS), data.get("reference")
    return NightlyConfig(
        name=path.name,
        sha256=sha256,
        request=RunRequest(
            target=_of(data["target"], str, "a name", f"{where} target"),
            models=tuple(
                NamedModel(model_beside(text, path.parent)) for text in _texts(data["models"], f"{where} models")
            ),
            **values,
        ),
        results=_results(_of(data["results"], str, "a folder", f"{where} results"), path),
        metrics=tuple(_metric(name, where) for name in _texts(metrics, f"{where} metrics")),
        reference=None if reference is None else _reference(_of(reference, str, "a file", f"{where} reference"), path),
        **{key: _share(value, f"{where} [detect] {key}") for key, value in detect.items()},
    )


def _reference(text: str, path: Path) -> NamedModel:
    source = model_beside(text, path.parent)
    return NamedModel(source, f"{Path(source).stem} (reference)")


def _results(text: str, path: Path) -> Path:
    """A folder of this machine, where the ledgers of the nights and the files that they measured are kept."""
    if not is_local(results_folder(text)):
        raise UsageError(
            f"{path.name} keeps its nights in {text}, but they need a folder of this machine.",
            "Name a local folder; `harness run` and the commands that read results take a bucket.",
        )
    return path.parent / expanded(text, f"{path.name} results")


def _metric(name: str, where: str) -> Metric:
    if name not in _METRICS:
        raise UsageError(
            f"{where} names the metric {name!r}, which cannot be watched.", f"Choose among: {', '.join(_METRICS)}."
        )
    return _METRICS[name]


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(text, str) for text in value):
        raise UsageError(f"{where} is {value!r}, not a list of names.", 'Write it as ["one", "two"].')
    return tuple(dict.fromkeys(value))


def _share(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise UsageError(f"{where} is {value!r}, not a number between 0 and 1.", "Write 0.03 for 3 %.")
    return float(value)


def _of(value: Any, kind: type, words: str, where: str) -> Any:
    if not isinstance(value, kind):
        raise UsageError(f"{where} is {value!r}, not {words}.", "`harness nightly example config` prints an example.")
    return value


def _check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"{where} has the unknown key {key!r}.", f"Known keys: {', '.join(known)}.")
