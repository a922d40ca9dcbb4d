"""From a program to CMSIS-NN's integers, what the operators have to do, and a worker that is asked: networks that lower
in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tosa_serializer", reason="needs pip install 'edge-harness[dsp]'")

import torch
from torch import nn

from harness.errors import ModelError
from harness.job import Files, Job
from harness.manifest import sha256_file
from harness.protocol import Done, Error, Event, Hello, Ops, Samples, Scalar, decode
from harness.target import find_target
from harness.targets.dsp.cycles import Work
from harness.targets.dsp.integers import Integers, output_steps
from harness.targets.dsp.lowering import Lowered, lower
from harness.targets.dsp.operators import works
from harness.targets.simulated.certification import compare
from harness.targets.simulated.programs import Program, program, read_archive

WIDTH, HEADS, TOKENS = 32, 2, 8


class Block(nn.Module):
    """Attention with a mask, a norm, and a ReLU between two layers: what a transformer is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.queries, self.keys, self.values = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.register_buffer("mask", torch.full((TOKENS, TOKENS), -8.0).triu(diagonal=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normal = self.norm(x)
        q, k, v = (
            layer(normal).view(TOKENS, HEADS, WIDTH // HEADS).permute(1, 0, 2)
            for layer in (self.queries, self.keys, self.values)
        )
        weights = (torch.bmm(q, k.permute(0, 2, 1)) + self.mask).softmax(dim=-1)
        x = x + torch.bmm(weights, v).permute(1, 0, 2).reshape(1, TOKENS, WIDTH)
        return x + self.down(self.up(x).relu())


class Pixels(nn.Module):
    """A convolution of each class."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.point(self.deep(self.whole(x)))


@dataclass(frozen=True)
class Made:
    path: Path
    program: Program
    lowered: Lowered
    works: list[Work]


def made(folder: Path, model: nn.Module, *example: torch.Tensor) -> Made:
    path = folder / "model.pt2"
    torch.export.save(torch.export.export(model.eval(), example), path)
    chosen = program(path, read_archive(path), "steady")
    lowered = lower(chosen, "M55")
    return Made(path, chosen, lowered, works(lowered.integers))


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Made:
    torch.manual_seed(0)
    return made(tmp_path_factory.mktemp("block"), Block(), torch.randn(1, TOKENS, WIDTH))


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Made:
    torch.manual_seed(0)
    pixels = torch.randn(1, 3, 16, 16).to(memory_format=torch.channels_last)
    return made(tmp_path_factory.mktemp("pixels"), Pixels().to(memory_format=torch.channels_last), pixels)  # type: ignore[call-overload]


def certified(made: Made, louder: float = 1.0) -> dict[str, float | None]:
    samples = [tuple(tensor * louder for tensor in inputs) for inputs in made.program.held_out]
    fake_quant = made.lowered.fake_quant.module(check_guards=False)
    integers = Integers(made.lowered.integers)
    steps = output_steps(made.lowered.integers)
    return compare("cmsis_nn", samples, made.lowered.float32, fake_quant, integers.run, steps)


def value(said: dict[str, float | None], name: str) -> float:
    found = said[name]
    assert found is not None
    return found


def test_integers_are_near_float32_and_fake_quantisation_near_the_integers(block: Made) -> None:
    said = certified(block)
    assert value(said, "cmsis_nn_sqnr_db") > 25
    assert value(said, "fake_quant_within_1_lsb") >= 0.999
    assert value(said, "certified_elements") == 4 * TOKENS * WIDTH
    assert value(said, "out_of_range") < 0.01


def test_inputs_beyond_the_calibrated_range_are_counted(block: Made) -> None:
    assert value(certified(block, louder=10.0), "out_of_range") > 0.05


def test_what_stays_in_float32_is_told(block: Made) -> None:
    left = [work.operator for work in block.works if work.float32]
    assert "native_layer_norm" in left
    assert not {"quantized_linear", "quantized_batch_matmul", "softmax"} & set(left)
    kinds = {work.operator: work.kind for work in block.works}
    assert {name: kinds[name] for name in ("native_layer_norm", "quantized_linear", "softmax")} == {
        "native_layer_norm": "portable",
        "quantized_linear": "linear",
        "softmax": "softmax",
    }


def test_the_work_of_a_block_is_that_of_its_layers(block: Made) -> None:
    layers = [work for work in block.works if work.kind == "linear"]
    assert sum(work.macs for work in layers) == TOKENS * WIDTH * WIDTH * (3 + 4 + 4)
    weights, sums = WIDTH * WIDTH * (3 + 4 + 4), 4 * WIDTH * (3 + 4 + 1)
    assert sum(work.weight_bytes for work in layers) == weights + sums, "int8, and int32 sums that a Helium program has"
    products = [work for work in block.works if work.kind == "matmul"]
    assert sum(work.macs for work in products) == 2 * TOKENS * TOKENS * WIDTH
    assert products[0].outputs == HEADS * (TOKENS + 1) * TOKENS, "and the sums of the second factor"
    assert block.lowered.program_bytes > weights
    assert block.lowered.arena_bytes >= 2 * 4 * TOKENS * WIDTH, "at the least its float32 input and output"


def test_convolutions_have_the_classes_that_the_published_rows_have(pixels: Made) -> None:
    whole, deep, point = (work for work in pixels.works if work.macs)
    assert (whole.kind, whole.outputs, whole.inner, whole.gathered) == ("conv2d", 8 * 64, 27, 64 * 27)
    assert (deep.kind, deep.outputs, deep.inner) == ("depthwise", 8 * 64, 9)
    assert (point.kind, point.outputs, point.inner, point.gathered) == ("pointwise", 4 * 64, 8, 0)
    assert value(certified(pixels), "cmsis_nn_sqnr_db") > 25


def test_an_operator_without_a_cycle_model_is_named(tmp_path: Path) -> None:
    layer = nn.Sequential(nn.ConvTranspose2d(4, 4, 2)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.randn(1, 4, 4, 4).to(memory_format=torch.channels_last)
    with pytest.raises(ModelError, match="no cycle model for quantized_transpose_conv2d"):
        made(tmp_path, layer, image)


def test_an_operator_without_a_path_to_int8_stays_in_float32_and_is_listed(tmp_path: Path) -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(torch.sort(self.layer(x), dim=-1)[0])

    found = made(tmp_path, Sorted(), torch.randn(1, TOKENS, WIDTH))
    assert [work.operator for work in found.works if work.float32] == ["sort", "native_layer_norm"]
    assert value(certified(found), "cmsis_nn_sqnr_db") > 20


def test_outputs_that_are_no_integers_are_compared_with_float32_alone(block: Made) -> None:
    fake_quant = block.lowered.fake_quant.module(check_guards=False)
    said = compare("x", block.program.held_out[:1], block.lowered.float32, fake_quant, fake_quant, [None])
    assert (said["fake_quant_max_lsb"], said["fake_quant_within_1_lsb"]) == (None, None)
    assert value(said, "x_sqnr_db") > 25


def test_an_image_in_another_order_stays_in_float32_with_all_of_its_products(tmp_path: Path) -> None:
    """CMSIS-NN takes channels last alone; ExecuTorch leaves a convolution of channels first to its portable kernel."""
    found = made(tmp_path, nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(1, 3, 8, 8))
    (layer,) = [work for work in found.works if work.macs]
    assert (layer.operator, layer.kind, layer.float32) == ("convolution", "portable", True)
    assert layer.macs == 4 * 6 * 6 * 27


def ask(path: Path, device: str | None = None) -> list[Event]:
    target = find_target("dsp", **({} if device is None else {"device": device}))
    job = Job(target="dsp", model="block", model_sha256=sha256_file(path), scenario="single-stream")
    process = target.launch(job, Files(model=str(path)))
    events = [decode(line) for line in process.lines(300.0)]
    process.close()
    return events


def test_a_worker_says_what_it_estimates_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    layers = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)).eval()
    torch.export.save(torch.export.export(layers, (torch.randn(1, TOKENS, WIDTH),)), path)
    events = ask(path)
    assert isinstance(events[0], Hello)
    assert "calibrated on" in events[0].device["calibration"]
    assert isinstance(events[-1], Done), events[-1]
    (samples,) = [event for event in events if isinstance(event, Samples)]
    said = {event.name: event for event in events if isinstance(event, Scalar)}
    assert all(event.value is not None or event.reason for event in said.values())
    assert said["macs"].value == TOKENS * WIDTH * WIDTH
    assert samples.duration_ns == [round((said["cycles"].value or 0) / 400e6 * 1e9)]
    listed = [event for event in events if isinstance(event, Ops)]
    assert ("steady native_layer_norm", "float32, rate assumed") in {(each.operator, each.delegate) for each in listed}
    assert sum(event.total_ns for event in listed) == pytest.approx(samples.duration_ns[0], rel=1e-3)

    arena = int(said["sram_used_bytes"].value or 0)
    text = (Path(__file__).parents[2] / "targets" / "dsp" / "vliw8.toml").read_text()
    little = tmp_path / "little.toml"
    little.write_text(text.replace("1_048_576", "1_000"))
    *_, last = ask(path, str(little))
    assert isinstance(last, Error)
    assert last.kind == "model"
    assert f"{arena - 1000:,} bytes short" in last.message


def test_sums_that_float32_cannot_hold_are_refused(tmp_path: Path) -> None:
    class Scores(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.bmm(x, x.permute(0, 2, 1))

    found = made(tmp_path, Scores(), torch.randn(1, 4, 300))
    with pytest.raises(ModelError, match="sums 300 products, of which float32 adds 258 exactly"):
        Integers(found.lowered.integers).run(*found.program.held_out[0])
    assert np.prod((4, 4, 300)) == sum(work.macs for work in found.works)
