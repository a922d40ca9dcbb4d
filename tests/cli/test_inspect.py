"""`harness models inspect`: what a user must know of a model's inputs to give them."""

from __future__ import annotations

from typing import Any

import pytest
from cli.driving import Home
from models_on_disk import Models

from harness.cli.models.inspecting import described_input


@pytest.mark.parametrize(
    ("described", "text"),
    [
        ({"kind": "tensor", "dtype": "float32", "sizes": [2, 3], "dynamic": False}, "float32 [2, 3]"),
        (
            {"kind": "tensor", "dtype": "int64", "sizes": [1, 7], "dynamic": True, "limit": 50},
            "int64 [1, 7], sizes are upper bounds, indices below 50",
        ),
        (
            {"kind": "tensor", "dtype": "int8", "sizes": [3, 8], "dynamic": ["s0", None], "name": "x"},
            "x: int8 [s0 (3), 8]",
        ),
        ({"kind": "int", "dtype": "none", "sizes": [], "value": 3}, "int, 3 when it was exported"),
        ({"kind": "none", "dtype": "none", "sizes": []}, "none"),
    ],
)
def test_an_input_is_described_as_it_must_be_given(described: dict[str, Any], text: str) -> None:
    assert described_input(described) == text


def test_a_program_is_shown_method_by_method(home: Home, models: Models) -> None:
    ended = home.harness("models", "inspect", models.lm)
    assert ended.code == 0
    assert "  input 0: int64 [1, 7], sizes are upper bounds, indices below 16\n" in ended.out
    assert "  input 1: int64 [1]\n" in ended.out
    assert "  output 0: float32 [1, 16]" in ended.out
    assert "get_vocab_size: 16\n" in ended.out
