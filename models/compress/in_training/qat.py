"""Quantisation-aware training: the model is trained further while its weights, and the inputs of its layers, are
rounded.

Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam and Kalenichenko, "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference" (CVPR 2018, arXiv 1712.05877, DOI 10.1109/CVPR.2018.00286): the forward
pass is rounded, and the weights that the optimizer changes stay in float32.

The grid is that of torchao's `QATConfig` with int8 activations and int4 weights, so that a program computes what was
trained: symmetric levels with a step for each channel or group, computed again from the weights at each training step,
and activations in 8 bits with a scale and a zero point for each token.

Differs from the paper: there each array of weights or activations has one scale and one zero point, the range of
activations is a moving average over training steps and is not used in the first of them, and batch normalisation is
folded into the weights first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from harness.errors import UsageError
from harness.models.compress.in_training.fake_quantisation import (
    FakeQuantised,
    Rounding,
    fake_quantise,
    round_inputs,
    trained_weight,
)
from harness.models.compress.layers import find_layers, finished, leave_ungrouped, matrix, shape_of
from harness.models.compress.method import IN_TRAINING, Options, TrainedMethod, Weights, check_group, check_range
from harness.models.compress.rounding import round_to_nearest, symmetric_steps
from harness.models.compress.stored import Stored
from harness.models.compress.training import Training


@dataclass(frozen=True, kw_only=True)
class QatOptions(Options):
    """`bits` of a weight; `group`: how many inputs share a step (None: all inputs of a channel); `activation_bits` of a
    layer's inputs (None: they stay float32). Raises ValueError for a number out of range.
    """

    bits: int = 4
    group: int | None = None
    activation_bits: int | None = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 2, 8)
        check_group(self.group)
        if self.activation_bits is not None:
            check_range("activation_bits", self.activation_bits, 2, 8)


class Qat(Training):
    """Rounds the weights and inputs of the linear layers of `model`, and the weights of its convolutions. `rounding`
    makes the rounding of a layer from its weights [out, in]. Raises UsageError where there is no such layer.
    """

    def __init__(self, model: nn.Module, options: QatOptions, rounding: Callable[[Tensor], Rounding]) -> None:
        self.model, self.options = model, options
        self.layers = find_layers(model, options)
        leave_ungrouped(self.layers, options.group)
        if not self.layers.treated:
            raise UsageError(
                f"No layer of this model can be rounded{self.layers.reasons()}.",
                "Choose another method, or options that fit its layers.",
            )
        self.roundings = {name: rounding(matrix(layer)) for name, layer in self.layers.treated.items()}
        for name, layer in self.layers.treated.items():
            fake_quantise(layer, self.roundings[name])
            if options.activation_bits is not None and isinstance(layer, nn.Linear):
                round_inputs(layer, options.activation_bits)

    def weights(self) -> Weights:
        stored: dict[str, Stored] = {}
        for name, layer in self.layers.treated.items():
            weight = trained_weight(layer)
            steps = self.roundings[name].steps(weight)
            stored[name] = round_to_nearest(weight, steps, self.options.bits, shape_of(layer))
        return finished(self.model, self.layers, stored, self.options)


def start(model: nn.Module, options: QatOptions, share: float = 1.0) -> Qat:
    """Round the weights of `model`; while it is trained, only a random `share` of them."""
    steps = partial(symmetric_steps, bits=options.bits, group=options.group)
    return Qat(model, options, lambda _: FakeQuantised(options.bits, steps, share))


METHOD = TrainedMethod(
    name="qat",
    family=IN_TRAINING,
    options=QatOptions,
    start=start,
    source="Jacob et al. 2018, arXiv 1712.05877",
)
