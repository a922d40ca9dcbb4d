"""How fast a device reads, as a function of the size of a read and of how many are under way at once.

Three things limit it. A read of c bytes takes a fixed time L and then c / b, so N side by side deliver
N c / (L + c / b); the device begins no more than so many reads per second; and it moves no more than so many bytes a
second. Measured devices pass from one limit to the next gradually, hence a soft minimum: (sum of limit^-p)^(-1/p), with
p the sharpness. Reads that get slower the more of them there are (heat, contention for a single queue) are beyond this
form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError

_Floats = npt.NDArray[np.float64]

MIN_CELLS = 16
"""With five cells the worst held-out error was 86 %, with sixteen 25 % (this project's own measurement)."""

# What the fit looks within: a nanosecond to a second of latency, a byte to a petabyte a second.
_BOUNDS = {
    "latency_ns": (1.0, 1e9),
    "lane_bytes_per_s": (1e3, 1e15),
    "reads_per_s": (1.0, 1e12),
    "bytes_per_s": (1e3, 1e15),
    "sharpness": (0.5, 16.0),
}
_STARTS = (1.5, 4.0)  # of the sharpness: a gradual device and an abrupt one


@dataclass(frozen=True)
class Limits:
    """The parameters of the model. A limit nobody knows is 0 (`latency_ns`) or infinite (the others)."""

    latency_ns: float
    lane_bytes_per_s: float
    reads_per_s: float
    bytes_per_s: float
    sharpness: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if math.isnan(value) or value < 0 or (value == 0 and field.name != "latency_ns"):
                raise ValueError(f"{field.name} is {value}, not a positive number")
        if not (math.isfinite(self.bytes_per_s) and math.isfinite(self.latency_ns) and math.isfinite(self.sharpness)):
            raise ValueError("latency_ns, bytes_per_s and sharpness must be finite")


NAMES = tuple(field.name for field in fields(Limits))


@dataclass(frozen=True)
class Cell:
    """What was measured: `bytes_per_s` of random reads of `read_bytes` each, `depth` of them under way at once."""

    read_bytes: int
    depth: int
    bytes_per_s: float


def throughput(limits: Limits, read_bytes: npt.ArrayLike, depth: npt.ArrayLike) -> _Floats:
    """Bytes a second of reads of `read_bytes`, `depth` at once; both of any shape that numpy can broadcast."""
    size, lanes = np.asarray(read_bytes, np.float64), np.asarray(depth, np.float64)
    # Seconds a byte rather than bytes per second, so that an unknown limit is a zero; the largest is taken out of the
    # sum, or its powers leave the range of a double.
    costs = np.stack(
        np.broadcast_arrays(
            (limits.latency_ns * 1e-9 / size + 1 / limits.lane_bytes_per_s) / lanes,
            1 / (limits.reads_per_s * size),
            1 / limits.bytes_per_s,
        )
    )
    largest = costs.max(axis=0)
    total = ((costs / largest) ** limits.sharpness).sum(axis=0) ** (1 / limits.sharpness)
    return np.asarray(1 / (largest * total), np.float64)


def batch_ns(limits: Limits, lengths: npt.NDArray[np.int64], depth: int) -> float:
    """Nanoseconds for reads of `lengths` bytes (int64[r]), begun together and waited for; 0 for none.

    No more can be under way than there are reads: a batch shorter than `depth` is no faster a read than its length
    allows. Raises ValueError for a depth or a length below 1.
    """
    if depth < 1 or (lengths < 1).any():
        raise ValueError("a depth and lengths of at least 1")
    if not len(lengths):
        return 0.0
    return float((lengths / throughput(limits, lengths, min(depth, len(lengths)))).sum() * 1e9)


def fit(cells: Sequence[Cell]) -> Limits:
    """The limits with the least squared error of the logarithm of throughput: an error of 10 % weighs the same
    wherever it is.

    Raises UsageError for fewer than MIN_CELLS different sizes and depths, which do not hold five parameters.
    """
    distinct = len({(cell.read_bytes, cell.depth) for cell in cells})
    if distinct < MIN_CELLS:
        raise UsageError(
            f"A device model needs at least {MIN_CELLS} sizes and depths of reads; {distinct} were measured.",
            "Measure more sizes or depths.",
        )
    return _fit(cells, [_guess(cells, sharpness) for sharpness in _STARTS])


def errors(limits: Limits, cells: Sequence[Cell]) -> _Floats:
    """Model over measurement, less one, of each cell: 0.1 is 10 % too fast."""
    size, depth, measured = _columns(cells)
    return throughput(limits, size, depth) / measured - 1


def held_out_errors(cells: Sequence[Cell]) -> _Floats:
    """The error of each cell under a model fitted to all the others (leave one out). Raises UsageError as `fit`."""
    start = fit(cells)
    parts = []
    for number, cell in enumerate(cells):
        others = [*cells[:number], *cells[number + 1 :]]
        parts.append(errors(_fit(others, [start]), [cell]))
    return np.concatenate(parts)


def unreached(limits: Limits, cells: Sequence[Cell]) -> list[str]:
    """The limits without which no cell would change by 1 %: they were not met, so the fit says little of them."""
    without = {"latency_ns": 0.0, "lane_bytes_per_s": math.inf, "reads_per_s": math.inf, "bytes_per_s": 1e30}
    size, depth, _ = _columns(cells)
    limited = throughput(limits, size, depth)
    values = {name: getattr(limits, name) for name in NAMES}
    return [
        name
        for name, absent in without.items()
        if (throughput(Limits(**{**values, name: absent}), size, depth) < 1.01 * limited).all()
    ]


def _fit(cells: Sequence[Cell], starts: Sequence[Limits]) -> Limits:
    """The best of the fits that begin at `starts`. Parameters are fitted as logarithms, all being positive."""
    from scipy.optimize import least_squares

    size, depth, measured = _columns(cells)
    low, high = (np.log([_BOUNDS[name][end] for name in NAMES]) for end in (0, 1))

    def residuals(logs: _Floats) -> _Floats:
        return np.log(throughput(_limits(logs), size, depth) / measured)

    fits = [
        least_squares(
            residuals, np.clip(np.log([getattr(start, name) for name in NAMES]), low, high), bounds=(low, high)
        )
        for start in starts
    ]
    return _limits(min(fits, key=lambda result: float(result.cost)).x)


def _guess(cells: Sequence[Cell], sharpness: float) -> Limits:
    """What the extreme cells suggest."""
    size, depth, measured = _columns(cells)
    lone, deep = depth == depth.min(), depth == depth.max()
    smallest = np.flatnonzero(lone)[size[lone].argmin()]
    return Limits(
        latency_ns=float(1e9 * size[smallest] * depth[smallest] / measured[smallest]),
        lane_bytes_per_s=float((measured / depth)[lone].max() * 1.2),
        reads_per_s=float((measured / size)[deep].max() * 1.2),
        bytes_per_s=float(measured.max() * 1.05),
        sharpness=sharpness,
    )


def _limits(logs: _Floats) -> Limits:
    return Limits(*map(float, np.exp(logs)))


def _columns(cells: Sequence[Cell]) -> tuple[_Floats, _Floats, _Floats]:
    """Sizes, depths and bytes per second, [cells] each."""
    size, depth, rate = np.array([(cell.read_bytes, cell.depth, cell.bytes_per_s) for cell in cells], np.float64).T
    return size, depth, rate
