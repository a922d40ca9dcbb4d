from __future__ import annotations

import torch

from harness.models.tables import QuantisedTable, Table


def test_both_forms_read_the_same_rows() -> None:
    torch.manual_seed(0)
    weight = torch.randn(11, 6) * torch.tensor([1.0, 2, 3, 4, 5, 6])
    index = torch.tensor([[3, 0, 10]])
    plain, small = Table(weight), QuantisedTable(weight)
    assert torch.equal(plain.rows(index), weight[index])
    assert torch.equal(plain.stretch(2, 5), weight[2:7])
    half_a_step = 0.501 * weight.abs().amax(0) / 127
    assert ((small.rows(index) - weight[index]).abs() <= half_a_step).all()
    assert ((small.stretch(2, 5) - weight[2:7]).abs() <= half_a_step).all()
    assert small.levels.dtype == torch.int8
