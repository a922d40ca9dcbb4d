"""Our models: the network, its training and compression, the exporters, and the zoo that knows them by name.

A room imports from those before it only: gpt, compress, train, export, zoo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.models import compress as compress  # light, and callable: `harness.models.compress(module, method=...)`

if TYPE_CHECKING:
    from torch import nn

    from harness.models.compress.training import Prepared


def prepare(module: nn.Module, method: str, **options: Any) -> Prepared:
    """`compress.training.prepare`: a copy of `module` for a training loop of your own, with a method at work on it."""
    from harness.models.compress.training import prepare as prepared  # late: it imports torch

    return prepared(module, method, **options)
