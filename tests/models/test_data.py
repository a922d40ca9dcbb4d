from __future__ import annotations

import hashlib
import io
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import DataError
from harness.models import data


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)


def answering(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[Any]:
    asked: list[Any] = []
    monkeypatch.setattr(data.urllib.request, "urlopen", lambda *a, **k: (asked.append(a), io.BytesIO(content))[1])
    return asked


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
def test_the_text_is_downloaded_once_into_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "TEXT_SHA256", hashlib.sha256(b"a text").hexdigest())
    asked = answering(monkeypatch, b"a text")
    assert [data.load_text(), data.load_text()] == ["a text", "a text"]
    assert len(asked) == 1
    assert [path.name for path in (cache / "data").iterdir()] == ["tinyshakespeare.txt"]


@pytest.mark.usefixtures("unnamed")
def test_a_wrong_answer_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, b"<html>log in</html>")
    with pytest.raises(DataError, match="did not answer"):
        data.load_text()
    assert not (cache / "data").exists()


@pytest.mark.usefixtures("unnamed")
def test_no_network_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(data.urllib.request, "urlopen", unreachable)
    with pytest.raises(DataError, match=r"no route to host.*--data"):
        data.load_text()


def test_the_real_text(shakespeare: Path) -> None:
    corpus = data.corpus(data.load_text(shakespeare))
    assert len(corpus.vocabulary) == 65
    assert (len(corpus.training), len(corpus.validation)) == (1_003_854, 111_540)
    assert np.array_equal(data.validation_tokens(corpus.vocabulary, shakespeare), corpus.validation)
    with pytest.raises(DataError, match="'z'"):
        data.validation_tokens(corpus.vocabulary.replace("z", ""), shakespeare)
