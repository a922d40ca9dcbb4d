"""Feed-forward weights out of checkpoints, good and bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harness.errors import ModelError, UsageError
from harness.flash.io.weights import read_weights

UP, DOWN = "layers.{layer}.fc1.weight", "layers.{layer}.fc2.weight"


def tensors() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {
        "layers.0.fc1.weight": (12, 8),
        "layers.0.fc2.weight": (8, 12),
        "layers.1.fc1.weight": (10, 8),
        "layers.1.fc2.weight": (8, 10),
        "layers.3.fc1.weight": (12, 8),
        "embedding": (5, 8),
        "scale": (),
    }
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_rows_are_those_of_the_checkpoint(tmp_path: Path, suffix: str) -> None:
    path, weights = tmp_path / f"model{suffix}", tensors()
    if suffix == ".npz":
        np.savez(path, **weights)
    else:
        save_file({name: torch.from_numpy(value.copy()) for name, value in weights.items()}, path)
    shape, rows = read_weights(path, UP, DOWN)
    # Layers 0 and 1; layer 3 comes after a gap, so it is other weights: 12 x 8, 5 x 8 and one number.
    assert (shape.width, shape.neurons, shape.rest_bytes) == (8, (12, 10), 2 * (96 + 40 + 1))
    for layer in (0, 1):
        up, down = rows(layer)
        assert up.dtype == down.dtype == np.float32
        assert (up == weights[f"layers.{layer}.fc1.weight"]).all()
        assert np.array_equal(down, weights[f"layers.{layer}.fc2.weight"].T)
        assert down.flags.c_contiguous


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    pair = {"up0": torch.tensor([[1.5, -2.0]]).bfloat16(), "down0": torch.tensor([[0.25], [3.0]]).bfloat16()}
    save_file(pair, tmp_path / "b.safetensors")
    _, rows = read_weights(tmp_path / "b.safetensors", "up{layer}", "down{layer}")
    up, down = rows(0)
    assert up.tolist() == [[1.5, -2.0]]
    assert down.tolist() == [[0.25, 3.0]]


def save(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("arrays", "up", "words"),
    [
        ({"a": np.ones(3)}, UP, "it begins with a"),
        ({}, UP, "it begins with nothing"),
        ({"layers.0.fc1.weight": np.ones((4, 2)), "layers.0.fc2.weight": np.ones((4, 2))}, UP, "no feed-forward layer"),
        ({"layers.0.fc1.weight": np.ones(4), "layers.0.fc2.weight": np.ones(4)}, UP, "no feed-forward layer"),
        ({"layers.0.fc1.weight": np.ones((4, 2)), "layers.0.fc2.weight": np.ones((2, 4))}, "{0}", "readable"),
        ({"layers.0.fc1.weight": np.ones((4, 2)), "layers.0.fc2.weight": np.ones((2, 4))}, "{", "readable"),
        ({"layers.0.fc1.weight": np.array([{}], dtype=object), "layers.0.fc2.weight": np.ones(1)}, UP, "readable"),
        (
            {
                **{f"layers.{n}.fc1.weight": np.ones((4, 2 + n)) for n in (0, 1)},
                **{f"layers.{n}.fc2.weight": np.ones((2 + n, 4)) for n in (0, 1)},
            },
            UP,
            "width 2",
        ),
    ],
)
def test_arrays_that_are_no_feed_forward_layers(
    tmp_path: Path, arrays: dict[str, np.ndarray], up: str, words: str
) -> None:
    with pytest.raises(ModelError) as refused:
        read_weights(save(tmp_path / "bad.npz", **arrays), up, DOWN)
    assert words in refused.value.message
    assert refused.value.hint


def test_names_that_are_the_same_for_every_layer(tmp_path: Path) -> None:
    path = save(tmp_path / "one.npz", up=np.ones((4, 2)), down=np.ones((2, 4)))
    with pytest.raises(ModelError, match="lack"):
        read_weights(path, "up", "down")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY", b"x" * 100])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_that_are_damaged(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="no readable weights"):
        read_weights(path, UP, DOWN)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no readable weights"):
        read_weights(tmp_path / "absent.safetensors", UP, DOWN)
    with pytest.raises(ModelError, match="no readable weights"):
        read_weights(tmp_path / "absent.npz", UP, DOWN)
    with pytest.raises(UsageError, match=r"neither \.safetensors nor \.npz"):
        read_weights(tmp_path / "model.bin", UP, DOWN)
