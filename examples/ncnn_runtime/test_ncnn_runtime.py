"""The contract that every runtime keeps, for ncnn, and what is its own: return codes, and float16."""

from pathlib import Path

import numpy as np
import pytest

from harness.protocol import Loaded
from harness.runtime_contract import ContractModel, RuntimeContract


def write_dense(path: Path, rows: int, weight: np.ndarray, bias: np.ndarray) -> Path:
    """One dense layer of `rows` rows, its weights in the `.bin` next to it."""
    outputs, inputs = weight.shape
    layers = [
        f"Input x 0 1 x 0={inputs} 1={rows}",
        f"InnerProduct dense 1 1 x y 0={outputs} 1=1 2={weight.size}",
    ]
    path.write_text("\n".join(["7767517", "2 2", *layers]) + "\n")
    flag = b"\0" * 4  # the weights behind it are float32
    path.with_suffix(".bin").write_bytes(flag + weight.astype(np.float32).tobytes() + bias.astype(np.float32).tobytes())
    return path


class TestNcnn(RuntimeContract):
    runtime = "ncnn"

    def model(self, folder: Path) -> ContractModel:
        rng = np.random.default_rng(0)
        weight, bias = rng.normal(size=(8, 4)), rng.normal(size=8)
        path = write_dense(folder / "tiny.param", 2, weight, bias)
        heavy = write_dense(folder / "heavy.param", 64, rng.normal(size=(512, 512)), np.zeros(512))
        return ContractModel(path, sizes=((2, 4),), reference=lambda x: [x @ weight.T + bias], heavy=heavy)

    def test_float16_changes_the_outputs_and_is_off(self, tiny: ContractModel, tmp_path: Path) -> None:
        x = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
        (expected,) = tiny.reference(x)
        errors = {}
        for value in ("off", "on"):
            option = (("fp16_storage", value),)
            (settings,) = (
                event.settings
                for event in self.run(tiny.path, runtime_options=option).done().events
                if isinstance(event, Loaded)
            )
            assert settings["fp16_storage"] == value
            (computed,) = self.outputs(tiny.path, tmp_path / value, [x], runtime_options=option)
            errors[value] = np.abs(computed - expected).max()
        assert errors["off"] < 1e-5 < errors["on"] < 1e-2

    @pytest.mark.parametrize("words", ["", "7767517\n2 2\nInput x 0 1 x 0=4\nAcme a 1 1 x y\n", "7767517\n9 9\n"])
    def test_what_ncnn_only_answers_with_a_number_is_an_error(self, tiny: ContractModel, words: str) -> None:
        tiny.path.write_text(words)
        assert self.run(tiny.path).error.kind == "model"

    def test_weights_that_are_too_short_are_an_error(self, tiny: ContractModel) -> None:
        tiny.path.with_suffix(".bin").write_bytes(b"\0" * 20)
        assert "cannot read" in self.run(tiny.path).error.message

    def test_weights_that_are_not_there_are_an_error(self, tiny: ContractModel) -> None:
        tiny.path.with_suffix(".bin").unlink()
        assert "tiny.bin, which is not there" in self.run(tiny.path).error.message
