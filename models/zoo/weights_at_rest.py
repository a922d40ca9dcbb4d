"""How many bytes all weights of a model take at rest, so that methods that treat other layers can be compared."""

from __future__ import annotations

import math
from collections.abc import Collection

from torch import nn

_FLOAT32_BITS = 32


def bytes_at_rest(module: nn.Module, compressed: Collection[str], bits: float) -> int:
    """`bits` of the layers of these names, together, and every other parameter of `module` in float32. A bias is no
    part of what was compressed.
    """
    others = sum(
        parameter.numel()
        for name, parameter in module.named_parameters()
        if name.endswith("bias") or not any(name.startswith(f"{layer}." if layer else "") for layer in compressed)
    )
    return math.ceil((bits + _FLOAT32_BITS * others) / 8)
