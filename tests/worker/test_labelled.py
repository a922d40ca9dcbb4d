"""Accuracy on labelled samples, of models whose answers are known: by numpy, or by construction."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.clock import FakeClock
from models_on_disk import WIDTH, Models
from worker.driving import job, run_forked
from worker.test_passes import Runtime, work

from harness.errors import UsageError
from harness.job import Files
from harness.protocol import Output, Scalar
from harness.worker.labelled import Accuracy, marks_of, read_labels, read_samples

# How many classes have a better score than the label, sample by sample.
RANKS = [0, 0, 1, 4, 5, 0, 7]


def _logits(models: Models, x: np.ndarray) -> np.ndarray:
    """The model computed by numpy."""
    with np.load(models.folder / "mlp.npz") as w:
        return np.maximum(x @ w["0.weight"].T + w["0.bias"], 0) @ w["2.weight"].T + w["2.bias"]


def _data(models: Models, folder: Path) -> dict[str, Path]:
    """Seven samples and their labels, of which `RANKS` are known."""
    x = np.random.default_rng(3).normal(size=(len(RANKS), WIDTH)).astype(np.float32)
    best_first = np.argsort(-_logits(models, x), axis=1)
    np.savez(folder / "inputs.npz", x=x)
    np.save(folder / "labels.npy", best_first[np.arange(len(RANKS)), RANKS])
    return {"inputs": folder / "inputs.npz", "labels": folder / "labels.npy", "output": folder}


@pytest.mark.parametrize("suffix", [".pte", ".pt2"])
def test_accuracy_is_over_all_samples_and_not_over_what_fills_the_last_batch(
    models: Models, tmp_path: Path, suffix: str
) -> None:
    asked = job(measure="quality", batch=3, input_sizes=((3, WIDTH),), inputs_sha256="0", labels_sha256="1")
    said = run_forked(models.folder / f"mlp{suffix}", asked, **_data(models, tmp_path))
    values = {scalar.name: scalar.value for scalar in said.all(Scalar)}
    assert values == {"accuracy_top1": 3 / 7, "accuracy_top5": 5 / 7, "labelled_samples": 7}
    with np.load(said.one(Output).file) as outputs, np.load(tmp_path / "inputs.npz") as given:
        assert sorted(outputs.files) == ["set0_output0", "set1_output0", "set2_output0"]
        computed = np.concatenate([outputs[name] for name in sorted(outputs.files)])
        np.testing.assert_allclose(computed[:7], _logits(models, given["x"]), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(computed[7:], computed[[6, 6]])


@pytest.mark.parametrize("suffix", [".pte", ".pt2"])
def test_numbers_to_be_given_make_a_mean_squared_error(models: Models, tmp_path: Path, suffix: str) -> None:
    """The model is a quarter off in every number of every sample, whatever fills the last batch."""
    files = _data(models, tmp_path)
    with np.load(files["inputs"]) as given:
        np.save(files["labels"], _logits(models, given["x"]) + 0.25)
    asked = job(measure="quality", batch=3, input_sizes=((3, WIDTH),), inputs_sha256="0", labels_sha256="1")
    said = run_forked(models.folder / f"mlp{suffix}", asked, **files)
    values = {scalar.name: scalar.value for scalar in said.all(Scalar)}
    assert values == {"mean_squared_error": pytest.approx(0.0625, rel=1e-4), "labelled_samples": 7}


@pytest.mark.parametrize(
    ("wanted", "outputs", "error", "why"),
    [
        ([[1.0], [2.0], [3.0]], [[[1.0], [2.0]], [[5.0], [9.0]]], 4 / 3, None),
        ([1.0, 2.0], [[[1.0], [4.0]]], 2.0, None),
        ([1.0, 2.0], [[[1.0, 2.0], [4.0, 2.0]]], None, r"sizes \[2, 2\], and the labels \[2\]"),
        ([1.0, 2.0], [None], None, "is no array"),
        ([1.0, 2.0], [[[1.0], [np.inf]]], None, "not finite"),
    ],
)
def test_squared_errors_are_of_the_samples_alone(
    wanted: list[Any], outputs: list[Any], error: float | None, why: str | None
) -> None:
    marks = marks_of(np.array(wanted, np.float64))
    for output in outputs:
        marks.add(None if output is None else np.array(output, np.float32))
    (found, *_) = marks.scalars()
    assert found.value == (None if error is None else pytest.approx(error))
    assert why is None or re.search(why, found.reason or "")


def test_a_model_of_a_fixed_batch_needs_no_other_data(models: Models, tmp_path: Path) -> None:
    """Its batch is 4, and there are six samples, each with the label that the model itself gives it."""
    x = np.random.default_rng(5).normal(size=(6, 128)).astype(np.float32)
    np.savez(tmp_path / "first.npz", x=x[:4])
    np.savez(tmp_path / "second.npz", x=x[2:])
    best = {}
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        run_forked(models.deep, job(measure="quality"), inputs=tmp_path / f"{name}.npz", output=folder)
        with np.load(folder / "outputs.npz") as outputs:
            best[name] = outputs["set0_output0"].argmax(axis=1)
    labels = np.concatenate([best["first"], best["second"][2:]])
    labels[1] = (labels[1] + 1) % 128
    np.savez(tmp_path / "inputs.npz", x=x)
    np.savez(tmp_path / "labels.npz", labels)
    asked = job(measure="quality", labels_sha256="1")
    files = {"inputs": tmp_path / "inputs.npz", "labels": tmp_path / "labels.npz", "output": tmp_path}
    said = run_forked(models.deep, asked, **files)
    assert {scalar.name: scalar.value for scalar in said.all(Scalar)}["accuracy_top1"] == 5 / 6


def test_the_first_batch_is_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = FakeClock()
    monkeypatch.setattr(time, "perf_counter_ns", clock)
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    np.savez(tmp_path / "inputs.npz", x=x)
    (tmp_path / "m.fake").write_bytes(b"12345")
    runtime = Runtime(clock)
    files = Files(model=str(tmp_path / "m.fake"), inputs=str(tmp_path / "inputs.npz"))
    work(files, job(min_iterations=2, inputs_sha256="0", labels_sha256="1"), runtime)
    assert len(runtime.calls) >= 4
    assert all(call[0].tolist() == x[:2].tolist() for call in runtime.calls)


def _scalars(labels: Sequence[int], *batches: Any) -> dict[str, Scalar]:
    accuracy = Accuracy(np.array(labels))
    for batch in batches:
        accuracy.add(None if batch is None else np.asarray(batch))
    return {scalar.name: scalar for scalar in accuracy.scalars()}


def test_of_equal_scores_the_first_is_the_answer() -> None:
    row = [3, 7, 7, 7, 0, 7, 7, 7]
    scalars = _scalars([1, 2, 6, 7], [row, row], [row, row])
    assert scalars["accuracy_top1"].value == 0.25
    assert scalars["accuracy_top5"].value == 0.75


@pytest.mark.parametrize(("classes", "value"), [(5, None), (6, 1.0)])
def test_the_best_five_need_six_classes(classes: int, value: float | None) -> None:
    found = _scalars([0, 1], np.eye(2, classes))
    assert found["accuracy_top1"].value == 1.0
    assert found["accuracy_top5"].value == value
    assert (found["accuracy_top5"].reason is None) == (value is not None)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (None, "is no array"),
        (np.zeros(4), "[4]"),
        (np.zeros((4, 3, 2)), "[4, 3, 2]"),
        (np.zeros((4, 1)), "[4, 1]"),
        (np.full((4, 3), np.nan), "not finite"),
    ],
)
def test_what_has_no_classes_has_no_accuracy_and_says_why(batch: Any, words: str) -> None:
    found = _scalars([0, 1, 2, 0], batch)
    assert found["accuracy_top1"].value is None
    assert words in (found["accuracy_top1"].reason or "")


def test_rows_of_one_position_are_rows() -> None:
    assert _scalars([1, 0], [[[0, 9, 0]], [[9, 0, 0]]])["accuracy_top1"].value == 1.0


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(UsageError, match="label 3, but the model has 3 classes"):
        _scalars([0, 3], np.eye(2, 3))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("l.npy", np.array([0.5, np.nan]), "not finite"),
        ("l.npy", np.array(0.5), "float64 [], not integers"),
        ("l.npy", np.array([True, False]), "bool [2], not integers"),
        ("l.npy", np.array([[0, 1]]), "int64 [1, 2], not integers"),
        ("l.npy", np.array([0, -1]), "label -1"),
        ("l.npz", {"a": np.array([0]), "b": np.array([0])}, "2 arrays"),
        ("l.npy", b"rubbish", "cannot be read"),
        ("l.npz", b"PK\x03\x04", "cannot be read"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, name: str, content: Any, words: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content)
    with pytest.raises(UsageError) as caught:
        read_labels(path)
    assert words in caught.value.message
    assert caught.value.hint


FLOAT = {"kind": "tensor", "dtype": "float32", "sizes": [2, 3], "dynamic": False}


@pytest.mark.parametrize(
    ("arrays", "inputs", "words"),
    [
        ({"x": np.zeros((5, 4), np.float32)}, [FLOAT], "[N, 3]"),
        ({"x": np.zeros(5, np.float32)}, [FLOAT], "[N, 3]"),
        ({"x": np.zeros((0, 3), np.float32)}, [FLOAT], "0 samples"),
        ({"x": np.zeros((5, 3), np.float32), "y": np.zeros((4, 3), np.float32)}, [FLOAT, FLOAT], "4 and 5 samples"),
        ({"x": np.zeros((5, 3), np.float32)}, [FLOAT, FLOAT], "holds 1 arrays"),
    ],
)
def test_samples_that_are_none_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], inputs: list[dict[str, Any]], words: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError) as caught:
        read_samples(tmp_path / "x.npz", inputs, [meta["sizes"] for meta in inputs])
    assert words in str(caught.value)


def test_one_label_is_asked_for_each_sample(models: Models, tmp_path: Path) -> None:
    files = _data(models, tmp_path)
    np.save(files["labels"], np.zeros(6, int))
    asked = job(measure="quality", batch=3, input_sizes=((3, WIDTH),), labels_sha256="1")
    error = run_forked(models.mlp, asked, **files).error
    assert (error.kind, "6 labels" in error.message, "7 samples" in error.message) == ("usage", True, True)


def test_a_worker_that_reads_no_labels_says_so(models: Models, tmp_path: Path) -> None:
    files = _data(models, tmp_path)
    del files["labels"]
    asked = job(measure="quality", batch=3, input_sizes=((3, WIDTH),), labels_sha256="1")
    (top1, top5) = run_forked(models.mlp, asked, **files).all(Scalar)
    assert (top1.name, top1.value, top5.name, top5.value) == ("accuracy_top1", None, "accuracy_top5", None)
    assert "labels" in (top1.reason or "")
