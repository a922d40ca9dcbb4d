"""Weights beside a program: where they are found, and that another file of them is another model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from harness.data_file import find_data_file, model_hash
from harness.errors import ModelError

EXPORTED = "_default_external_constant.ptd"


def test_weights_of_the_programs_own_name_are_found(tmp_path: Path) -> None:
    program, own = tmp_path / "net.pte", tmp_path / "net.ptd"
    assert find_data_file(program) is None
    (tmp_path / EXPORTED).write_bytes(b"x")
    assert find_data_file(program) is None, "they may be those of any program in the folder"
    assert find_data_file(program, needed=True) == tmp_path / EXPORTED
    own.write_bytes(b"x")
    assert find_data_file(program) == find_data_file(program, needed=True) == own
    assert find_data_file(tmp_path / "net.pt2") is None


def test_weights_that_are_needed_and_not_there_are_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"The weights of net.pte .*net.ptd or {EXPORTED}") as caught:
        find_data_file(tmp_path / "net.pte", needed=True)
    assert "--data-file" in caught.value.hint


def test_a_model_is_its_program_its_weights_and_its_method(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one.ptd", "same.ptd", "other.ptd"))
    one.write_bytes(b"weights")
    same.write_bytes(b"weights")
    other.write_bytes(b"other weights")
    assert model_hash("ab", None) == "ab"
    weights = hashlib.sha256(b"weights").hexdigest()
    assert model_hash("ab", one, "encode") == hashlib.sha256(f"ab weights {weights} method encode".encode()).hexdigest()
    assert model_hash("ab", one) == model_hash("ab", same)
    hashes = [
        model_hash(program, data, method)
        for program in ("ab", "cd")
        for data in (None, one, other)
        for method in (None, "encode", "decode")
    ]
    assert len(set(hashes)) == len(hashes) == 18
