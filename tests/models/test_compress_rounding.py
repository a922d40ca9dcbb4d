"""What each method that rounds promises, on drawn matrices and inputs."""

from __future__ import annotations

import pytest
import torch
from fakes.nets import images, mixed
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import harness.models
from harness.models.compress.after_training import awq, gptq, hqq, omniquant, smoothquant, squeezellm
from harness.models.compress.after_training.llm_int8 import decomposed
from harness.models.compress.apply import with_weights
from harness.models.compress.calibration import InputStatistics, calibration_of, observe
from harness.models.compress.method import Weights
from harness.models.compress.normed import inverse_scaled, normed_layers
from harness.models.compress.rounding import (
    absmax,
    asymmetric_grid,
    limits,
    round_asymmetric,
    round_to_nearest,
    searched_steps,
    symmetric_steps,
)

SEEDS = st.integers(0, 1_000_000)
BITS = st.integers(2, 8)


def drawn(seed: int, rows: int = 12, columns: int = 32, samples: int = 96) -> tuple[Tensor, InputStatistics]:
    """A matrix whose rows differ in size, and the statistics of correlated inputs, of a few outlying channels."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator) * torch.exp2(torch.randn(rows, 1, generator=generator))
    mixing = torch.randn(columns, columns, generator=generator)
    x = torch.randn(samples, columns, generator=generator) @ mixing
    x *= torch.exp2(2 * torch.randn(columns, generator=generator))
    statistics = InputStatistics(torch.zeros(columns, columns), torch.zeros(columns), torch.zeros(columns))
    for part in x.split(40):
        statistics.add(part)
    return weight, statistics


@given(seed=SEEDS, bits=BITS, per_tensor=st.booleans())
def test_absmax_is_its_formula(seed: int, bits: int, per_tensor: bool) -> None:
    weight, _ = drawn(seed)
    code = absmax(weight, bits, weight.shape, per_tensor=per_tensor)
    greatest = 2 ** (bits - 1) - 1
    largest = weight.abs().amax() if per_tensor else weight.abs().amax(dim=1)
    assert torch.equal(code.steps[:, 0], (largest / greatest).expand(len(weight)))
    assert torch.equal(code.levels.float(), (weight / code.steps).round())
    assert code.levels.abs().max() == greatest
    assert torch.equal(code.weight(), code.levels * code.steps)
    assert ((code.weight() - weight).abs() <= 0.5001 * code.steps).all()


@given(seed=SEEDS, bits=BITS, group=st.sampled_from([None, 8, 32]), shift=st.floats(-4, 4))
def test_an_asymmetric_code_reaches_both_ends_and_gives_zero_back_exactly(
    seed: int, bits: int, group: int | None, shift: float
) -> None:
    weight, _ = drawn(seed)
    weight = weight + shift
    weight[:, 3] = 0
    steps, zeros = asymmetric_grid(weight, bits, group)
    code = round_asymmetric(weight, steps, zeros, bits, weight.shape)
    assert torch.equal(zeros, zeros.round())
    assert zeros.min() >= 0
    assert zeros.max() <= 2**bits - 1
    assert (code.weight()[:, 3] == 0).all()
    # The zero point is rounded by half a level at most, and so are weights.
    assert ((code.weight() - weight).abs() <= 1.001 * steps.repeat_interleave(group or 32, dim=1)).all()
    again = round_asymmetric(code.weight(), steps, zeros, bits, weight.shape)
    assert torch.equal(again.levels, code.levels)


@given(seed=SEEDS, bits=BITS, group=st.sampled_from([None, 8, 16]))
def test_rounding_again_changes_nothing(seed: int, bits: int, group: int | None) -> None:
    weight, _ = drawn(seed)
    code = round_to_nearest(weight, symmetric_steps(weight, bits, group), bits, weight.shape)
    assert torch.equal(round_to_nearest(code.weight(), code.steps, bits, weight.shape).levels, code.levels)
    if group is not None:
        assert torch.equal(code.steps, code.steps.to(torch.bfloat16).float())


@given(seed=SEEDS, bits=BITS, group=st.sampled_from([None, 8]))
def test_searched_steps_never_round_worse(seed: int, bits: int, group: int | None) -> None:
    weight, seen = drawn(seed)
    importance = seen.second.diagonal()
    errors = [
        ((round_to_nearest(weight, steps, bits, weight.shape).weight() - weight).square() * importance).sum()
        for steps in (searched_steps(weight, bits, group, importance), symmetric_steps(weight, bits, group))
    ]
    assert errors[0] <= errors[1] * (1 + 1e-5)


def test_int4_is_rounded_with_the_steps_of_torchao() -> None:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    weight, _ = drawn(3, columns=64)
    layer = nn.Linear(64, 12, bias=False)
    layer.weight = nn.Parameter(weight)
    config = quantization.Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4, weight_granularity=quantization.PerAxis(0)
    )
    quantization.quantize_(layer, config)
    code = round_to_nearest(weight, symmetric_steps(weight, 4), 4, weight.shape)
    assert torch.equal(code.steps, layer.weight.scale)  # type: ignore[operator]
    differing = code.levels != layer.weight.qdata  # type: ignore[operator]
    # It multiplies by the step's inverse: a weight half way between two levels may fall to the other side.
    assert differing.float().mean() < 0.01


def reference_gptq(weight: Tensor, second: Tensor, steps: Tensor, bits: int, damping: float) -> Tensor:
    """Optimal brain quantisation as the paper's equations have it, column by column in float64: after each, the
    inverse of what is left of H is computed anew.
    """
    order = torch.argsort(second.diagonal(), descending=True, stable=True)
    left, levels = weight.double()[:, order], torch.zeros_like(weight, dtype=torch.float64)
    hessian = second.double()[order][:, order]
    hessian += damping * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=torch.float64)
    for column in range(weight.size(1)):
        inverse = torch.linalg.inv(hessian[column:, column:])
        levels[:, column] = (left[:, column] / steps[:, 0]).round().clamp(*limits(bits))
        error = (left[:, column] - levels[:, column] * steps[:, 0]) / inverse[0, 0]
        left[:, column:] -= torch.outer(error, inverse[0])
    return levels[:, torch.argsort(order)]


@given(seed=SEEDS, bits=st.integers(2, 5))
def test_gptq_is_the_update_of_its_paper(seed: int, bits: int) -> None:
    weight, seen = drawn(seed)
    steps = symmetric_steps(weight, bits)
    levels = gptq.sweep(weight, seen.second, steps, bits, 0.1)
    reference = reference_gptq(weight, seen.second, steps, bits, 0.1)
    # A weight half way between two levels may fall either way in float32, and its row goes on differently.
    same = (levels == reference).all(dim=1)
    assert same.float().mean() >= 0.75


def test_gptq_spreads_errors_over_columns_of_other_blocks_too() -> None:
    weight, seen = drawn(0, rows=20, columns=300, samples=700)
    steps = symmetric_steps(weight, 3)
    levels = gptq.sweep(weight, seen.second, steps, 3, 0.1)
    assert (levels == reference_gptq(weight, seen.second, steps, 3, 0.1)).all(dim=1).float().mean() > 0.6


@given(seed=SEEDS, bits=st.integers(2, 5))
def test_the_loss_of_gptq_is_the_sum_of_its_errors_and_bounded_by_half_steps(seed: int, bits: int) -> None:
    """What holds in every draw. With D the dampened H and U^T U its inverse, tr(E D E^T) is the sum of the squares of
    (w_j - q_j) / U_jj, where w_j is the weight with all corrections; where nothing is clipped that is at most half a
    step over U_jj.
    """
    weight, seen = drawn(seed)
    order = torch.argsort(seen.second.diagonal(), descending=True, stable=True)
    factor = gptq.inverse_factor(seen.second[order][:, order], 0.1)
    steps = symmetric_steps(weight, bits) * 8  # so that corrections are not clipped
    levels = gptq.sweep(weight, seen.second, steps, bits, 0.1)
    difference = (levels * steps - weight)[:, order].double()
    # w_j - q_j of every column from E alone: E = -C U, C being the errors over U_jj.
    errors = torch.linalg.solve_triangular(factor, difference, upper=True, left=False)
    dampened = torch.linalg.inv(factor.T @ factor)
    loss = ((difference @ dampened) * difference).sum(1)
    torch.testing.assert_close(loss, errors.square().sum(1), rtol=1e-6, atol=0)
    inside = (levels > limits(bits)[0]).all(1) & (levels < limits(bits)[1]).all(1)
    bound = (steps.double() / 2 / factor.diagonal()).square().sum(1)
    assert (loss[inside] <= bound[inside] * 1.001).all()


@given(seed=SEEDS, bits=st.integers(2, 8), group=st.sampled_from([None, 8]), search=st.booleans())
def test_gptq_never_loses_more_than_rounding_to_nearest(seed: int, bits: int, group: int | None, search: bool) -> None:
    """In the norm of H, row by row: by the choice between both, see the next test."""
    weight, seen = drawn(seed)
    options = gptq.GPTQOptions(bits=bits, group=group, search=search)
    code, _ = gptq.rounded(weight, seen.second, options, weight.shape)
    nearest = round_to_nearest(weight, code.steps, bits, weight.shape)
    errors = [gptq.hessian_error(each.weight() - weight, seen.second) for each in (code, nearest)]
    assert (errors[0] <= errors[1]).all()


def test_the_sweep_alone_sometimes_loses_more_than_rounding_to_nearest() -> None:
    """GPTQ is greedy, so the paper's sweep has no such guarantee; in most rows it is far better all the same."""
    worse, total, shares = 0, 0, []
    for seed in range(60):
        weight, seen = drawn(seed, columns=8)
        options = gptq.GPTQOptions(bits=3, search=False, keep_nearest=False)
        code, _ = gptq.rounded(weight, seen.second, options, weight.shape)
        nearest = round_to_nearest(weight, code.steps, 3, weight.shape)
        ours, theirs = (gptq.hessian_error(each.weight() - weight, seen.second) for each in (code, nearest))
        worse, total = worse + int((ours > theirs).sum()), total + len(weight)
        shares.append((ours.sum() / theirs.sum()).item())
    assert 0 < worse < 0.2 * total
    assert sorted(shares)[len(shares) // 2] < 0.7


def test_gptq_takes_inputs_that_are_always_zero() -> None:
    weight, seen = drawn(1)
    seen.second[5] = seen.second[:, 5] = 0
    code, _ = gptq.rounded(weight, seen.second, gptq.GPTQOptions(), weight.shape)
    assert torch.isfinite(code.weight()).all()


def test_gptq_in_turn_sees_the_rounded_layers_before_and_leaves_the_model_alone() -> None:
    net, x = mixed(), images(128)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    plain = harness.models.compress(net, method="gptq", bits=2, calibration=x)
    in_turn = harness.models.compress(net, method="gptq", bits=2, calibration=x, sequential=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    first, last = "conv", "out"
    assert torch.equal(plain.weights.layers[first].weight(), in_turn.weights.layers[first].weight())
    assert not torch.equal(plain.weights.layers[last].weight(), in_turn.weights.layers[last].weight())
    with torch.no_grad():
        errors = [(small.module(x) - net(x)).square().mean() for small in (plain, in_turn)]
    assert errors[1] < errors[0]


def smoothed_only(scales_of: str) -> tuple[nn.Module, nn.Module]:
    """A network, and the same with the scales of SmoothQuant or AWQ folded in and nothing rounded."""
    net, inputs = mixed(), calibration_of(images(100))
    (norm,) = normed_layers(net, inputs.batches[0])
    assert norm.parameters == ("norm.weight", "norm.bias")
    assert norm.layers == ("first", "second")
    weights = [net.get_submodule(name).weight.detach() for name in norm.layers]  # type: ignore[operator]
    seen = observe(net, inputs, norm.layers)["first"]
    if scales_of == "smoothquant":
        scales = smoothquant.smoothing(seen.largest, weights, 0.5)
    else:
        scales = awq.scales_of(seen.mean_magnitude, 0.7)
    assert scales.max() / scales.min() > 1.5
    changed = inverse_scaled(net, norm, scales)
    changed |= {f"{name}.weight": weight * scales for name, weight in zip(norm.layers, weights, strict=True)}
    return net, with_weights(net, Weights({}, changed=changed))


@pytest.mark.parametrize("method", ["smoothquant", "awq"])
def test_scales_leave_the_function_that_is_not_rounded_as_it_is(method: str) -> None:
    net, scaled = smoothed_only(method)
    with torch.no_grad():
        outputs = net(images())
        assert (scaled(images()) - outputs).abs().max() < 1e-6 * outputs.abs().max()


def test_smoothquant_evens_out_activations() -> None:
    """At alpha 0.5 the largest activation and the largest weight of a channel are equal after smoothing."""
    weight, seen = drawn(4)
    scales = smoothquant.smoothing(seen.largest, [weight], 0.5)
    torch.testing.assert_close(seen.largest / scales, (weight * scales).abs().amax(0), rtol=1e-4, atol=0)


@given(seed=SEEDS, bits=st.integers(2, 5), group=st.sampled_from([None, 8]))
def test_awq_never_rounds_worse_than_without_scales(seed: int, bits: int, group: int | None) -> None:
    weight, seen = drawn(seed)
    options = awq.AWQOptions(bits=bits, group=group)
    scales = awq.best_scales([weight], seen, options)
    assert awq.output_error(weight, scales, seen, options) <= awq.output_error(weight, torch.ones(32), seen, options)


def test_the_error_of_awq_is_that_of_the_outputs() -> None:
    weight, _ = drawn(5)
    x = torch.randn(64, 32)
    seen = InputStatistics(torch.zeros(32, 32), torch.zeros(32), torch.zeros(32))
    seen.add(x)
    options, scales = awq.AWQOptions(bits=3), torch.rand(32) + 0.5
    steps = symmetric_steps(weight * scales, 3)
    rounded = round_to_nearest(weight * scales, steps, 3, weight.shape).weight()
    direct = ((x / scales) @ rounded.T - x @ weight.T).square().sum(1).mean()
    assert awq.output_error(weight, scales, seen, options) == pytest.approx(direct.item(), rel=1e-4)


@given(seed=SEEDS, bits=st.integers(2, 4), group=st.sampled_from([None, 8]))
def test_omniquant_ends_no_worse_than_it_began(seed: int, bits: int, group: int | None) -> None:
    weight, seen = drawn(seed)
    before = omniquant.OmniQuantOptions(bits=bits, group=group, steps=0)
    after = omniquant.OmniQuantOptions(bits=bits, group=group, steps=15)
    scales = smoothquant.smoothing(seen.largest, [weight], 0.5)
    errors = []
    for options in (before, after):
        (steps,), learned = omniquant.learn([weight], seen, scales, options)
        code = round_to_nearest(weight * learned, steps, bits, weight.shape).weight() / learned
        errors.append(gptq.hessian_error(code - weight, seen.second).sum().item())
    assert errors[1] <= errors[0] * 1.0001


def test_omniquant_learns_clipping_and_scales() -> None:
    weight, seen = drawn(6)
    options = omniquant.OmniQuantOptions(bits=2, steps=40)
    scales = torch.ones(32)
    (steps,), learned = omniquant.learn([weight], seen, scales.clone(), options)
    assert not torch.equal(learned, scales)
    assert not torch.allclose(steps, symmetric_steps(weight * learned, 2), rtol=0.05)
    (_,), fixed = omniquant.learn([weight], seen, None, options)
    assert torch.equal(fixed, scales)


@given(seed=SEEDS, bits=st.integers(2, 8), group=st.sampled_from([None, 16]))
def test_hqq_never_errs_more_than_the_grid_that_it_begins_with(seed: int, bits: int, group: int | None) -> None:
    weight, _ = drawn(seed)
    before, after = (
        hqq.rounded(weight, hqq.HQQOptions(bits=bits, group=group, steps=steps), weight.shape) for steps in (0, 20)
    )
    assert torch.equal(before.steps, after.steps)
    errors = [(code.weight() - weight).abs().mean() for code in (after, before)]
    assert errors[0] <= errors[1] * 1.01  # zero points are stored in float16


def test_hqq_lowers_the_error_of_two_bits() -> None:
    weight, _ = drawn(7, columns=256)
    before, after = (hqq.rounded(weight, hqq.HQQOptions(bits=2, steps=steps), weight.shape) for steps in (0, 20))
    assert (after.weight() - weight).abs().mean() < 0.99 * (before.weight() - weight).abs().mean()


def test_the_shrinkage_is_the_proximal_step_of_the_absolute_value_at_norm_1() -> None:
    x = torch.linspace(-2, 2, 41)
    torch.testing.assert_close(hqq.shrink(x, 4.0, 1.0), F.softshrink(x, 0.25))


@given(seed=SEEDS, threshold=st.floats(0.5, 50))
def test_outlier_columns_are_float16_and_the_others_absmax(seed: int, threshold: float) -> None:
    weight, seen = drawn(seed)
    code = decomposed(weight, seen.largest, threshold, weight.shape)
    outlying = seen.largest >= threshold
    assert torch.equal(outlying.nonzero().flatten(), code.columns)
    assert torch.equal(code.weight()[:, outlying], weight[:, outlying].half().float())
    if not outlying.all():
        inside = absmax(weight[:, ~outlying], 8, weight[:, ~outlying].shape)
        assert torch.equal(code.weight()[:, ~outlying], inside.weight())


@given(seed=SEEDS, count=st.sampled_from([4, 8, 16]))
def test_weighted_k_means_is_a_fixed_point(seed: int, count: int) -> None:
    """Every weight has the nearest entry of its row's table, and every entry is the weighted mean of its weights."""
    weight, _ = drawn(seed, columns=80)
    importance = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) + 0.01
    tables, indices = squeezellm.weighted_means(weight, importance, count, 500)
    assert (tables.diff(dim=1) >= 0).all()
    nearest = (weight[:, :, None] - tables[:, None, :]).abs()
    chosen = nearest.gather(2, indices[:, :, None]).squeeze(2)
    assert (chosen <= nearest.amin(2) * (1 + 1e-5) + 1e-7).all()
    for row in range(len(weight)):
        for entry in indices[row].unique():
            members = indices[row] == entry
            mean = (weight[row] * importance[row])[members].sum() / importance[row][members].sum()
            assert abs(mean - tables[row, entry]) <= 1e-4 * weight[row].abs().max()


def test_k_means_beats_an_even_grid_of_as_many_bits() -> None:
    weight, _ = drawn(8, columns=400)
    ones = torch.ones_like(weight)
    tables, indices = squeezellm.weighted_means(weight, ones, 16, 50)
    even = round_to_nearest(weight, searched_steps(weight, 4), 4, weight.shape).weight()
    assert (tables.gather(1, indices) - weight).norm() < (even - weight).norm()


def test_the_sensitivity_is_the_square_of_the_gradient() -> None:
    """Of a layer with softmax outputs p: (p - drawn class) x^T, whose mean square over classes is p (1 - p) x^2."""
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(6, 3))
    x = torch.randn(1, 6)
    batch = calibration_of(x.repeat(3000, 1))
    square = squeezellm.fisher_diagonal(layer, batch, ["0"])["0"]
    p = layer(x).detach().softmax(-1)[0]
    torch.testing.assert_close(square, torch.outer(p * (1 - p), x[0].square()), rtol=0.15, atol=1e-3)
    assert layer[0].weight.grad is None


@given(seed=SEEDS)
def test_weights_apart_are_the_largest_and_the_most_sensitive(seed: int) -> None:
    weight, _ = drawn(seed)
    importance = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed))
    options = squeezellm.SqueezeLLMOptions(bits=2, largest=0.02, sensitive=0.01)
    code = squeezellm.looked(weight, importance, options, weight.shape)
    apart = set(code.places.tolist())
    assert apart == {*weight.abs().flatten().topk(7).indices.tolist(), *importance.flatten().topk(3).indices.tolist()}
    assert torch.equal(code.weight().flatten()[code.places], weight.flatten()[code.places].half().float())
    assert all(len(row.unique()) <= 4 + len(apart) for row in code.weight())
