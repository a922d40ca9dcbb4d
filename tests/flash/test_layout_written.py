"""A neuron file is written whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from neurons_on_disk import SHAPE, made

from harness.errors import HarnessError, ModelError
from harness.flash.io.layout import Dtype, random_rows, write

pytestmark = pytest.mark.usefixtures("unsynced")


@contextmanager
def small_disk(limit_bytes: int) -> Iterator[None]:
    """Files of this process can have no more bytes; Python ignores the signal, so that writes fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def unreserved(descriptor: int, start: int, size: int) -> None:
    """In place of posix_fallocate, where space can only be missed when it is written."""


@pytest.mark.parametrize("reserve", [os.posix_fallocate, unreserved])
def test_a_disk_that_fills_leaves_nothing_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserve: Callable[[int, int, int], None]
) -> None:
    old = made(tmp_path).path
    before = old.read_bytes()
    monkeypatch.setattr(os, "posix_fallocate", reserve)
    with small_disk(len(before) - 600), pytest.raises(HarnessError, match="no room") as raised:
        write(old, SHAPE, "bundled", "float16", random_rows(SHAPE, 2))
    assert str(len(before)) in raised.value.message
    assert [file.name for file in tmp_path.iterdir()] == [old.name]
    assert old.read_bytes() == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_and_no_quota_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HarnessError, match="no room"):
        made(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["absent/f", "file/f"])
def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HarnessError, match="cannot be written"):
        write(tmp_path / place, SHAPE, "plain", "int8", random_rows(SHAPE, 0))


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(layer: int) -> tuple[np.ndarray, np.ndarray]:
        if layer:
            raise KeyboardInterrupt
        return random_rows(SHAPE, 0)(layer)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "f", SHAPE, "plain", "int8", interrupted)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("weight", "dtype", "why"),
    [
        (np.nan, "int8", "NaN or infinite"),
        (np.inf, "float16", "NaN or infinite"),
        (1e5, "float16", "100000 does not fit float16"),
    ],
)
def test_weights_that_the_type_cannot_hold_are_a_sentence(
    tmp_path: Path, weight: float, dtype: Dtype, why: str
) -> None:
    def rows(layer: int) -> tuple[np.ndarray, np.ndarray]:
        up, down = random_rows(SHAPE, 0)(layer)
        if layer == 2:
            down[29, 128] = weight
        return up, down

    with pytest.raises(ModelError, match=f"Layer 2 cannot be written .*{why}"):
        write(tmp_path / "f", SHAPE, "plain", dtype, rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [lambda w: w[:-1], lambda w: w.T, lambda w: w.astype(np.float64)])
def test_weights_of_another_shape_or_type_are_a_sentence(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    def rows(layer: int) -> tuple[np.ndarray, np.ndarray]:
        up, down = random_rows(SHAPE, 0)(layer)
        return up, change(down)

    with pytest.raises(ModelError, match="Weights of layer 0 are"):
        write(tmp_path / "f", SHAPE, "plain", "int8", rows)
    assert not list(tmp_path.iterdir())
