"""What the numbers of ExecuTorch's errors mean (runtime/core/error.h), and what a user can do about them."""

from __future__ import annotations

import re

_CODE = re.compile(r"0x:?([0-9a-fA-F]+)")
_INPUTS = "See what the program takes with `harness models inspect`, and give such inputs with --inputs."
_AGAIN = "Export the program again with this version of ExecuTorch."
_MEANINGS = {
    0x02: (
        "something that the program needs was not loaded (InvalidState)",
        "If its weights are in a .ptd file, give the one that was written with this program: --data-file.",
    ),
    0x10: ("the inputs have other numbers of dimensions or other sizes than the program takes (NotSupported)", _INPUTS),
    0x12: (
        "an argument is not what an operator or the program takes, such as an index out of range, or another dtype or "
        "size of an input (InvalidArgument)",
        _INPUTS,
    ),
    0x13: ("an input is of another kind than the program takes (InvalidType)", _INPUTS),
    0x14: (
        "it calls an operator that ExecuTorch's libraries do not have (OperatorMissing)",
        "`harness report` shows its name; export the model without it, or lower that part to a delegate.",
    ),
    0x20: (
        "something that the program names was not found, such as weights in another file (NotFound)",
        "If its weights are in a .ptd file, give the one that was written with this program: --data-file.",
    ),
    0x21: ("there was not enough memory (MemoryAllocationFailed)", "Free memory, or give a smaller --batch."),
    0x23: ("the program is of another version or damaged (InvalidProgram)", _AGAIN),
    0x24: (
        "the .ptd file is damaged or is not of this program (InvalidExternalData)",
        "Give the one that was written with this program: --data-file.",
    ),
    0x30: ("its delegate was made for another version (DelegateInvalidCompatibility)", _AGAIN),
    0x31: ("its delegate did not get enough memory", "Free memory, or give a smaller --batch."),
}


def explain(message: str) -> tuple[str, str] | None:
    """What happened and what to do, by the last number of an error's `message`; None for one that is not known."""
    codes = _CODE.findall(message)
    known = _MEANINGS.get(int(codes[-1], 16)) if codes else None
    if known is None:
        return None
    what, todo = known
    return f"{what}, error 0x{int(codes[-1], 16):02x}", todo
