"""Which feed-forward neurons are active, token by token and layer by layer.

A trace is recorded from a model whose activation function gives zeros, predicted (`predictor`), or synthetic. It says
of itself how it came to be, and what it would cost on any device follows from its aggregates.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.atomic_files import replacing_file, unwritable
from harness.errors import ModelError, UsageError
from harness.flash.ablation.window import Window
from harness.flash.io.geometry import Indices

MOST_ACTIVE = 0.5
"""Where more neurons than this are active, reading them one by one cannot beat reading the layer from end to end."""

# What numpy and zipfile raise for files that are damaged, or made to do harm.
_DAMAGE = (ValueError, KeyError, TypeError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Trace:
    """`active[token][layer]`: the active neurons, ascending; `neurons[layer]`: how many the layer has."""

    active: tuple[tuple[Indices, ...], ...]
    neurons: tuple[int, ...]
    description: str


@dataclass(frozen=True)
class Aggregates:
    """Shares of all feed-forward neurons, means over the tokens after the first window: active in a token, newly
    loaded for it, and resident after it. `peak_resident` [layers] counts neurons, over the whole trace.
    """

    active: float
    loaded: float
    resident: float
    peak_resident: tuple[int, ...]


def synthetic(
    neurons: Sequence[int],
    tokens: int,
    *,
    active_fraction: float,
    zipf_exponent: float,
    persistence: float,
    seed: int,
) -> Trace:
    """Neurons of Zipf-distributed popularity (rank r weighs r^-exponent), of which some stay from token to token.

    In each token round(active_fraction * n) neurons are active: each of the last token's with probability
    `persistence`, the others drawn by weight without replacement (Efraimidis and Spirakis, doi
    10.1016/j.ipl.2005.11.003). Layers are independent, and the same whatever layers stand beside them. Raises
    UsageError for parameters that make no trace.
    """
    if (
        tokens < 1
        or min(neurons, default=0) < 1
        or not (0 < active_fraction <= 1 and 0 <= zipf_exponent < math.inf and 0 <= persistence <= 1)
    ):
        raise UsageError(
            f"No trace has {tokens} tokens, {active_fraction:g} of {list(neurons)} neurons active, "
            f"a Zipf exponent of {zipf_exponent:g} and a persistence of {persistence:g}.",
            "Give at least one token and neuron, a share above 0, an exponent from 0, and a persistence from 0 to 1.",
        )
    layers = [
        _synthetic_layer(np.random.default_rng([seed, layer]), n, tokens, active_fraction, zipf_exponent, persistence)
        for layer, n in enumerate(neurons)
    ]
    return Trace(
        tuple(zip(*layers, strict=True)),
        tuple(neurons),
        f"synthetic: {active_fraction:.4g} active, Zipf({zipf_exponent:g}), persistence {persistence:g}, seed {seed}",
    )


def _synthetic_layer(
    generator: np.random.Generator, n: int, tokens: int, share: float, exponent: float, persistence: float
) -> list[Indices]:
    weights = generator.permutation(np.arange(1.0, n + 1) ** -exponent)
    count = max(1, round(share * n))
    active, steps = np.empty(0, dtype=np.int64), []
    for _ in range(tokens):
        active = active[generator.random(len(active)) < persistence]
        keys = generator.exponential(size=n) / weights
        keys[active] = -1.0  # those that stay come before all that are drawn
        active = np.sort(np.argpartition(keys, count - 1)[:count])
        steps.append(active)
    return steps


def from_masks(masks: Sequence[npt.NDArray[np.bool_]], description: str) -> Trace:
    """A trace from one mask [tokens, neurons] a layer, True where a neuron's output was not zero. Raises ValueError
    for masks of different numbers of tokens.
    """
    layers = [[np.flatnonzero(row) for row in mask] for mask in masks]
    return Trace(tuple(zip(*layers, strict=True)), tuple(mask.shape[1] for mask in masks), description)


def require_sparsity(trace: Trace) -> float:
    """The share of neurons that are not active in a token. Raises ModelError where it is below that of any ReLU."""
    sparsity = 1 - sum(len(layer) for token in trace.active for layer in token) / (
        len(trace.active) * sum(trace.neurons)
    )
    if sparsity < 1 - MOST_ACTIVE:
        raise ModelError(
            f"This model has no ReLU-like sparsity: {100 * sparsity:.1f} % of its feed-forward neurons are not active "
            "on a token.",
            "Train it with ReLU in the place of its activation function.",
        )
    return sparsity


def aggregates(trace: Trace, window: int) -> Aggregates:
    """What a window of that many tokens makes of the trace. Raises UsageError for a window of 0, or one that leaves no
    token of the trace to look at.
    """
    require_window(window, len(trace.active))
    layer_windows = [Window(neurons, window, neurons) for neurons in trace.neurons]
    peak = np.zeros(len(layer_windows), dtype=np.int64)
    counts = np.zeros(3, dtype=np.int64)
    for token, layers in enumerate(trace.active):
        loaded = sum(len(layer.step(active).load) for layer, active in zip(layer_windows, layers, strict=True))
        resident = np.array([layer.resident for layer in layer_windows])
        np.maximum(peak, resident, out=peak)
        if token >= window:
            counts += (sum(map(len, layers)), loaded, resident.sum())
    active, loaded_share, resident_share = counts / ((len(trace.active) - window) * sum(trace.neurons))
    return Aggregates(float(active), float(loaded_share), float(resident_share), tuple(peak.tolist()))


def require_window(window: int, tokens: int) -> None:
    """Raises UsageError unless a text of `tokens` fills the window and goes on."""
    if not 1 <= window < tokens:
        raise UsageError(
            f"A window of {window} tokens "
            + ("keeps nothing." if window < 1 else f"is never full and past in a text of {tokens}."),
            f"Give a window of 1 to {tokens - 1}." if tokens > 1 else "Give a longer text.",
        )


def save(path: Path, trace: Trace) -> None:
    """Write the trace as `.npz`: fixed-width arrays, nothing pickled. Raises HarnessError where it cannot."""
    flat = [layer for token in trace.active for layer in token]
    try:
        with replacing_file(path) as file:
            np.savez_compressed(
                file,
                neurons=np.array(trace.neurons, dtype=np.int64),
                counts=np.array([len(layer) for layer in flat], dtype=np.int64).reshape(-1, len(trace.neurons)),
                active=np.concatenate(flat).astype(np.int32),
                description=np.array(trace.description),
            )
    except OSError as error:
        raise unwritable(f"The trace {path}", error, "Give a path you may write.") from error


def load(path: Path) -> Trace:
    """Read what `save` wrote. Raises ModelError for anything else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return _checked(file["neurons"], file["counts"], file["active"], str(file["description"]))
    except OSError as error:
        raise ModelError(f"The trace {path} cannot be read ({error.strerror or error}).", "Check the path.") from error
    except _DAMAGE as error:
        raise ModelError(f"{path} is no trace ({error}).", "Record or generate it again.") from error


def _checked(neurons: Indices, counts: Indices, active: npt.NDArray[np.int32], description: str) -> Trace:
    if any(array.dtype.kind != "i" for array in (neurons, counts, active)):
        raise ValueError("neurons are not integers")
    if neurons.ndim != 1 or active.ndim != 1 or counts.ndim != 2 or counts.shape[1:] != neurons.shape:
        raise ValueError("its arrays do not fit each other")
    if counts.size == 0 or counts.min() < 0 or counts.sum() != len(active):
        raise ValueError("its counts do not add up")
    layers = np.split(active.astype(np.int64), np.cumsum(counts.ravel())[:-1])
    for index, layer in enumerate(layers):
        if layer.size and (layer[0] < 0 or layer[-1] >= neurons[index % len(neurons)] or (np.diff(layer) <= 0).any()):
            raise ValueError("neurons are not ascending, or not of their layer")
    by_token = [tuple(layers[start : start + len(neurons)]) for start in range(0, len(layers), len(neurons))]
    return Trace(tuple(by_token), tuple(neurons.tolist()), description)
