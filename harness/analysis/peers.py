"""What each model of a comparison is beside its name: the network, the runtime that ran it, the precision of its
weights; and which rounded form of a network is the fastest in any runtime.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.analysis.best import row_of
from harness.analysis.comparison import Comparison
from harness.analysis.grouping import RUNTIME_SETTING, YARDSTICK_SETTING, Model, Run, is_of, runtimes_of, settings_of
from harness.analysis.parts import ROW_PARTS
from harness.metrics import Metric

UNKNOWN = "unknown"
UNCOMPRESSED = "uncompressed"
"""The family of a model that its manifest calls a baseline."""
# Words of file names that say a precision, as exporters and quantisers of all runtimes write them.
_PRECISION = re.compile(
    r"(?:^|[-_.])(fp?32|fp?16|bf16|u?int[48](?:-(?:channel|group\d+))?|[348]-?bit|w[48](?:a\d+)?|i?q\d(?:_\w+)*)$", re.I
)
_ROUNDED = re.compile(r"u?int[2-8]\b|[2-8]-?bit|w[2-8]|i?q[2-8]", re.I)
_NUMBER = re.compile(r"#\d+$")
# Versions that every worker has, whatever runs the model.
_EVERYWHERE = ("python", "torch")
# Methods of manifests that leave the weights as training left them.
_PLAIN = (None, "baseline")


@dataclass(frozen=True)
class Identity:
    """`network` is the name without what says the precision; `parent` the model that a compressed one was made from,
    None of one that is not compressed; `family` the kind of its `method`. `yardstick`: its runtime is one that others
    are set against and nobody should choose.
    """

    network: str
    runtime: str
    precision: str
    parent: str | None
    method: str = UNKNOWN
    family: str = UNKNOWN
    yardstick: bool = False

    @property
    def rounded(self) -> bool:
        """Whether it is an uncompressed network with weights of 8 bits or fewer, in a runtime that one may choose."""
        return not self.yardstick and self.parent is None and _ROUNDED.match(self.precision) is not None

    def words(self, parts: Sequence[str]) -> str:
        """Those of `harness.analysis.parts.ROW_PARTS` that are wanted, in one line."""
        own = (self.network, self.runtime, self.precision, self.method, self.family)
        values = dict(zip(ROW_PARTS, own, strict=True))
        return " · ".join(values[part] for part in parts)


def identity_of(model: Model, runs: Sequence[Run]) -> Identity:
    """What is known of a model from its runs. The precision of a file is that of its manifest, else what its name says,
    else unknown.
    """
    own = [run for run in runs if is_of(run, model)]
    name = _NUMBER.sub("", model.name)
    if (by_name := _PRECISION.search(name)) is None and (by_name := _PRECISION.search(Path(name).stem)) is not None:
        name = Path(name).stem  # files of several formats are called by their endings too
    stated = next((run["precision"] for run in own if run["precision"]), None)
    precision = stated or (by_name[1].lower() if by_name else UNKNOWN)
    method = next((run["method"] for run in own if run["method"]), None)
    parent = next((run["parent"] for run in own if run["parent"]), None)
    network = name[: by_name.start()] if by_name and by_name.start() else name.removesuffix(f"-{precision}")
    plain = UNKNOWN if method is None else UNCOMPRESSED
    family = plain if method in _PLAIN else next((run["family"] for run in own if run.get("family")), UNKNOWN)
    yardstick = any(YARDSTICK_SETTING in settings_of(run) for run in own)
    return Identity(
        network,
        _runtime(own),
        precision,
        None if method in _PLAIN else parent or UNKNOWN,
        method or UNKNOWN,
        family,
        yardstick,
    )


def yardstick_of(identities: Mapping[str, Identity], label: str) -> str | None:
    """The label of the yardstick for the weights of a model: one of the same network and precision. None where there is
    none.
    """
    own = identities[label]
    same = (own.network, own.precision, own.parent)
    return next(
        (
            other
            for other, each in identities.items()
            if each.yardstick and own.precision != UNKNOWN and (each.network, each.precision, each.parent) == same
        ),
        None,
    )


def fastest_rounded(comparison: Comparison, identities: Mapping[str, Identity], metric: Metric) -> str | None:
    """The label of the rounded model with the best value of the metric, in any runtime: of the network that the first
    compressed model was made from, of all networks where there is none. None where there is no such row.
    """
    row = row_of(comparison, metric)
    if row is None or metric.better is None:
        return None
    parent = next((identity.parent for identity in identities.values() if identity.parent is not None), None)
    values = {
        model.label: figure.estimate.value
        for model, figure in zip(comparison.models, row.figures, strict=True)
        if figure.estimate is not None
        and identities[model.label].rounded
        and (parent in (None, UNKNOWN) or _is_network(identities[model.label].network, str(parent)))
    }
    sign = 1 if metric.better == "lower" else -1
    return min(values, key=lambda label: sign * values[label]) if values else None


def not_told_apart(against: Comparison, identities: Mapping[str, Identity], metric: Metric) -> list[str]:
    """The labels of other rounded models of the same network that the intervals do not tell from the first model of
    `against`, which is the fastest of them.
    """
    row, first = row_of(against, metric), identities[against.models[0].label]
    if row is None:
        return []
    return [
        model.label
        for model, versus in zip(against.models[1:], row.versus[1:], strict=True)
        if identities[model.label].rounded
        and identities[model.label].network == first.network
        and versus is not None
        and versus.value is not None
        and not (versus.resolved or (versus.resolved is None and versus.reason is None and versus.value != 1))
    ]


def _is_network(name: str, parent: str) -> bool:
    """Whether a file is of the network that a manifest calls `parent`; an alias is the beginning of its name."""
    return parent == name or parent.startswith(f"{name}-")


def _runtime(runs: Sequence[Run]) -> str:
    """What ran a model: as its worker said, else what else than Python its versions name."""
    said = dict.fromkeys(name for run in runs if (name := settings_of(run).get(RUNTIME_SETTING)) is not None)
    if said:
        return " and ".join(said)
    names = dict.fromkeys(text.rpartition(" ")[0] for text in runtimes_of(runs))
    others = [name for name in names if name not in _EVERYWHERE]
    native = any(run["worker"] and str(run["worker"]).startswith("native") for run in runs)
    found = " and ".join(others) or ("torch" if "torch" in names else UNKNOWN)
    return f"{found}, native worker" if native else found
