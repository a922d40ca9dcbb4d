from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.models.train import data
from harness.models.train.tokenizer import Characters, learned_byte_pairs, packaged_tokenizer, tokenizer_of


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)


def test_the_vocabulary_is_sorted_and_a_tenth_validates() -> None:
    corpus = data.corpus("cab" * 100)
    assert corpus.tokenizer == Characters("abc")
    assert corpus.training[:4].tolist() == [2, 0, 1, 2]
    assert (len(corpus.training), len(corpus.validation)) == (270, 30)
    assert corpus.training.dtype == np.int64


def test_a_character_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(DataError, match="'é'"):
        Characters("acfs").encode("cafés")


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
    assert corpus.tokenizer.size == 65
    assert (len(corpus.training), len(corpus.validation)) == (1_003_854, 111_540)
    assert np.array_equal(data.validation_tokens(corpus.tokenizer), corpus.validation)
    with pytest.raises(DataError, match="'z'"):
        data.validation_tokens(Characters(corpus.tokenizer.description["vocabulary"].replace("z", "")))


@pytest.mark.usefixtures("unnamed")
def test_the_subwords_that_come_with_harness_are_those_of_the_training_text() -> None:
    training, validation = data.split(data.load_text())
    packaged = packaged_tokenizer("bpe-1024")
    assert packaged.size == 1024
    assert json.loads(packaged.tokenizer_json) == json.loads(learned_byte_pairs(training, 1024).tokenizer_json)
    assert len(packaged.encode(validation)) == 49_420


@given(st.text())
def test_subwords_can_say_every_text_and_say_it_again(text: str) -> None:
    packaged = packaged_tokenizer("bpe-1024")
    assert tokenizers.Tokenizer.from_str(packaged.tokenizer_json).decode(packaged.encode(text).tolist()) == text


def test_a_tokenizer_survives_its_description() -> None:
    for tokenizer in (Characters("abc"), packaged_tokenizer("bpe-1024")):
        assert tokenizer_of(tokenizer.description) == tokenizer
    assert tokenizer_of({"kind": "of another harness"}) is None


def test_a_damaged_tokenizer_and_one_that_there_is_not_are_errors() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        tokenizer_of({"tokenizer_json": "{"}).encode("to be")
    with pytest.raises(DataError, match="no tokenizer 'bpe-7'"):
        packaged_tokenizer("bpe-7")


def test_losses_per_subword_and_per_character_are_not_of_the_same_data() -> None:
    characters, subwords = Characters("abc"), packaged_tokenizer("bpe-1024")
    assert data.tokens_sha256("text", characters) == "text" != data.tokens_sha256("text", subwords)
    assert data.validation_name(characters) != data.validation_name(subwords)
