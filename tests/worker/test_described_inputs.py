"""What a program says of inputs that are columns of indices or numbers, and how many tokens it takes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.made_inputs import covers
from harness.model_description import longest_prompt
from harness.protocol import Describe
from harness.worker.runtimes import executorch as executorch_runtime
from harness.worker.runtimes import torch as torch_runtime


class Columns(nn.Module):
    """A table of 10 rows for the first column, one of 1000 for the second."""

    def __init__(self) -> None:
        super().__init__()
        self.few, self.many = nn.Embedding(10, 4), nn.Embedding(1000, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.few(ids[:, 0]) + self.many(ids[:, 1])


class Scaled(nn.Module):
    def forward(self, x: torch.Tensor, scale: float, times: int) -> torch.Tensor:
        return x * scale * times


def described(folder: Path, module: nn.Module, arguments: tuple[Any, ...]) -> list[list[dict[str, Any]]]:
    """The inputs as a `.pt2` and as a `.pte` describe them."""
    from executorch.exir import to_edge

    program = torch.export.export(module.eval(), arguments)
    torch.export.save(program, folder / "m.pt2")
    (folder / "m.pte").write_bytes(to_edge(program).to_executorch().buffer)
    both = torch_runtime.describe(folder / "m.pt2"), executorch_runtime.describe(folder / "m.pte")
    return [one.methods[0]["inputs"] for one in both]


def test_columns_of_several_tables_are_not_said_to_be_covered(tmp_path: Path) -> None:
    for inputs in described(tmp_path, Columns(), (torch.zeros(4, 2, dtype=torch.int64),)):
        assert (inputs[0]["limit"], inputs[0]["longest"]) == (10, 1000)
        assert not covers(inputs, [[4, 2]], [10], 256)
        assert covers([{**inputs[0], "longest": 10}], [[4, 2]], [10], 256)


def test_a_number_is_the_one_of_the_export_in_both_formats(tmp_path: Path) -> None:
    for inputs in described(tmp_path, Scaled(), (torch.zeros(2), 1.5, 3)):
        assert [(each["value"], each["fixed"]) for each in inputs[1:]] == [(1.5, True), (3, True)]


def test_a_language_model_takes_as_many_tokens_as_its_symbol_may_be() -> None:
    def model(dynamic: Any, most: int | None) -> Describe:
        tokens = {"kind": "tensor", "dtype": "int64", "sizes": [1, 4], "dynamic": dynamic}
        method = {"name": "forward", "inputs": [tokens], "outputs": [], "ranges": {"s0": [1, most]}}
        return Describe(format="pt2", methods=[method], metadata={}, delegates=[])

    assert longest_prompt(model([None, "s0"], 31)) == 31
    assert longest_prompt(model([None, "s0"], None)) == 4
    assert longest_prompt(model([None, None], 31)) == 4
    assert longest_prompt(model(True, 31)) == 4
