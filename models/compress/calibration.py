"""Calibration: inputs that a trained model is run on, and what its layers see of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import DataError

Inputs = Tensor | Sequence[Tensor] | Sequence[Sequence[Tensor]]
"""A batch for a model of one input; the inputs of one batch; or several batches, each a sequence of inputs."""


@dataclass(frozen=True)
class Calibration:
    """Batches of inputs. `samples` are first dimensions added up; `sha256` is that of the bytes, shapes and types."""

    batches: tuple[tuple[Tensor, ...], ...]
    samples: int
    sha256: str

    def description(self) -> dict[str, Any]:
        """JSON values for a record."""
        shapes = [list(tensor.shape) for tensor in self.batches[0]]
        return {"samples": self.samples, "batches": len(self.batches), "shapes": shapes, "sha256": self.sha256}


def calibration_of(inputs: Inputs) -> Calibration:
    """Calibration inputs as a user gives them. Raises DataError where there are none, or one is not finite."""
    if isinstance(inputs, Tensor):
        batches: tuple[tuple[Tensor, ...], ...] = ((inputs,),)
    elif all(isinstance(part, Tensor) for part in inputs):
        batches = (tuple(part for part in inputs if isinstance(part, Tensor)),)
    else:
        batches = tuple((part,) if isinstance(part, Tensor) else tuple(part) for part in inputs)
    if not batches or not batches[0] or not batches[0][0].numel():
        raise DataError("There are no calibration inputs.", "Give some samples of what the model will see.")
    digest, samples = hashlib.sha256(), 0
    for batch in batches:
        samples += batch[0].size(0) if batch[0].dim() else 1
        for place, tensor in enumerate(batch):
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise DataError(
                    f"Input {place + 1} of the calibration has a NaN or an infinite number.", "Leave such samples out."
                )
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return Calibration(batches, samples, digest.hexdigest())


@torch.no_grad()
def run(model: nn.Module, calibration: Calibration) -> list[Any]:
    """The model's outputs for each batch. Raises DataError where it does not take them."""
    return [output_of(model, batch) for batch in calibration.batches]


def output_of(model: nn.Module, batch: tuple[Tensor, ...]) -> Any:
    """The model's output for a batch. Raises DataError where the model does not take it."""
    try:
        return model(*batch)
    except _Reached:
        raise
    except Exception as error:  # the user's own code: whatever it raises, the inputs do not fit it
        shapes = ", ".join(f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}" for tensor in batch)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"The model does not take the calibration inputs of shape {shapes} ({reason.rstrip('.')}).",
            "Give inputs of the shapes and types that it was made for.",
        ) from error


@dataclass
class InputStatistics:
    """What a layer saw of the calibration, x being its inputs, a vector for each token, pixel or sample.

    `second` float32 [in, in] is the mean of x x^T, which is half the Hessian of the layer's squared error;
    `mean_magnitude` and `largest` float32 [in] are the mean and the greatest of |x|; `count` the number of vectors.
    """

    second: Tensor
    mean_magnitude: Tensor
    largest: Tensor
    count: int = 0

    def add(self, x: Tensor) -> None:
        """Take in `x` [n, in]."""
        total, magnitude = self.count + len(x), x.abs()
        self.second *= self.count / total
        self.second += x.T @ x / total
        self.mean_magnitude = self.mean_magnitude * (self.count / total) + magnitude.sum(0) / total
        self.largest = torch.maximum(self.largest, magnitude.amax(0))
        self.count = total

    def scaled(self, scales: Tensor) -> InputStatistics:
        """The statistics of x / scales [in]."""
        return InputStatistics(
            self.second / torch.outer(scales, scales),
            self.mean_magnitude / scales,
            self.largest / scales,
            self.count,
        )


class _Reached(Exception):
    """The last layer of interest has been run."""


@torch.no_grad()
def observe(
    model: nn.Module, calibration: Calibration, names: Iterable[str], *, stop: bool = False
) -> dict[str, InputStatistics]:
    """What the linear layers and convolutions `names` of `model` see of the calibration, by name; a layer that no batch
    runs is absent. `stop` ends a run of the model after the first of them. Raises DataError.
    """
    statistics: dict[str, InputStatistics] = {}

    def watch(name: str, layer: nn.Module) -> Any:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            x = input_vectors(layer, arguments[0])
            if not torch.isfinite(x).all():
                raise ValueError(f"{name} sees a NaN or an infinite number")
            if name not in statistics:
                width = x.size(1)
                statistics[name] = InputStatistics(torch.zeros(width, width), torch.zeros(width), torch.zeros(width))
            statistics[name].add(x)
            if stop:
                raise _Reached

        return layer.register_forward_pre_hook(hook)

    handles = [watch(name, model.get_submodule(name)) for name in names]
    try:
        for batch in calibration.batches:
            try:
                output_of(model, batch)
            except _Reached:
                continue
    finally:
        for handle in handles:
            handle.remove()
    return statistics


def input_vectors(layer: nn.Module, x: Tensor) -> Tensor:
    """The vectors that the matrix of a layer multiplies: float32 [n, in]; those of a convolution are its windows."""
    if isinstance(layer, nn.Conv2d):
        if isinstance(layer.padding, str):
            raise ValueError("a convolution's padding is given by name")
        x = F.unfold(x.float(), layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        return x.transpose(1, 2).flatten(0, 1)
    return x.detach().float().reshape(-1, x.size(-1))
