"""ExecuTorch's errors in words: numbers mean what its header says, and its log names the operator that failed."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.worker.executorch_errors import _MEANINGS, explain
from harness.worker.executorch_log import failed_operator


def test_every_number_is_the_one_of_executorchs_own_header() -> None:
    spec = find_spec("executorch")
    assert spec is not None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    (header,) = [path for folder in folders for path in folder.glob("include/executorch/runtime/core/error.h")]
    numbers = {int(number, 16): name for name, number in re.findall(r"(\w+) = (0x[0-9a-fA-F]+)", header.read_text())}
    for number, (what, todo) in _MEANINGS.items():
        assert number in numbers
        if named := re.search(r"\((\w+)\)", what):
            assert named[1] == numbers[number]
        assert todo.endswith(".")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("method->execute() failed with error 0x12", "error 0x12"),
        ("Failed to load method forward, error: 0x:14", "OperatorMissing"),
        ("Failed to load method forward, error: 0x:2", "InvalidState"),
        ("method->set_inputs() for method 'forward' failed with error 0x10", "NotSupported"),
    ],
)
def test_a_message_is_explained_by_its_number(message: str, words: str) -> None:
    known = explain(message)
    assert known is not None
    assert words in known[0]


@pytest.mark.parametrize("message", ["", "no number", "error 0xfe"])
def test_another_message_is_not(message: str) -> None:
    assert explain(message) is None


LOG = """[program.cpp:153] InternalConsistency verification requested but not available
[op__to_dim_order_copy.cpp:106] Unhandled dtype UInt16 for dim_order_ops::_to_dim_order_copy.out
[method.cpp:1483] KernelCall failed at instruction 0:0 in operator dim_order_ops::_to_dim_order_copy.out: 0x12
[method.cpp:1493] arg 0 with type id 1
"""


def test_the_log_names_the_operator_and_the_cause() -> None:
    assert failed_operator(LOG) == (
        "dim_order_ops::_to_dim_order_copy.out",
        "Unhandled dtype UInt16 for dim_order_ops::_to_dim_order_copy.out",
    )
    assert failed_operator("") is None
    assert failed_operator("[method.cpp:1483] KernelCall failed at instruction 0:0 in operator a::b.out: 0x12") is None
    assert failed_operator("Warning: something\n[a.cpp:1] else") is None
