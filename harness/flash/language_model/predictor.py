"""Which neurons will be active, from what enters the layer: a low-rank predictor a layer, as in "LLM in a flash"
(arXiv 2312.11514, 3.1.1).

    active if sigmoid(x A B + bias) > threshold,    A [width, rank], B [rank, neurons]

The bias stands for the one that most up projections have. A neuron that is active but was not predicted is a miss: its
contribution is lost, and the model's outputs change. One predicted in vain is a false alarm: it is only read in vain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.atomic_files import unwritable
from harness.errors import ModelError, UsageError
from harness.flash.ablation.trace import Trace, from_masks
from harness.flash.io.encoding import Floats
from harness.flash.io.geometry import Indices

Mask = npt.NDArray[np.bool_]

_FORMAT = {"format": "harness-predictors", "version": "1"}
_BATCH, _LEARNING_RATE = 256, 1e-2


@dataclass(frozen=True)
class Predictor:
    """Of one layer: `a` [width, rank], `b` [rank, neurons], `bias` [neurons], all float32, and the threshold."""

    a: Floats
    b: Floats
    bias: Floats
    threshold: float

    def mask(self, inputs: Floats) -> Mask:
        """Which neurons are predicted active, bool [..., neurons], for `inputs` [..., width]."""
        logit = math.log(self.threshold / (1 - self.threshold))
        predicted: Mask = (inputs @ self.a) @ self.b + self.bias > logit
        return predicted

    def active(self, inputs: Floats) -> Indices:
        """The neurons predicted active for one token's `inputs` [width], ascending."""
        return np.flatnonzero(self.mask(inputs))


@dataclass(frozen=True)
class Score:
    """Counts over tokens and neurons: active, predicted, active but not predicted, predicted but not active."""

    active: int
    predicted: int
    missed: int
    false_alarms: int


def score(predicted: Mask, active: Mask) -> Score:
    """Set predictions against what was active, both bool [tokens, neurons]."""
    counts = (active, predicted, active & ~predicted, predicted & ~active)
    return Score(*(int(np.count_nonzero(count)) for count in counts))


def train(
    inputs: Floats, active: Mask, rank: int, *, threshold: float = 0.5, steps: int = 2000, seed: int = 0
) -> Predictor:
    """Train a layer's predictor on recorded `inputs` [tokens, width] and `active` [tokens, neurons], in batches of 256.

    The loss is balanced as the paper's is: all active neurons together weigh as much as all others, so that misses stay
    rare where few are active. Score it on tokens that it was not trained on. Raises UsageError for a rank that is
    none, for a threshold beyond 0 to 1, and for records that do not fit each other.
    """
    import torch

    if len(inputs) != len(active) or not len(inputs) or not np.isfinite(inputs).all():
        raise UsageError(
            f"A predictor cannot be trained on inputs of {len(inputs)} tokens and activations of {len(active)}.",
            "Record both from the same text, in finite numbers.",
        )
    width, neurons = inputs.shape[1], active.shape[1]
    if not 1 <= rank <= min(width, neurons) or not 0 < threshold < 1:
        raise UsageError(
            f"There is no predictor of rank {rank} and threshold {threshold:g} for {neurons} neurons of width {width}.",
            f"Give a rank of 1 to {min(width, neurons)} and a threshold between 0 and 1.",
        )
    generator = torch.Generator().manual_seed(seed)
    a = (torch.randn(width, rank, generator=generator) / math.sqrt(width)).requires_grad_()
    b = torch.zeros(rank, neurons, requires_grad=True)
    bias = torch.zeros(neurons, requires_grad=True)
    share = max(float(active.mean()), 1 / active.size)
    loss_of = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor((1 - share) / share))
    optimiser = torch.optim.Adam([a, b, bias], lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    x, y = torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(active)
    for _ in range(steps):
        rows = torch.randint(len(x), (min(_BATCH, len(x)),), generator=generator)
        optimiser.zero_grad()
        loss_of(x[rows] @ a @ b + bias, y[rows].float()).backward()
        optimiser.step()
        schedule.step()
    return Predictor(a.detach().numpy(), b.detach().numpy(), bias.detach().numpy(), threshold)


def predicted_trace(predictors: Sequence[Predictor], inputs: Sequence[Floats], active: Sequence[Mask]) -> Trace:
    """What would be read if the predictors were believed: a layer's `inputs` [tokens, width], and what was really
    `active` [tokens, neurons], which is where the description's misses come from.
    """
    masks = [predictor.mask(layer) for predictor, layer in zip(predictors, inputs, strict=True)]
    scores = [score(predicted, real) for predicted, real in zip(masks, active, strict=True)]
    missed, real = sum(s.missed for s in scores), sum(s.active for s in scores)
    alarms, predicted = sum(s.false_alarms for s in scores), sum(s.predicted for s in scores)
    ranks = ", ".join(str(rank) for rank in sorted({predictor.a.shape[1] for predictor in predictors}))
    return from_masks(
        masks,
        f"predicted, rank {ranks}: {missed} of {real} active neurons missed, {alarms} of {predicted} predicted in vain",
    )


def save(path: Path, predictors: Sequence[Predictor]) -> None:
    """Write the predictors of all layers as safetensors. Raises HarnessError where it cannot."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    tensors = {}
    for layer, predictor in enumerate(predictors):
        for name in ("a", "b", "bias"):
            tensors[f"{layer}.{name}"] = np.ascontiguousarray(getattr(predictor, name), dtype=np.float32)
        tensors[f"{layer}.threshold"] = np.array([predictor.threshold], dtype=np.float64)
    try:
        save_file(tensors, path, _FORMAT)
    except (OSError, SafetensorError) as error:
        raise unwritable(f"The file of predictors {path}", error, "Give a path you may write.") from error


def load(path: Path) -> tuple[Predictor, ...]:
    """Read what `save` wrote, first layer first. Raises ModelError for anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}) != _FORMAT:
                raise ModelError(f"{path} holds no predictors.", "Give a file that harness wrote, of this version.")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"Predictors cannot be read from {path} ({error}).", "Check the path.") from error
    try:
        return tuple(_checked(tensors, layer) for layer in range(-(-len(tensors) // 4)))
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"The predictors in {path} are damaged ({error}).", "Train them again.") from error


def _checked(tensors: dict[str, npt.NDArray[Any]], layer: int) -> Predictor:
    a, b, bias, threshold = (tensors[f"{layer}.{name}"] for name in ("a", "b", "bias", "threshold"))
    if a.ndim != 2 or b.shape != (a.shape[1], *bias.shape) or bias.ndim != 1 or threshold.shape != (1,):
        raise ValueError(f"the arrays of layer {layer} do not fit each other")
    if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in (a, b, bias)):
        raise ValueError(f"layer {layer} is not finite float32")
    if not 0 < float(threshold[0]) < 1:
        raise ValueError(f"layer {layer} has no threshold between 0 and 1")
    return Predictor(a, b, bias, float(threshold[0]))
