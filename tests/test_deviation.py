"""How far two sets of outputs are from one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.experiment.deviation import deviation
from harness.protocol import Scalar

NAMES = {"max_abs_difference", "sqnr_db", "argmax_agreement"}


def compared(folder: Path, reference: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> dict[str, Scalar]:
    """The scalars by name; every null among them must have a reason, and no value may be anything but a number."""
    np.savez(folder / "a.npz", **reference)
    np.savez(folder / "b.npz", **outputs)
    scalars = {scalar.name: scalar for scalar in deviation(folder / "a.npz", folder / "b.npz")}
    assert set(scalars) == NAMES
    for scalar in scalars.values():
        assert (scalar.value is None) == bool(scalar.reason)
        assert scalar.value is None or np.isfinite(scalar.value)
    return scalars


def test_identical_outputs_agree_and_have_no_noise(tmp_path: Path) -> None:
    outputs = {"output_0": np.array([[1.0, 2.0], [4.0, 3.0]], np.float32)}
    scalars = compared(tmp_path, outputs, outputs)
    assert scalars["max_abs_difference"].value == 0.0
    assert scalars["argmax_agreement"].value == 1.0
    assert scalars["sqnr_db"].reason == "the outputs are identical"


def test_noise_a_tenth_of_the_signal_is_20_db(tmp_path: Path) -> None:
    reference = np.ones((3, 4))
    scalars = compared(tmp_path, {"o": reference}, {"o": reference * 1.1})
    assert scalars["sqnr_db"].value == pytest.approx(20.0)
    assert scalars["max_abs_difference"].value == pytest.approx(0.1)


def test_all_outputs_of_a_model_count_together(tmp_path: Path) -> None:
    scalars = compared(
        tmp_path,
        {"a": np.full((1, 2), 3.0), "b": np.full((1, 2), 4.0)},
        {"a": np.full((1, 2), 3.0), "b": np.full((1, 2), 4.5)},
    )
    # Signal 2·9 + 2·16 = 50, noise 2·0.25 = 0.5.
    assert scalars["sqnr_db"].value == pytest.approx(20.0)
    assert scalars["max_abs_difference"].value == 0.5


def test_argmax_agreement_is_the_share_of_rows_that_choose_the_same(tmp_path: Path) -> None:
    reference = np.eye(4)
    other = reference.copy()
    other[0] = [0, 9, 0, 0]
    assert compared(tmp_path, {"o": reference}, {"o": other})["argmax_agreement"].value == 0.75
    stacked = {"o": np.stack([reference, reference])}
    assert compared(tmp_path, stacked, {"o": np.stack([reference, other])})["argmax_agreement"].value == 0.875


def test_agreement_is_of_each_row_and_the_mean_of_the_outputs(tmp_path: Path) -> None:
    rows, columns = np.array([[1.0, 2.0, 0.0], [5.0, 6.0, 0.0]]), np.array([[2.0, 1.0, 0.0], [5.0, 6.0, 0.0]])
    assert (rows.argmax(0) == columns.argmax(0)).all(), "the largest of each column stays where it is"
    reference, other = {"a": rows, "b": np.eye(4)}, {"a": columns, "b": np.eye(4)}
    assert compared(tmp_path, reference, other)["argmax_agreement"].value == 0.75


@pytest.mark.parametrize("shape", [(), (3, 1)], ids=["a number", "columns of one"])
def test_outputs_without_rows_have_no_argmax(tmp_path: Path, shape: tuple[int, ...]) -> None:
    scalars = compared(tmp_path, {"o": np.ones(shape)}, {"o": np.full(shape, 2.0)})
    assert scalars["argmax_agreement"].value is None
    assert scalars["max_abs_difference"].value == 1.0


@pytest.mark.parametrize(
    "array",
    [np.arange(12, dtype=np.int64).reshape(3, 4), np.arange(12.0).reshape(1, 2, 2, 3), np.arange(12.0)],
    ids=["labels", "an image", "one number a sample"],
)
def test_what_has_no_classes_has_no_argmax(tmp_path: Path, array: np.ndarray) -> None:
    scalars = compared(tmp_path, {"o": array}, {"o": array[::-1]})
    assert scalars["argmax_agreement"].value is None
    assert scalars["max_abs_difference"].value is not None


def test_outputs_without_any_value_have_no_argmax(tmp_path: Path) -> None:
    empty = {"o": np.ones((0, 5), np.float32)}
    assert compared(tmp_path, empty, empty)["max_abs_difference"].value == 0.0


@pytest.mark.parametrize(
    "other",
    [{"o": np.ones((2, 3))}, {"p": np.ones((2, 2))}, {"o": np.ones((2, 2)), "p": np.ones(1)}, {}],
    ids=["shape", "name", "one more", "none"],
)
def test_outputs_that_do_not_correspond_are_not_compared(tmp_path: Path, other: dict[str, np.ndarray]) -> None:
    scalars = compared(tmp_path, {"o": np.ones((2, 2))}, other)
    assert {scalar.value for scalar in scalars.values()} == {None}
    assert "shapes" in str(scalars["sqnr_db"].reason)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["reference", "outputs"])
def test_outputs_that_are_not_finite_are_not_compared(tmp_path: Path, value: float, side: str) -> None:
    good, bad = {"o": np.ones((1, 2), np.float32)}, {"o": np.array([[1.0, value]], np.float32)}
    scalars = compared(tmp_path, *((bad, good) if side == "reference" else (good, bad)))
    assert {scalar.reason for scalar in scalars.values()} == {"some outputs are not finite"}


def test_a_reference_of_zeros_has_no_signal(tmp_path: Path) -> None:
    scalars = compared(tmp_path, {"o": np.zeros((1, 2))}, {"o": np.ones((1, 2))})
    assert scalars["sqnr_db"].reason == "the parent's outputs are all zero"
    assert scalars["max_abs_difference"].value == 1.0


def test_small_and_whole_number_types_are_compared_without_overflow(tmp_path: Path) -> None:
    scalars = compared(tmp_path, {"o": np.array([[100, -100]], np.int8)}, {"o": np.array([[-100, 100]], np.int8)})
    assert scalars["max_abs_difference"].value == 200.0
    half = compared(tmp_path, {"o": np.full((1, 2), 6e4, np.float16)}, {"o": np.full((1, 2), -6e4, np.float16)})
    assert half["max_abs_difference"].value == pytest.approx(1.2e5, rel=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_more_noise_never_looks_better(tmp_path_factory: pytest.TempPathFactory, seed: int, scale: float) -> None:
    folder = tmp_path_factory.getbasetemp()
    random = np.random.default_rng(seed)
    reference, noise = random.normal(size=(4, 5)), random.normal(size=(4, 5)) * scale
    near = compared(folder, {"o": reference}, {"o": reference + noise})
    far = compared(folder, {"o": reference}, {"o": reference + 2 * noise})
    assert far["sqnr_db"].value == pytest.approx((near["sqnr_db"].value or 0) - 20 * np.log10(2))
    assert far["max_abs_difference"].value == pytest.approx(2 * (near["max_abs_difference"].value or 0))
