"""`harness run --inputs --labels`: the accuracy of the very files that are timed, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli.driving import QUICK, Home
from models_on_disk import WIDTH, Models


@pytest.fixture
def data(home: Home, models: Models) -> tuple[Path, Path]:
    """Samples, and as labels what the model says of them, but of every fourth."""
    x = np.random.default_rng(3).normal(size=(10, WIDTH)).astype(np.float32)
    with np.load(models.folder / "mlp.npz") as w:
        logits = np.maximum(x @ w["0.weight"].T + w["0.bias"], 0) @ w["2.weight"].T + w["2.bias"]
    labels = logits.argmax(axis=1)
    labels[::4] = logits.argmin(axis=1)[::4]
    np.savez(home.folder / "x.npz", x=x)
    np.save(home.folder / "y.npy", labels)
    return home.folder / "x.npz", home.folder / "y.npy"


def test_accuracy_stands_beside_the_time_of_the_same_file(home: Home, models: Models, data: tuple[Path, Path]) -> None:
    inputs, labels = data
    ended = home.harness(
        *("run", "-t", "x86", "-m", models.mlp, "-m", models.mlp_pt2, "-n", "2", *QUICK, "--no-memory", "--batch", "4"),
        *("--inputs", inputs, "--labels", labels),
    )
    assert ended.code == 0, ended.err
    found = [(row["name"], row["value"]) for row in home.rows("scalars") if row["name"].startswith("accuracy")]
    assert sorted(found) == [("accuracy_top1", 0.7)] * 2 + [("accuracy_top5", 0.7)] * 2
    assert {row["batch"] for row in home.rows() if row["measure"] == "latency"} == {4}
    assert "accuracy, top 1" in ended.out
    assert home.harness("compare", "--format", "json").code == 0


def test_one_model_alone_has_its_accuracy_too(home: Home, models: Models, data: tuple[Path, Path]) -> None:
    inputs, labels = data
    ended = home.harness(
        *("run", "-t", "x86", "-m", models.mlp, "-n", "1", *QUICK, "--no-memory", "--inputs", inputs),
        *("--labels", labels),
    )
    assert ended.code == 0, ended.err
    assert ("accuracy_top1", 0.7) in [(row["name"], row["value"]) for row in home.rows("scalars")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--labels", "y.npy"], "--inputs"),
        (["--inputs", "x.npz", "--labels", "y.npy", "--batch-dim", "1"], "first dimension"),
    ],
)
def test_labels_that_say_nothing_are_refused(
    home: Home, models: Models, data: tuple[Path, Path], arguments: list[str], words: str
) -> None:
    home.harness("run", "-t", "x86", "-m", models.mlp, *arguments).explained(2, words)


def test_a_language_model_has_no_classes(home: Home, models: Models, data: tuple[Path, Path]) -> None:
    inputs, labels = data
    ended = home.harness("run", "-t", "x86", "-m", models.lm, "--inputs", inputs, "--labels", labels)
    ended.explained(2, "language model")
