"""The reader of `.pte` headers takes files from strangers: it answers or says ModelError, whatever the bytes."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from models_on_disk import VOCABULARY, Models

from harness.errors import ModelError
from harness.worker.runtimes.pte import MethodHeader, read_methods

_FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _read(folder: Path, data: bytes) -> list[MethodHeader]:
    path = folder / "model.pte"
    path.write_bytes(data)
    return read_methods(path)


def _refused(folder: Path, data: bytes) -> ModelError:
    with pytest.raises(ModelError) as caught:
        _read(folder, data)
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    return caught.value


def _answers_or_refuses(folder: Path, data: bytes) -> None:
    with contextlib.suppress(ModelError):
        methods = _read(folder, data)
        assert all(isinstance(method.name, str) and isinstance(method.planned_bytes, int) for method in methods)


@pytest.fixture(scope="module")
def program(models: Models) -> bytes:
    return models.mlp.read_bytes()


def test_methods_arena_and_delegates_are_those_of_the_file(models: Models) -> None:
    (forward,) = read_methods(models.mlp)
    assert forward.name == "forward"
    assert forward.delegates == ("XnnpackBackend",)
    assert forward.planned_bytes >= 2 * 4 * 8 * 4  # at least the input and the output, float32 [4, 8] each
    methods = {method.name: method for method in read_methods(models.lm)}
    assert set(methods) == {
        "forward",
        "get_vocab_size",
        "get_max_seq_len",
        "get_max_context_len",
        "get_n_layers",
        "use_kv_cache",
        "use_sdpa_with_kv_cache",
        "enable_dynamic_shape",
    }
    assert "aten::embedding.out" in methods["forward"].operators
    assert [name for name, method in methods.items() if not method.constant] == ["forward"]
    tokens, position = methods["forward"].inputs
    assert (tokens["kind"], tokens["dynamic"], tokens["limit"]) == ("tensor", True, VOCABULARY)
    assert (position["kind"], position["dynamic"]) == ("tensor", False)
    assert not any(method.external for method in methods.values())
    assert read_methods(models.foreign)[0].delegates == ("AcmeNpuBackend",)


def test_the_arena_is_the_one_that_the_memory_planner_made(models: Models) -> None:
    planned = json.loads((models.folder / "arenas.json").read_text())
    for path in (models.mlp, models.lm):
        assert next(m.planned_bytes for m in read_methods(path) if m.name == "forward") == planned[path.name] > 0


def test_a_file_cut_short_anywhere_is_refused_with_a_sentence(program: bytes, tmp_path: Path) -> None:
    for length in [0, 1, 3, 4, 7, 8, 11, 12, 15, 31, 39, *range(40, len(program) - 1, 97), len(program) - 1]:
        error = _refused(tmp_path, program[:length])
        if length == 0:
            assert "is empty" in error.message
        elif length > 64:
            assert f"cut short: {length} bytes of {len(program)}" in error.message


def test_a_missing_file_a_folder_and_a_foreign_file_are_refused(program: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_methods(tmp_path / "absent.pte")
    with pytest.raises(ModelError, match="cannot be read"):
        read_methods(tmp_path)
    assert "no ET12" in _refused(tmp_path, program[:4] + b"ET99" + program[8:]).message
    assert "no ET12" in _refused(tmp_path, b"PK\x03\x04" + bytes(4096)).message


def test_tables_that_point_outside_the_file_are_refused(program: bytes, tmp_path: Path) -> None:
    for root in (len(program), 0xFFFFFFFF, 0x7FFFFFFF):
        assert "damaged" in _refused(tmp_path, struct.pack("<I", root) + program[4:]).message


@_FUZZ
@given(data=st.binary(max_size=400), head=st.sampled_from([b"", b"ET12", b"ET12eh00"]))
@example(data=b"", head=b"ET12")
def test_random_bytes_never_raise_anything_else(data: bytes, head: bytes, tmp_path: Path) -> None:
    _answers_or_refuses(tmp_path, data[:4].ljust(4, b"\0") + head + data[4:])


@_FUZZ
@given(flips=st.lists(st.tuples(st.integers(0, 4095), st.integers(1, 255)), min_size=1, max_size=8))
def test_flipped_bytes_never_raise_anything_else(program: bytes, flips: list[tuple[int, int]], tmp_path: Path) -> None:
    data = bytearray(program)
    for place, mask in flips:
        data[place % len(data)] ^= mask
    _answers_or_refuses(tmp_path, bytes(data))


@_FUZZ
@given(
    place=st.integers(0, 1023),
    word=st.sampled_from([0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC, 1_000_001, 999_999]),
)
def test_extreme_offsets_and_lengths_never_raise_anything_else(
    program: bytes, place: int, word: int, tmp_path: Path
) -> None:
    data = bytearray(program)
    struct.pack_into("<I", data, 4 * (place % (len(data) // 4 - 1)), word)
    _answers_or_refuses(tmp_path, bytes(data))
