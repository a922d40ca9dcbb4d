"""What makes a model smaller: a file a method, and how their codes are stored.

Methods that act on a trained model, of ours or of a user's own, are called through the package itself:

    import harness.models

    small = harness.models.compress(module, method="gptq", bits=4, calibration=inputs)
    small.module, small.record

`apply.compress_module` is the same function, for who checks types. Nothing here imports torch before it is called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.models.compress.apply import Compressed


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Compressed:
        """`apply.compress_module`."""
        from harness.models.compress.apply import compress_module

        return compress_module(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
