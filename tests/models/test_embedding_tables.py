from __future__ import annotations

import torch

from harness.models.export.embedding_tables import QuantisedTable, Table
from harness.models.export.quantised_linear import integers
from harness.models.zoo.storage import embedding_code


def test_both_forms_read_the_same_rows() -> None:
    torch.manual_seed(0)
    weight = torch.randn(11, 6) * torch.logspace(-3, 1, 11)[:, None]
    index = torch.tensor([[3, 0, 10]])
    plain, small = Table(weight), QuantisedTable(weight)
    assert torch.equal(plain.rows(index), weight[index])
    assert torch.equal(plain.stretch(2, 5), weight[2:7])
    half_a_step = 0.501 * weight.abs().amax(1, keepdim=True) / 127
    assert ((small.rows(index) - weight[index]).abs() <= half_a_step[index]).all()
    assert ((small.stretch(2, 5) - weight[2:7]).abs() <= half_a_step[2:7]).all()
    assert small.levels.dtype == torch.int8


def test_an_embedding_of_a_file_is_read_and_multiplied_by_as_it_is() -> None:
    """The table and the readout hold the integers of the file of weights: neither rounds them again."""
    torch.manual_seed(0)
    code = embedding_code(torch.randn(65, 33) * torch.logspace(-3, 1, 65)[:, None])
    table, head = QuantisedTable(code.weight()), integers(code.weight(), "int8")
    index = torch.arange(65)[None]
    torch.testing.assert_close(table.rows(index)[0], code.weight(), atol=0, rtol=1e-6)
    torch.testing.assert_close(table.stretch(1, 64), code.weight()[1:], atol=0, rtol=1e-6)
    assert torch.equal(table.levels, head.levels)
    assert torch.equal(table.step[:, 0], head.step)
    assert (table.levels.abs() <= code.levels.abs()).all()  # a common divisor of a row goes into its step
