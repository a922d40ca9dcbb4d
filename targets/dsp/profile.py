"""A profile of a processor: what an operator of each class costs on it, its clock, and its memories.

Rates have evidence: `fitted` to published measurements of that processor; `counted`, the instructions of CMSIS-NN's own
kernel times the cycles an instruction that the fitted classes show; or `assumed`. Each says its source.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from harness.outside_files import read_toml
from harness.targets.simulated import device_files

DEFAULT = "cortex-m55"
EVIDENCE = ("fitted", "counted", "assumed")
KINDS = {
    "linear": "layers with weights",
    "matmul": "products of two activations",
    "pointwise": "1x1 convolutions",
    "conv2d": "other convolutions",
    "depthwise": "depthwise convolutions",
    "softmax": "softmax",
    "elementwise": "sums and products of elements",
    "lookup": "activations by a table",
    "quantize": "float32 to int8 and back",
    "pool": "pooling",
    "move": "copies in another order",
    "portable": "ExecuTorch's portable kernels, in float32",
}
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Cycles of a class: `output` an element that it computes and `vector` for each `lanes` products of that element,
    begun ones included; `gather` a byte that is copied first to lie in order.
    """

    output: float
    vector: float = 0.0
    lanes: int = 1
    gather: float = 0.0
    evidence: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Profile:
    """`cpu` is ExecuTorch's name of a Cortex-M, whose CMSIS-NN variant decides scratch memory; `calibration` says what
    the rates rest on; `anchors` is a file of published measurements beside the profile.
    """

    name: str
    summary: str
    calibration: str
    cpu: str
    clock_hz: float
    sram_bytes: int
    flash_bytes: int
    macs_per_cycle: float
    source: str
    classes: dict[str, Rate] = field(repr=False)
    digest: str
    anchors: Path | None = None


def names() -> tuple[str, ...]:
    """The profiles that come with harness, the default first."""
    return device_files.names(_FOLDER, DEFAULT)


def find(name: str | None) -> Profile:
    """The profile of that name, or of a TOML file of the user's.

    Raises UsageError, listing the known ones, for what is neither, and for a file that does not say what it must.
    """
    path = device_files.locate(_FOLDER, DEFAULT, name)
    keys = ", ".join(f.name for f in fields(Profile) if f.name not in ("name", "digest", "anchors"))

    def parse(keys: dict[str, Any], sha256: str) -> Profile:
        anchors = keys.pop("anchors", None)
        classes = {kind: _rate(kind, rate) for kind, rate in keys.pop("classes").items()}
        if missing := [kind for kind in KINDS if kind not in classes]:
            raise ValueError(f"it lacks classes.{missing[0]}, {KINDS[missing[0]]}")
        if unknown := [kind for kind in classes if kind not in KINDS]:
            raise ValueError(f"there is no class {unknown[0]!r}")
        profile = Profile(
            name=path.stem,
            classes=classes,
            digest=sha256[:12],
            anchors=None if anchors is None else path.parent / anchors,
            **keys,
        )
        for key in ("clock_hz", "sram_bytes", "flash_bytes", "macs_per_cycle"):
            _positive(key, getattr(profile, key))
        return profile

    return read_toml(path, parse, "profile", f"It must say {keys}; cortex-m55.toml shows how.")


def _rate(kind: str, keys: dict[str, Any]) -> Rate:
    rate = Rate(**keys)
    for name in ("output", "vector", "gather"):
        value = getattr(rate, name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise ValueError(f"classes.{kind}.{name} is {value!r}, which is no number of cycles")
    _positive(f"classes.{kind}.lanes", rate.lanes)
    if rate.evidence not in EVIDENCE:
        raise ValueError(f"classes.{kind}.evidence is {rate.evidence!r}, not one of {', '.join(EVIDENCE)}")
    return rate


def _positive(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value!r}, which is no positive number")
