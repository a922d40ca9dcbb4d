from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DataError
from harness.models.train import data


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)


def test_the_vocabulary_is_sorted_and_a_tenth_validates() -> None:
    corpus = data.corpus("cab" * 100)
    assert corpus.vocabulary == "abc"
    assert corpus.training[:4].tolist() == [2, 0, 1, 2]
    assert (len(corpus.training), len(corpus.validation)) == (270, 30)
    assert corpus.training.dtype == np.int64


def test_a_character_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(DataError, match="'é'"):
        data.encode("cafés", "acfs")


def test_another_text_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("to be or not to be")
    with pytest.raises(DataError, match="is not tiny Shakespeare"):
        data.load_text(other)


def test_a_path_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "named by the environment"))
    with pytest.raises(DataError, match="named by the environment"):
        data.load_text()
    with pytest.raises(DataError, match="given"):
        data.load_text(tmp_path / "given")


@pytest.mark.usefixtures("unnamed")
def test_the_text_comes_with_harness() -> None:
    assert hashlib.sha256(data.load_text().encode()).hexdigest() == data.TEXT_SHA256


@pytest.mark.usefixtures("unnamed")
def test_its_splits() -> None:
    corpus = data.corpus(data.load_text())
    assert len(corpus.vocabulary) == 65
    assert (len(corpus.training), len(corpus.validation)) == (1_003_854, 111_540)
    assert np.array_equal(data.validation_tokens(corpus.vocabulary), corpus.validation)
    with pytest.raises(DataError, match="'z'"):
        data.validation_tokens(corpus.vocabulary.replace("z", ""))
