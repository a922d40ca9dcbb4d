"""Lowering, certification, Vela's estimates and our bound, on feed-forward networks that lower in seconds."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ethosu.vela", reason="needs pip install 'edge-harness[npu]'")
pytest.importorskip("tosa_reference_model", reason="needs pip install 'edge-harness[npu]'")

import torch
from torch import nn

from harness.conditions.flags import range_flags
from harness.errors import ModelError, UsageError
from harness.measurement import Measurement
from harness.protocol import Scalar
from harness.targets.npu.certification import certify, run_tosa
from harness.targets.npu.configuration import find
from harness.targets.npu.lowering import Lowered, lower
from harness.targets.npu.roofline import Work, bound_ns, works
from harness.targets.npu.vela import Estimate, estimate
from harness.targets.npu.vela_ini import Memories, memories
from harness.targets.simulated import faster_lowering
from harness.targets.simulated.programs import Program, program, read_archive

WIDTH, HIDDEN, TOKENS = 32, 256, 8
U85 = find("u85-256-flash")


def ffn(hidden: int, alive: int | None = None) -> nn.Module:
    """Two layers with a ReLU between; of the hidden neurons only the first `alive` have weights that are not zero."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, WIDTH, bias=False)).eval()
    model.requires_grad_(False)
    if alive is not None:
        model[0].weight[alive:] = 0.0
        model[2].weight[:, alive:] = 0.0
    return model


def archive(path: Path, model: nn.Module, *inputs: torch.Tensor) -> Path:
    torch.export.save(torch.export.export(model, inputs or (torch.randn(1, TOKENS, WIDTH),)), path)
    return path


def read(path: Path) -> Program:
    return program(path, read_archive(path), "steady")


@dataclass(frozen=True)
class Made:
    program: Program
    lowered: Lowered
    estimate: Estimate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """The same network whole, with seven eighths of its neurons zero, and with these cut out."""
    found = {}
    for name, model in {
        "whole": ffn(HIDDEN),
        "zeros": ffn(HIDDEN, HIDDEN // 8),
        "cut": ffn(HIDDEN // 8),
    }.items():
        folder = tmp_path_factory.mktemp(name)
        chosen = read(archive(folder / "ffn.pt2", model))
        lowered = lower(chosen, U85)
        (folder / "model.tosa").write_bytes(lowered.tosa)
        found[name] = Made(chosen, lowered, estimate(folder / "model.tosa", U85))
    return found


def test_the_integers_are_those_of_the_layers_multiplied_by_hand(made: dict[str, Made]) -> None:
    """The reference model against int8 arithmetic in numpy: the same within one step, whatever rounding it prefers."""
    program, lowered = made["whole"].program, made["whole"].lowered
    scales = [
        node.args[1:3]
        for node in lowered.host.graph.nodes
        if node.op == "call_function" and "quantize_per_tensor" in str(node.target)
    ]
    (scale_in, zero_in), (scale_out, zero_out) = scales
    x = program.held_out[0][0].numpy()
    levels = np.clip(np.round(x / scale_in) + zero_in, -128, 127).astype(np.int8)
    (found,) = run_tosa(lowered.tosa, [levels])
    real = lowered.float32(torch.from_numpy((levels.astype(np.float32) - zero_in) * scale_in)).numpy()
    expected = np.clip(np.round(real / scale_out) + zero_out, -128, 127)
    assert found.dtype == np.int8
    assert np.abs(found - expected).max() <= 6, "weights and hidden activations are rounded as well"
    assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.999


def test_fake_quantisation_is_within_one_step_and_both_are_near_float32(made: dict[str, Made]) -> None:
    said = certify(made["whole"].lowered, made["whole"].program.held_out)
    assert said["certified_elements"] == 4 * TOKENS * WIDTH
    assert said["fake_quant_within_1_lsb"] is not None
    assert said["fake_quant_within_1_lsb"] >= 0.999
    assert said["tosa_sqnr_db"] is not None
    assert said["tosa_sqnr_db"] > 25
    assert said["out_of_range"] is not None
    assert said["out_of_range"] < 0.01


# What a worker does with a program that was lowered by another process.
EVALUATE = """
import sys
from pathlib import Path

from harness.job import Files, Job
from harness.targets.simulated.program_cache import CachedProgram
from harness.targets.simulated.worker import _quality

folder = Path(sys.argv[1])
job = Job(target="npu", model="ffn", model_sha256="0" * 64, scenario="single-stream", measure="quality")
files = Files(model="gone.pt2", inputs=str(folder / "inputs.npz"), output=str(folder))
_quality(job, files, CachedProgram(folder, {}), print)
"""


def test_a_saved_fake_quantised_program_gives_the_same_numbers_in_a_new_process(
    made: dict[str, Made], tmp_path: Path
) -> None:
    whole = made["whole"]
    torch.export.save(whole.lowered.fake_quant, tmp_path / "fake_quant.pt2")
    given = whole.program.held_out[0]
    np.savez(tmp_path / "inputs.npz", arg_0=given[0].numpy())
    subprocess.run([sys.executable, "-P", "-c", EVALUATE, str(tmp_path)], check=True)  # not of the checkout
    expected = whole.lowered.fake_quant.module(check_guards=False)(*given)
    with np.load(tmp_path / "outputs.npz") as found:
        np.testing.assert_array_equal(found["set0_output0"], expected.numpy())
    assert not np.array_equal(expected.numpy(), whole.lowered.float32(*given).numpy()), "float32 would not show it"


def test_inputs_beyond_the_calibrated_range_are_counted_and_flagged(made: dict[str, Made]) -> None:
    louder = tuple((inputs[0] * 10,) for inputs in made["whole"].program.held_out)
    said = certify(made["whole"].lowered, louder)
    assert said["out_of_range"] is not None
    assert said["out_of_range"] > 0.1
    measurement = Measurement()
    measurement.add(Scalar(name="out_of_range", value=said["out_of_range"], phase="steady"))
    assert range_flags(measurement) == ["out_of_range"]
    quiet = Measurement()
    quiet.add(Scalar(name="out_of_range", value=0.0, phase="steady"))
    assert range_flags(quiet) == []


def test_zeros_save_traffic_and_only_removed_channels_save_cycles(made: dict[str, Made]) -> None:
    whole, zeros, cut = (made[name].estimate.summary for name in ("whole", "zeros", "cut"))
    assert zeros["total_original_weights"] == whole["total_original_weights"]
    assert zeros["total_npu_encoded_weights"] < 0.5 * whole["total_npu_encoded_weights"]
    assert zeros["cycles_off_chip_flash_access"] < 0.7 * whole["cycles_off_chip_flash_access"]
    assert zeros["nn_macs"] == whole["nn_macs"]
    assert cut["nn_macs"] == whole["nn_macs"] / 8
    assert cut["cycles_npu"] < zeros["cycles_npu"]


def test_an_estimate_is_kept_and_is_the_sum_of_its_operators(made: dict[str, Made], tmp_path: Path) -> None:
    found = made["whole"].estimate
    assert found.duration_ns == round(found.summary["cycles_total"] / 500e6 * 1e9)
    assert sum(layer.cycles for layer in found.layers) == found.summary["cycles_total"]
    (tmp_path / "model.tosa").write_bytes(made["whole"].lowered.tosa)
    first = estimate(tmp_path / "model.tosa", U85)
    (tmp_path / "model.tosa").write_bytes(b"no longer needed")
    assert estimate(tmp_path / "model.tosa", U85) == first == found


def test_the_bound_counts_the_work_of_the_program(made: dict[str, Made]) -> None:
    work = works(made["whole"].lowered.tosa)
    assert sum(each.macs for each in work) == 2 * TOKENS * WIDTH * HIDDEN
    layers = [each for each in work if each.operator == "Conv2D"]
    assert len(layers) == 2
    assert all(each.weight_bytes >= WIDTH * HIDDEN for each in layers)
    bound = bound_ns(work, memories(U85), U85.macs_per_cycle, 1.0)
    assert bound["linear"] >= 2 * WIDTH * HIDDEN / 0.5e9 * 1e9, "all weights come over half a gigabyte a second"
    assert bound["matmul"] == 0


def test_the_bound_is_the_slower_of_array_and_memory() -> None:
    areas = Memories(1e9, {"sram": 16e9, "flash": 1e9}, weights="flash", activations="sram")
    busy, thirsty = Work("Conv2D", 256_000, 10, 10), Work("Conv2D", 256, 5_000, 16_000)
    assert bound_ns([busy], areas, 256, 1.0)["linear"] == pytest.approx(1000)
    assert bound_ns([thirsty], areas, 256, 1.0)["linear"] == pytest.approx(5000)
    assert bound_ns([thirsty], areas, 256, 0.1)["linear"] == pytest.approx(1000), "activations are not encoded"
    shared = Memories(1e9, {"dram": 1e9}, weights="dram", activations="dram")
    assert bound_ns([thirsty], shared, 256, 1.0)["linear"] == pytest.approx(21_000)


def test_a_u55_takes_no_product_of_two_activations(tmp_path: Path) -> None:
    class Scores(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x @ x.transpose(1, 2)).softmax(-1)

    chosen = read(archive(tmp_path / "scores.pt2", Scores()))
    with pytest.raises(UsageError, match="ethos-u55-256 cannot multiply two activations"):
        lower(chosen, find("u55-256-flash"))


def test_an_operator_without_a_path_is_named(tmp_path: Path) -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sort(self.layer(x), dim=-1)[0]

    chosen = read(archive(tmp_path / "sorted.pt2", Sorted().eval()))
    with pytest.raises(ModelError, match=r"sort.* no int8 path on ethos-u85-256 and would stay on the CPU"):
        lower(chosen, U85)


def test_shapes_that_are_remembered_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = read(archive(tmp_path / "model.pt2", nn.Sequential(ffn(HIDDEN), nn.LayerNorm(WIDTH), ffn(HIDDEN))))
    remembered = lower(made, U85).tosa
    monkeypatch.setattr(faster_lowering, "_remembered", lambda call: call)
    assert lower(made, U85).tosa == remembered
