"""Small integers found in weights or made of them, and what XNNPACK makes of the layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchao.quantization import Int8DynamicActivationIntxWeightConfig, PerAxis, PerGroup, quantize_

from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.pte import lowered_to_pte
from harness.models.export.quantised_linear import (
    GROUP,
    RANGES,
    QuantisedLinear,
    exact_levels,
    integers,
    rounded,
    rounded_levels,
)


def integer_weights(seed: int, rows: int, columns: int, largest: int, live: float = 0.7) -> Tensor:
    """Levels up to `largest` times a step per row, no power of two: float32 [rows, columns]. Some rows are dead."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(-largest - 1, largest + 1, (rows, columns), generator=generator)
    levels *= torch.rand(levels.shape, generator=generator) < live
    levels[torch.rand(rows, generator=generator) < 0.2] = 0
    return levels * torch.exp2(torch.randn(rows, 1, generator=generator) - 5)


def value(weight: Tensor, precision: str) -> Tensor:
    """What is stored for `weight`, multiplied out."""
    found = integers(weight, precision)
    step = found.step if found.step.dim() == 2 else found.step[:, None]
    return found.levels * step.repeat_interleave(weight.size(1) // step.size(1), dim=1)


@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 9),
    columns=st.integers(1, 40),
    largest=st.sampled_from([1, 3, 7, 127]),
    live=st.sampled_from([0.05, 0.7, 1.0]),
)
def test_integers_and_steps_are_found_again(seed: int, rows: int, columns: int, largest: int, live: float) -> None:
    weight = integer_weights(seed, rows, columns, largest, live)
    found = exact_levels(weight)
    assert found is not None
    torch.testing.assert_close(found.levels * found.step[:, None], weight, atol=0, rtol=1e-6)
    assert found.bits == (4 if found.levels.min() >= -8 and found.levels.max() <= 7 else 8)
    assert largest > 7 or found.bits == 4


def test_a_common_factor_folded_in_does_not_hide_them() -> None:
    weight = integer_weights(0, 8, 40, 7) / 20**0.5  # the scale of scores, at a head size that is no power of four
    assert exact_levels(weight) is not None


def test_weights_that_are_no_integers_are_not_taken_for_such() -> None:
    weight = integer_weights(0, 8, 40, 7)
    weight[3] = torch.randn(40)
    assert exact_levels(weight) is None


@pytest.mark.parametrize("scale", [1.0, 32**-0.5])
def test_integers_by_groups_are_kept(scale: float) -> None:
    """Every block of 32 weights has learned a step of its own: int4 rounds these no more than bfloat16 does a step."""
    steps = torch.exp2(torch.randint(-9, -3, (8, 3, 1), generator=torch.Generator().manual_seed(1)).float())
    weight = (integer_weights(0, 8, 96, 7).sign().view(8, 3, 32) * 5 * steps + steps).view(8, 96) * scale
    assert exact_levels(weight) is None
    found = integers(weight, "int4-group32")
    assert (found.bits, tuple(found.step.shape)) == (4, (8, 3))
    torch.testing.assert_close(value(weight, "int4-group32"), weight, atol=0, rtol=0 if scale == 1 else 2**-8)
    assert integers(weight, "int8").bits == 8
    assert integers(weight[:, :80], "int4-group32").bits == 8


def test_rounding_errs_by_half_a_step() -> None:
    weight = torch.randn(10, 64)
    for precision, largest in (("int8", 127), ("int4-channel", 7), ("int4-group32", 7)):
        error = (value(weight, precision) - weight).abs().max()
        assert 0 < error <= 0.51 * weight.abs().max() / largest
    assert integers(weight, "int4-channel").step.shape == (10,)
    assert integers(weight, "int4-group32").step.shape == (10, 2)


def test_int4_needs_even_inputs_and_groups_need_whole_ones() -> None:
    bits = {
        columns: [integers(torch.randn(10, columns), precision).bits for precision in ("int4-channel", "int4-group32")]
        for columns in (GROUP, GROUP + 1, GROUP + 2)
    }
    assert bits == {GROUP: [4, 4], GROUP + 1: [8, 8], GROUP + 2: [4, 8]}


@pytest.mark.parametrize(
    ("bits", "group", "granularity"), [(8, None, PerAxis(0)), (4, None, PerAxis(0)), (4, GROUP, PerGroup(GROUP))]
)
def test_plain_weights_are_rounded_as_torchao_rounds_them(bits: int, group: int | None, granularity: Any) -> None:
    """Its 8da8w and 8da4w: the same levels, but for the steps of groups, which XNNPACK holds in bfloat16."""
    torch.manual_seed(0)
    layer = nn.Linear(4 * GROUP, 50, bias=False)
    layer.weight.data[7] = 0
    found = rounded_levels(layer.weight, bits, group)
    assert found.levels.min() == RANGES[bits][0]
    assert found.levels.max() == RANGES[bits][1]
    width = getattr(torch, f"int{bits}")
    quantize_(layer, Int8DynamicActivationIntxWeightConfig(weight_dtype=width, weight_granularity=granularity))
    theirs: Any = layer.weight
    if group is None:
        assert torch.equal(found.levels, theirs.qdata)
        assert torch.equal(found.step, theirs.scale[:, 0])
    else:
        assert torch.equal(found.step, theirs.scale.to(torch.bfloat16).float())
        same = found.levels == theirs.qdata
        assert same.float().mean() > 0.97
        assert (found.levels[~same] - theirs.qdata[~same]).abs().max() <= 1


def test_an_odd_number_of_inputs_is_not_int4() -> None:
    assert [integers(integer_weights(0, 8, columns, 7), "int4-channel").bits for columns in (39, 40)] == [8, 4]


def test_integers_are_kept_whatever_the_precision() -> None:
    weight = integer_weights(0, 8, 40, 7)
    precisions = ("int8", "int4-channel", "int4-group32")
    assert [integers(weight, precision).bits for precision in precisions] == [8, 4, 4]
    for precision in precisions:
        torch.testing.assert_close(value(weight, precision), weight, atol=0, rtol=1e-6)


@torch.no_grad()
def test_xnnpack_takes_every_kind_as_it_is(tmp_path: Path) -> None:
    """One delegate, nothing beside it, and the numbers of eager PyTorch, on all cores and for every token."""
    torch.manual_seed(0)
    weights = [integer_weights(0, 64, 12, 7), torch.randn(57, 64), torch.randn(7, 57), integer_weights(2, 5, 7, 100)]
    kinds = [integers(weight, "int4-group32") for weight in weights]
    assert [(kind.bits, kind.step.dim()) for kind in kinds] == [(4, 1), (4, 2), (8, 1), (8, 1)]
    layers = nn.Sequential(*map(QuantisedLinear, kinds)).eval()
    path = tmp_path / "layers.pte"
    with library_noise_hidden():
        from executorch.exir._serialize._program import deserialize_pte_binary
        from executorch.runtime import Runtime

        path.write_bytes(lowered_to_pte({"forward": torch.export.export(layers, (torch.randn(1, 3, 12),))}, {}))
        plan = deserialize_pte_binary(path.read_bytes()).program.execution_plan[0]
        assert [type(each.instr_args).__name__ for each in plan.chains[0].instructions] == ["DelegateCall"]
        x = torch.randn(1, 3, 12)
        program = Runtime.get().load_program(path)  # kept: what a method returns lies in the program's memory
        method = program.load_method("forward")
        assert method is not None
        found = method.execute([x])[0].clone()
    assert (found - layers(x)).abs().max() < 0.02 * found.std()  # a tie of rounding costs one level of 255


@torch.no_grad()
@pytest.mark.parametrize(
    ("precision", "kernel"), [("int8", "QC8W"), ("int4-channel", "QC4W"), ("int4-group32", "QB4W")]
)
def test_each_precision_has_its_own_kernel_and_computes_with_its_own_weights(
    precision: str, kernel: str, tmp_path: Path
) -> None:
    """The names that XNNPACK gives its operators at run time say which kernel a layer got. What it computes is set
    against float64 products of the stored weights: a step lost on the way would show.
    """
    torch.manual_seed(0)
    weight, x = torch.randn(48, 64) * torch.exp2(torch.randn(48, 1)), torch.randn(1, 3, 64)
    layer = QuantisedLinear(integers(weight, precision)).eval()
    path = tmp_path / "layer.pte"
    with library_noise_hidden():
        from executorch.devtools import Inspector
        from executorch.extension.pybindings.portable_lib import _load_for_executorch

        path.write_bytes(lowered_to_pte({"forward": torch.export.export(layer, (x,))}, {}))
        program = _load_for_executorch(str(path), enable_etdump=True)
        found = program.forward([x])[0].clone()
        program.write_etdump_result_to_file(f"{path}.etdp")
        events = [event for block in Inspector(etdump_path=f"{path}.etdp").event_blocks for event in block.events]
    products = [event.name for event in events if event.name.startswith("Fully Connected")]
    assert len(products) == 1
    assert kernel in products[0]
    expected = rounded(x).double() @ value(weight, precision).double().T
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", ["int8", "int4-channel"])
def test_activations_cost_less_than_a_percent_each(precision: str) -> None:
    torch.manual_seed(0)
    weight, x = integer_weights(0, 32, 64, 7), torch.randn(2, 5, 64)
    exact = x @ weight.T
    error = QuantisedLinear(integers(weight, precision))(x) - exact
    assert error.std() < 0.01 * exact.std()
