"""The outputs of a program one by one, whatever it returns them in."""

from __future__ import annotations

from typing import Any


def leaves(outputs: Any) -> list[Any]:
    """What dictionaries, lists and tuples of outputs hold, in the order in which torch flattens them."""
    from torch.utils import _pytree as tree

    return list(tree.tree_leaves(outputs))
