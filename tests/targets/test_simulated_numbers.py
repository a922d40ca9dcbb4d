"""The figures of simulated targets against sums that were done by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators that round
from torch import Tensor, nn

from harness.targets.simulated.calibration import Counting, quantised
from harness.targets.simulated.certification import compare
from harness.targets.simulated.description import describe_archive
from harness.targets.simulated.programs import Archive, program

STEP = 0.5
ROUND = torch.ops.quantized_decomposed


class Rounded(nn.Module):
    """Steps of a half, from -2 to 1.5; the second input as it is."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        levels = ROUND.quantize_per_tensor.default(x, STEP, 0, -4, 3, torch.int8)
        return ROUND.dequantize_per_tensor.default(levels, STEP, 0, -4, 3, torch.int8), y


Y = torch.tensor([[1.0, 2.0, 2.0]])
SAMPLES = (
    (torch.tensor([[0.0, 0.5, 1.5, 2.0], [-2.0, -2.5, 0.2, 1.0]]), Y),
    (torch.tensor([[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]]), Y),
)
# What integers made of them: one step off, and two steps twice.
INTEGERS = (torch.tensor([[0.0, 0.5, 1.0, 1.5], [-2.0, -2.0, 1.0, 0.0]]), SAMPLES[1][0])


def certified(steps: list[float | None], integers: tuple[Tensor, ...] = INTEGERS) -> dict[str, float | None]:
    answers = iter(integers)
    fake_quant = torch.fx.symbolic_trace(Rounded())
    return compare("chip", SAMPLES, lambda *inputs: inputs, fake_quant, lambda x, y: (next(answers), y), steps)


def test_certification_is_that_of_sums_done_by_hand() -> None:
    signal = (0.25 + 2.25 + 4 + 4 + 6.25 + 0.04 + 1) + (1 + 1) + 2 * 9
    noise = 0.5**2 + 0.5**2 + 0.5**2 + 0.8**2 + 1.0**2
    assert certified([STEP, None]) == {
        "chip_sqnr_db": pytest.approx(10 * math.log10(signal / noise), abs=1e-5),
        "chip_argmax_agreement": 3 / 4,  # of four rows, all but the second
        "fake_quant_argmax_agreement": 2 / 4,  # nor the first, where 2.0 was clipped to 1.5
        "fake_quant_max_lsb": 2.0,
        "fake_quant_within_1_lsb": 14 / 16,
        "certified_elements": 22.0,
        "out_of_range": 2 / 16,
    }


def test_what_cannot_be_said_is_null() -> None:
    found = certified([None, None], tuple(x for x, _ in SAMPLES))
    assert found["chip_sqnr_db"] is found["fake_quant_max_lsb"] is found["fake_quant_within_1_lsb"] is None
    assert found["chip_argmax_agreement"] == 1.0


def test_a_value_at_the_end_of_its_range_is_not_clipped_and_one_beyond_is() -> None:
    counting = Counting(torch.fx.symbolic_trace(Rounded()))
    counting.run(torch.tensor([-2.0, 1.5, 1.7]), Y)
    assert (counting.clipped, counting.rounded) == (0, 3)
    counting.run(torch.tensor([-2.3, 1.8, 0.0]), Y)
    assert (counting.clipped, counting.rounded) == (2, 6)


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x


def test_ranges_are_those_of_all_the_calibration_and_not_of_its_first_inputs() -> None:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )

    small, large = (torch.linspace(-1, 1, 64).view(1, 64) * scale for scale in (1.0, 10.0))
    exported = torch.export.export(Sum(), (small,))
    for calibration in ((small, large), (large, small)):
        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config())
        rounding = quantised(exported, tuple((each,) for each in calibration), quantizer).module(check_guards=False)
        assert float((rounding(large) - 2 * large).abs().max()) < 0.3


class Pixels(nn.Module):
    def forward(self, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        return (x * 2).relu().sum(1), index + 1


@pytest.fixture
def pixels() -> Archive:
    example = (torch.zeros(2, 3).to(torch.float32), torch.zeros(5, dtype=torch.int64))
    return Archive({"model": torch.export.export(Pixels(), example)}, None)


def test_a_program_is_certified_on_other_inputs_than_it_is_calibrated_on(pixels: Archive, tmp_path: Any) -> None:
    made = program(tmp_path / "x.pt2", pixels, "steady")
    assert (made.phase, made.text) == ("steady", False)
    both = [tuple(each[0].flatten().tolist()) for each in (*made.calibration, *made.held_out)]
    assert (len(made.calibration), len(made.held_out), len(set(both))) == (16, 4, 20)
    again = program(tmp_path / "x.pt2", pixels, "steady")
    assert all(torch.equal(one[0], two[0]) for one, two in zip(made.held_out, again.held_out, strict=True))


def test_a_program_says_its_inputs_and_outputs(pixels: Archive) -> None:
    (forward,) = describe_archive(pixels).methods
    assert [(each["dtype"], each["sizes"]) for each in forward["inputs"]] == [("float32", [2, 3]), ("int64", [5])]
    assert [(each["dtype"], each["sizes"]) for each in forward["outputs"]] == [("float32", [2]), ("int64", [5])]


def test_programs_that_generate_say_their_vocabulary_and_context() -> None:
    said = describe_archive(Archive({}, {"vocabulary_size": 65, "context": 256}))
    (forward,) = said.methods
    assert [each["sizes"] for each in forward["inputs"]] == [[1, 256], [1]]
    assert forward["outputs"] == [{"dtype": "float32", "sizes": [1, 65]}]
    assert said.metadata == {
        "get_vocab_size": 65,
        "get_max_seq_len": 256,
        "get_max_context_len": 256,
        "use_kv_cache": True,
        "enable_dynamic_shape": False,
    }
