"""Prompts: read from files, cut to one length, taken from a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.language.prompts import PROMPTS_OF_TEXT, Prompts, cut, encoded_prompts, read_prompts, stretches
from harness.models.train.tokenizer import Characters


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_prompt_a_line_and_no_empty_ones(tmp_path: Path) -> None:
    assert read_prompts(written(tmp_path, "p.txt", b"To be\n\n  or not\n")) == ["To be", "  or not"]


def test_a_prompt_an_object(tmp_path: Path) -> None:
    lines = b'{"prompt": "To\\nbe", "id": 3}\n\n{"prompt": "or"}\n'
    assert read_prompts(written(tmp_path, "p.jsonl", lines)) == ["To\nbe", "or"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.txt", b"\n \n", "has no prompt in it"),
        ("p.txt", b"\xff\xfe", "is no text in UTF-8"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt": \n', "Line 2 of p.jsonl is no JSON object with `prompt`"),
        ("p.jsonl", b'{"prompt": "a"}\n{"text": "b"}\n', "Line 2"),
        ("p.jsonl", b"[1]\n", "Line 1"),
        ("p.jsonl", b'{"prompt": 3}\n', "The prompt in line 1 of p.jsonl is no text"),
        ("p.jsonl", b'{"prompt": ""}\n', "The prompt in line 1 of p.jsonl is no text"),
    ],
)
def test_what_holds_no_prompts_is_refused_by_its_line(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        read_prompts(written(tmp_path, name, content))


def test_a_prompt_without_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="has no tokens"):
        encoded_prompts(["ab", ""], Characters("ab"))


@given(st.integers(1, 60), st.integers(1, 40))
def test_stretches_are_pieces_of_the_text_of_one_length(size: int, length: int) -> None:
    text = np.arange(size)
    made = stretches(text, length)
    if size < length:
        assert made is None
        return
    assert made is not None
    assert made.shape == (min(PROMPTS_OF_TEXT, size - length + 1), length)
    assert (np.diff(made, axis=1) == 1).all(), "each is whole"
    assert made[0, 0] == 0
    assert made[-1, -1] == (size - 1 if len(made) > 1 else length - 1)


def test_the_hash_is_of_the_tokens_alone() -> None:
    prompts = cut([np.arange(5), np.arange(7)], 4)
    assert prompts.tolist() == [[0, 1, 2, 3]] * 2
    here = Prompts(prompts, "a", given=True)
    assert here.sha256 == Prompts(prompts.copy(), "b", given=False).sha256
    assert here.sha256 != Prompts(prompts.reshape(4, 2), "a", given=True).sha256
