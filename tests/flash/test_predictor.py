"""The predictor learns a layer that it can learn, not one that it cannot, and its mistakes are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.errors import HarnessError, ModelError, UsageError
from harness.flash.language_model.predictor import Predictor, Score, load, predicted_trace, save, score, train

STEPS = 300
METADATA = {"format": "harness-predictors", "version": "1"}


def by_hand(threshold: float = 0.5) -> Predictor:
    """Width 2, rank 1, three neurons: logits x0 - 1, -x0, and 0.5."""
    return Predictor(
        np.array([[1.0], [0.0]], np.float32),
        np.array([[1.0, -1.0, 0.0]], np.float32),
        np.array([-1.0, 0.0, 0.5], np.float32),
        threshold,
    )


def records(rank: int, tokens: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of width 16, and which of 48 neurons of a random layer of that rank they make active: about a sixth."""
    generator = np.random.default_rng(5)
    weights = generator.normal(size=(16, rank)) @ generator.normal(size=(rank, 48))
    inputs = generator.normal(size=(tokens, 16)).astype(np.float32)
    return inputs, inputs @ weights / np.linalg.norm(weights, axis=0) > 1.0


def test_predictions_worked_out_by_hand() -> None:
    predictor = by_hand()
    assert predictor.active(np.array([2.0, 9.0], np.float32)).tolist() == [0, 2]
    assert predictor.active(np.array([-1.0, 9.0], np.float32)).tolist() == [1, 2]
    # sigmoid(0.5) = 0.62 and sigmoid(1) = 0.73
    assert by_hand(0.7).active(np.array([2.0, 0.0], np.float32)).tolist() == [0]
    assert by_hand(0.75).active(np.array([2.0, 0.0], np.float32)).tolist() == []


def test_misses_and_false_alarms_counted_by_hand() -> None:
    active = np.array([[1, 1, 0], [0, 0, 1]], dtype=bool)
    predicted = np.array([[1, 0, 1], [0, 0, 1]], dtype=bool)
    assert score(predicted, active) == Score(active=3, predicted=3, missed=1, false_alarms=1)


def test_a_layer_of_its_rank_is_learnt_and_a_layer_of_noise_is_not() -> None:
    inputs, active = records(rank=3)
    learnt = score(train(inputs[:1000], active[:1000], rank=3, steps=STEPS).mask(inputs[1000:]), active[1000:])
    assert learnt.missed < 0.02 * learnt.active
    assert learnt.false_alarms < 0.25 * (active[1000:].size - learnt.active)
    shuffled = np.random.default_rng(0).permutation(active)
    noise = score(train(inputs[:1000], shuffled[:1000], rank=3, steps=STEPS).mask(inputs[1000:]), shuffled[1000:])
    assert noise.missed > 0.3 * noise.active
    assert noise.false_alarms > 0.3 * (active[1000:].size - noise.active)


def test_a_rank_too_low_costs_and_a_higher_threshold_trades_alarms_for_misses() -> None:
    inputs, active = records(rank=8)
    low, high, strict = (
        score(
            train(inputs[:1000], active[:1000], rank, threshold=threshold, steps=STEPS).mask(inputs[1000:]),
            active[1000:],
        )
        for rank, threshold in ((1, 0.5), (8, 0.5), (8, 0.9))
    )
    assert high.missed + high.false_alarms < 0.5 * (low.missed + low.false_alarms)
    assert strict.missed > high.missed
    assert strict.false_alarms < high.false_alarms


def test_training_is_the_same_at_every_call_and_with_every_seed_another() -> None:
    inputs, active = records(rank=2, tokens=50)
    first, again, other = (train(inputs, active, 2, steps=20, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.a, again.a)
    assert np.array_equal(first.b, again.b)
    assert not np.array_equal(first.a, other.a)


def test_a_layer_that_is_never_active_is_predicted_so() -> None:
    inputs, active = records(rank=2, tokens=200)
    assert not train(inputs, active & False, 2, steps=STEPS).mask(inputs).any()


@pytest.mark.parametrize(("rank", "threshold"), [(0, 0.5), (17, 0.5), (2, 0.0), (2, 1.0), (2, float("nan"))])
def test_ranks_and_thresholds_that_are_none_are_refused(rank: int, threshold: float) -> None:
    with pytest.raises(UsageError, match=f"There is no predictor of rank {rank} and threshold"):
        train(*records(2, tokens=10), rank, threshold=threshold)


def test_records_that_do_not_fit_each_other_are_refused() -> None:
    inputs, active = records(2, tokens=10)
    for wrong in ((inputs[:5], active), (inputs[:0], active[:0]), (inputs * np.float32(np.inf), active)):
        with pytest.raises(UsageError, match="cannot be trained on inputs of"):
            train(*wrong, 2)


def test_a_predicted_trace_has_the_predictions_and_says_what_was_missed() -> None:
    inputs = np.array([[2.0, 0.0], [-1.0, 0.0]], np.float32)
    active = np.array([[1, 1, 0], [0, 0, 0]], dtype=bool)
    trace = predicted_trace([by_hand(), by_hand(0.75)], [inputs, inputs], [active, active])
    assert [[layer.tolist() for layer in token] for token in trace.active] == [[[0, 2], []], [[1, 2], []]]
    assert trace.neurons == (3, 3)
    # The first layer misses neuron 1; the second, strict, misses both. In vain: 2, then 1 and 2.
    assert trace.description == "predicted, rank 1: 3 of 4 active neurons missed, 3 of 4 predicted in vain"


def test_predictors_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "predictors.safetensors"
    save(path, [by_hand(), by_hand(0.25)])
    found = load(path)
    assert [predictor.threshold for predictor in found] == [0.5, 0.25]
    for predictor in found:
        for name in ("a", "b", "bias"):
            assert np.array_equal(getattr(predictor, name), getattr(by_hand(), name))


@pytest.mark.parametrize(
    "damage",
    [
        {"0.bias": None},
        {"0.a": np.zeros((2, 2), np.float32)},
        {"0.a": np.zeros(2, np.float32)},
        {"0.b": np.zeros((1, 2), np.float32)},
        {"0.b": np.full((1, 3), np.nan, np.float32)},
        {"0.bias": np.zeros(3, np.float64)},
        {"0.threshold": np.zeros(1)},
        {"0.threshold": np.zeros(0)},
        {"1.a": np.zeros((2, 1), np.float32)},
        {"0.other": np.zeros(1)},
    ],
)
def test_damaged_predictors_are_one_sentence(tmp_path: Path, damage: dict[str, np.ndarray | None]) -> None:
    predictor = by_hand()
    parts = {f"0.{name}": getattr(predictor, name) for name in ("a", "b", "bias")} | {"0.threshold": np.array([0.5])}
    path = tmp_path / "damaged.safetensors"
    save_file({name: part for name, part in (parts | damage).items() if part is not None}, path, METADATA)
    with pytest.raises(ModelError, match="are damaged"):
        load(path)


def test_other_files_are_no_predictors(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"0.a": np.zeros(1)}, path)
    with pytest.raises(ModelError, match="holds no predictors"):
        load(path)
    path.write_bytes(b"\x80\x04" * 40)
    for wrong in (path, tmp_path / "none", tmp_path):
        with pytest.raises(ModelError, match="cannot be read"):
            load(wrong)


def test_predictors_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be written"):
        save(tmp_path / "no" / "predictors.safetensors", [by_hand()])
