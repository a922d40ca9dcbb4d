"""What a method that is learned in training adds to the training of a model, and what is left of the model after it.

prepared = prepare(module, "qat", bits=4)
# the user's own loop trains prepared.module
small = prepared.finish()
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import UsageError
from harness.models.compress.apply import Compressed, record_of, with_weights
from harness.models.compress.method import Options, TrainedMethod, Weights, find_method, options_json
from harness.models.compress.objective import Objective


class Training(Objective):
    """A method at work in a training run. Its `start` made it, and changed the model that is trained."""

    asked: Mapping[str, Any] = MappingProxyType({})
    """The method and its options; `prepare` sets it."""

    def description(self) -> dict[str, Any]:
        return dict(self.asked)

    def tokens(self, text: NDArray[np.int64]) -> NDArray[np.int64]:
        """What a language model is trained on where the training text is `text`, int64 [tokens]."""
        return text

    def weights(self) -> Weights:
        """What has been learned until now, by the names of layers in the model that the method was given.

        Parameters that `Weights` does not name are those of the trained model, if they have the same name there.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Prepared:
    """A model that a method is at work on: `module` is to be trained, a copy of the `original`.

    A training loop calls `training.penalty()` and `training.output_loss(...)` for what they add to its loss, and
    `training.after_update(step)` after each step of its optimizer; it may take `training.parameter_groups()` for rates.
    Its own loss is multiplied by `training.text_weight`, which is 1 but for methods that learn from the original alone.
    """

    module: nn.Module
    original: nn.Module
    training: Training
    method: TrainedMethod[Any]
    options: Options
    began_s: float = field(default_factory=time.monotonic)

    def finish(self, wall_s: float | None = None) -> Compressed:
        """The compressed model, as it is stored: what training left in float32 beside the compressed layers is rounded
        to float16. `wall_s` is how long training took, by default since the model was prepared.
        """
        training = self.module.training
        self.module.eval()
        with torch.no_grad():
            weights = self.training.weights()
            weights.changed = _trained(self.original, self.module, weights) | weights.changed
        self.module.train(training)
        took_s = time.monotonic() - self.began_s if wall_s is None else wall_s
        record = record_of(self.original, self.method, self.options, weights, None, took_s)
        return Compressed(with_weights(self.original, weights).eval(), weights, record)


def prepare(module: nn.Module, method: str, **options: Any) -> Prepared:
    """Prepare a copy of `module` for training by the method of that name (`harness models compress --list`).

    Raises UsageError for an unknown method or option, a method that acts after training, and a model with no layer
    that the method can treat.
    """
    chosen = find_method(method)
    if not isinstance(chosen, TrainedMethod):
        raise UsageError(
            f"{method} acts on a trained model, and has nothing to learn in training.",
            "Use harness.models.compress(module, method=...).",
        )
    return prepare_method(module, chosen, chosen.parse(options))


def prepare_method(module: nn.Module, method: TrainedMethod[Any], options: Options) -> Prepared:
    """As `prepare`, with a method and its options at hand."""
    trained = copy.deepcopy(module)
    training = method.start(trained, options)
    training.asked = {"method": method.name, "options": options_json(options)}
    return Prepared(trained, module, training, method, options)


def _trained(original: nn.Module, trained: nn.Module, weights: Weights) -> dict[str, Tensor]:
    """The parameters, in float16's numbers, that training has changed beside those of the compressed layers."""
    compressed = {f"{name}.weight" for name in weights.layers}
    after = dict(trained.named_parameters(remove_duplicate=False))
    changed, rounded = {}, dict[int, Tensor]()  # one tensor for all that share a parameter: it is stored once
    for name, before in original.named_parameters():
        if name not in compressed and name in after and not torch.equal(before, after[name]):
            parameter = after[name]
            changed[name] = rounded.setdefault(id(parameter), parameter.detach().half().to(before.dtype))
    return changed
