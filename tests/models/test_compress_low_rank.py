"""What factors promise: the best of their rank, the error that they state, and layers that compute their product."""

from __future__ import annotations

import math

import pytest
import torch
from fakes.nets import images, mixed
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import harness.models
from harness.models.compress.low_rank import activation_svd, hypoformer, svd, tensor_train, tensor_train_matrix, tucker
from harness.models.compress.low_rank.budget import RankOptions, balanced, chosen_rank
from harness.models.compress.modules import HybridLinear, TensorTrainLinear
from harness.models.compress.sharing import grouped_query
from harness.models.compress.stored import Factors, SharedRows

SEEDS = st.integers(0, 1_000_000)


def drawn(seed: int, rows: int, columns: int) -> Tensor:
    """A matrix whose singular values fall slowly."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * torch.linspace(1, 0.1, columns)


@given(seed=SEEDS, rows=st.integers(2, 24), columns=st.integers(2, 24), rank=st.integers(1, 12))
def test_svd_is_the_best_of_its_rank(seed: int, rows: int, columns: int, rank: int) -> None:
    """The error is that of the singular values left out, to which no matrix of the rank comes nearer (Eckart, Young);
    drawn ones do not, nor does a step of alternating least squares from it.
    """
    weight, rank = drawn(seed, rows, columns), min(rank, rows, columns)
    reading, writing = svd.factor(weight, rank)
    error = (writing @ reading - weight).double().norm()
    values = torch.linalg.svdvals(weight.double())
    assert error.item() == pytest.approx(values[rank:].square().sum().sqrt().item(), abs=1e-4)
    improved = torch.linalg.lstsq(writing.double(), weight.double()).solution
    assert (writing.double() @ improved - weight).norm() >= error - 1e-4


@given(seed=SEEDS, rank=st.integers(1, 10))
def test_activation_aware_svd_has_the_least_error_of_the_outputs(seed: int, rank: int) -> None:
    weight, generator = drawn(seed, 12, 10), torch.Generator().manual_seed(seed)
    x = torch.randn(60, 10, generator=generator) @ torch.randn(10, 10, generator=generator)
    second = x.T @ x / 60
    aware = activation_svd.factor(weight, second, rank, 1e-6)
    plain = svd.factor(weight, rank)
    errors = [(x @ (b @ a - weight).T).norm().item() for a, b in (aware, plain)]
    assert errors[0] <= errors[1] * (1 + 1e-3) + 1e-3
    best = torch.linalg.svdvals((x @ weight.T).double())[rank:].square().sum().sqrt().item()
    assert errors[0] == pytest.approx(best, rel=0.02, abs=2e-3)


@given(seed=SEEDS, rows=st.sampled_from([4, 6, 12, 30]), columns=st.sampled_from([4, 8, 18]), modes=st.integers(1, 3))
def test_a_train_of_full_rank_is_the_matrix(seed: int, rows: int, columns: int, modes: int) -> None:
    weight = drawn(seed, rows, columns)
    for train_of in (tensor_train.train_of, tensor_train_matrix.train_of):
        train, lost = train_of(weight, None, modes)
        assert lost == 0
        torch.testing.assert_close(train.weight(), weight, atol=2e-5, rtol=1e-4)


@given(seed=SEEDS, rank=st.integers(1, 20), modes=st.integers(1, 3))
def test_a_train_has_the_error_that_it_states(seed: int, rank: int, modes: int) -> None:
    weight = drawn(seed, 24, 36)
    for train_of in (tensor_train.train_of, tensor_train_matrix.train_of):
        train, lost = train_of(weight, rank, modes)
        error = ((train.weight() - weight).norm() / weight.norm()).item()
        assert error == pytest.approx(lost, rel=1e-3, abs=1e-5)
        assert all(core.size(0) <= rank for core in train.cores[1:])


@given(seed=SEEDS, error=st.floats(0.01, 0.9), modes=st.integers(1, 3))
def test_a_train_keeps_to_the_error_that_is_asked_for(seed: int, error: float, modes: int) -> None:
    weight = drawn(seed, 24, 36)
    for train_of in (tensor_train.train_of, tensor_train_matrix.train_of):
        train, lost = train_of(weight, None, modes, error)
        assert lost <= error
        assert (train.weight() - weight).norm() <= error * weight.norm() * 1.001


@given(seed=SEEDS, rank=st.integers(1, 30), modes=st.integers(1, 3), bias=st.booleans())
def test_layers_of_cores_multiply_by_their_matrix(seed: int, rank: int, modes: int, bias: bool) -> None:
    weight = drawn(seed, 24, 36)
    x = torch.randn(2, 5, 36)
    added = torch.randn(24) if bias else None
    for train_of in (tensor_train.train_of, tensor_train_matrix.train_of):
        train, _ = train_of(weight, rank, modes)
        expected = x @ train.weight().T + (0 if added is None else added)
        torch.testing.assert_close(TensorTrainLinear(train, added)(x), expected, atol=1e-4, rtol=1e-4)


def test_tensor_trains_are_those_of_tensorly() -> None:
    tensorly = pytest.importorskip("tensorly", reason="tensorly is not installed")
    decomposition = pytest.importorskip("tensorly.decomposition")
    tensorly.set_backend("pytorch")
    tensor = drawn(0, 24, 36).reshape(4, 6, 6, 6)
    ours, _ = tensor_train.cut(tensor, 5)
    theirs = decomposition.tensor_train(tensor.double(), rank=[1, 4, 5, 5, 1])
    product = ours[0]
    for core in ours[1:]:
        product = torch.tensordot(product, core, dims=1)
    torch.testing.assert_close(product.reshape(tensor.shape), theirs.to_tensor().float(), atol=1e-4, rtol=1e-4)


@given(seed=SEEDS, ranks=st.tuples(st.integers(1, 10), st.integers(1, 8)))
def test_tucker_has_orthogonal_factors_and_the_core_that_belongs_to_them(seed: int, ranks: tuple[int, int]) -> None:
    stack = torch.stack([drawn(seed + place, 10, 8) for place in range(3)])
    left, cores, right = tucker.decompose(stack, ranks, 3)
    torch.testing.assert_close(left.T @ left, torch.eye(ranks[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(right.T @ right, torch.eye(ranks[1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(cores, left.T @ stack @ right, atol=1e-4, rtol=1e-4)
    more, more_cores, more_right = tucker.decompose(stack, ranks, 8)
    errors = [(a @ core @ b.T - stack).norm() for a, core, b in ((more, more_cores, more_right), (left, cores, right))]
    assert errors[0] <= errors[1] * (1 + 1e-4) + 1e-5
    # What is left out is orthogonal to what is not.
    assert errors[1] == pytest.approx(max(0, (stack.norm() ** 2 - cores.norm() ** 2).item()) ** 0.5, rel=1e-2, abs=1e-2)


def test_tucker_of_one_matrix_is_its_svd() -> None:
    weight = drawn(0, 12, 9)
    left, cores, right = tucker.decompose(weight[None], (4, 4), 10)
    reading, writing = svd.factor(weight, 4)
    torch.testing.assert_close(left @ cores[0] @ right.T, writing @ reading, atol=1e-4, rtol=1e-3)


def test_layers_of_a_kind_share_their_outer_factors() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(32, 32) for _ in range(3)), nn.Linear(32, 8))
    small = harness.models.compress(net, method="tucker", share=0.5)
    parts = [small.module.get_submodule(str(place)) for place in range(3)]
    for place in (0, 2):
        assert len({id(part[place].weight) for part in parts}) == 1  # type: ignore[index]
    assert len({id(part[1].weight) for part in parts}) == 3  # type: ignore[index]
    stored = [small.weights.layers[str(place)] for place in range(3)]
    assert all(isinstance(each, Factors) for each in stored)
    assert [sorted(each.tensors()) for each in stored] == [["factor0", "factor1", "factor2"], ["factor1"], ["factor1"]]
    held = sum(parameter.numel() for part in parts for name, parameter in part.named_parameters() if "bias" not in name)
    assert sum(each.size_bits() for each in stored) / 32 < held
    assert sum(each.size_bits() for each in stored) <= 0.5 * 32 * 3 * 32 * 32


@given(seed=SEEDS, dense=st.floats(0.1, 0.6), rank=st.integers(1, 12))
def test_the_hybrid_keeps_its_dense_rows_exactly(seed: int, dense: float, rank: int) -> None:
    weight = drawn(seed, 48, 36)
    stored = hypoformer.hybrid(weight, hypoformer.HypoformerOptions(dense=dense, rank=rank))
    assert stored is not None
    rows = stored.order[-len(stored.dense) :]
    assert torch.equal(stored.weight()[rows], weight[rows])
    assert torch.equal(stored.order.sort().values, torch.arange(48))
    x = torch.randn(3, 36)
    torch.testing.assert_close(HybridLinear(stored, None)(x), x @ stored.weight().T, atol=1e-4, rtol=1e-4)


def test_the_hybrid_is_better_than_the_train_alone_where_rows_do_not_fit_together() -> None:
    weight = drawn(0, 64, 64) * 0.05
    weight[5::8] = torch.randn(8, 64)
    stored = hypoformer.hybrid(weight, hypoformer.HypoformerOptions(share=0.6, dense=0.5))
    assert stored is not None
    assert set(range(5, 64, 8)) <= set(stored.order[-len(stored.dense) :].tolist())


@given(number=st.integers(1, 5000), count=st.integers(1, 4))
def test_modes_multiply_to_the_size(number: int, count: int) -> None:
    assert math.prod(balanced(number, count)) == number


@given(share=st.floats(0.01, 1), rows=st.integers(2, 60), columns=st.integers(2, 60))
def test_the_rank_is_the_greatest_that_the_share_allows(share: float, rows: int, columns: int) -> None:
    options, most = RankOptions(share=share), min(rows, columns)
    rank = chosen_rank(options, rows * columns, most, lambda r: r * (rows + columns))
    assert rank is None or rank * (rows + columns) <= share * rows * columns
    assert (rank or 0) == most or ((rank or 0) + 1) * (rows + columns) > share * rows * columns


@pytest.mark.parametrize(
    "method", ["svd", "activation-svd", "tucker", "tensor-train", "tensor-train-matrix", "hypoformer"]
)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_parameters_are_within_the_share(method: str, share: float) -> None:
    small = harness.models.compress(mixed(), method=method, share=share, calibration=images())
    for layer in small.record.layers:
        assert layer.bits_per_weight <= 32 * share + 32 * layer.shape[0] / layer.weights  # and an index of rows
    assert small.record.layers


def test_a_convolution_becomes_two() -> None:
    net = mixed()
    small = harness.models.compress(net, method="svd", rank=16)
    assert [type(part) for part in small.module.get_submodule("conv")] == [nn.Conv2d, nn.Conv2d]  # type: ignore[attr-defined]
    only = harness.models.compress(net, method="svd", rank=16, skip=("first", "second", "out"))
    torch.testing.assert_close(only.module(images()), net(images()), atol=1e-4, rtol=1e-3)


@given(seed=SEEDS, heads=st.sampled_from([(4, 2), (4, 1), (6, 3), (8, 2)]), size=st.integers(1, 4))
def test_heads_of_a_group_have_their_mean(seed: int, heads: tuple[int, int], size: int) -> None:
    options = grouped_query.GroupedQueryOptions(heads=heads[0], kv_heads=heads[1])
    weight = drawn(seed, 3 * heads[0] * size, 7)
    stored = grouped_query.shared(weight, options, True, weight.shape)
    queries, keys, values = stored.weight().chunk(3)
    assert torch.equal(queries, weight.chunk(3)[0])
    for averaged, trained in ((keys, weight.chunk(3)[1]), (values, weight.chunk(3)[2])):
        grouped = averaged.view(heads[1], -1, size, 7)
        expected = trained.view(heads[1], -1, size, 7).mean(1, keepdim=True)
        torch.testing.assert_close(grouped, expected.expand_as(grouped))
    assert stored.size_bits() == 32 * 7 * size * (heads[0] + 2 * heads[1])


def test_biases_of_shared_heads_are_averaged_too() -> None:
    torch.manual_seed(0)
    net = nn.ModuleDict({"k_proj": nn.Linear(8, 8), "q_proj": nn.Linear(8, 8)})
    small = harness.models.compress(net, method="grouped-query", heads=4, kv_heads=1)
    keys = small.module.get_submodule("k_proj")
    assert isinstance(small.weights.layers["k_proj"], SharedRows)
    x = torch.randn(3, 8)
    heads = keys(x).view(3, 4, 2)
    torch.testing.assert_close(heads, heads[:, :1].expand_as(heads))
    torch.testing.assert_close(heads[:, 0], net["k_proj"](x).view(3, 4, 2).mean(1))
    assert small.record.left == {"q_proj": "it gives no keys or values"}
