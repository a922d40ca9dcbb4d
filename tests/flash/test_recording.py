"""What a device is given to read is what the engine has read, with the checksums of the file as it lies there."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.errors import HarnessError
from harness.flash.ablation.replay import NOTHING
from harness.flash.io import layout
from harness.flash.io.geometry import Form, Shape
from harness.flash.io.layout import NeuronFile
from harness.flash.language_model import recording
from harness.flash.language_model.engine import Step

SHAPE = Shape(40, (7, 3), 1000)


def written(folder: Path, form: Form) -> NeuronFile:
    layout.write(folder / form, SHAPE, form, "float16", layout.random_rows(SHAPE, 0))
    return NeuronFile.open(folder / form)


def done(active: list[int], hits: int) -> Step:
    neurons = tuple(np.arange(count) for count in active)
    return Step(np.zeros(1, np.float32), NOTHING._replace(hits=hits), neurons)


@pytest.mark.parametrize("form", ["plain", "bundled"])
def test_checksums_are_in_the_order_of_the_file(form: Form, tmp_path: Path) -> None:
    file = written(tmp_path, form)
    content = file.path.read_bytes()
    rows = range(file.records_at, file.rest_at, file.stride)
    expected = [zlib.crc32(content[at : at + file.stride]) for at in rows]
    assert recording.checksums(file).view(np.uint32).tolist() == expected
    assert len(expected) == 2 * sum(SHAPE.neurons)


def test_reads_are_kept_in_their_order_with_the_batches_and_tokens_they_were_made_in(tmp_path: Path) -> None:
    file, recorder = written(tmp_path, "bundled"), recording.Recorder()
    seen: list[list[int]] = []

    def read(offsets: np.ndarray, lengths: np.ndarray, slots: np.ndarray) -> int:
        seen.append(offsets.tolist())
        return int(lengths.sum())

    through = recorder.through(read)
    numbers = np.arange(5, dtype=np.int64)
    assert through(512 * numbers[:2], 512 + 0 * numbers[:2], numbers[:2]) == 1024
    through(512 * numbers[2:], 512 + 0 * numbers[2:], numbers[2:])
    through(numbers[:0], numbers[:0], numbers[:0])
    recorder.token(done([2, 1], 0))
    recorder.token(done([3, 0], 3))
    through(512 * numbers[:1], 512 + 0 * numbers[:1], numbers[:1])
    recorder.token(done([1, 0], 0))
    recording.save(tmp_path / "reads", recorder, file, 9, {"arena_bytes": 4096})
    kept = {name: column.tolist() for name, column in load_file(tmp_path / "reads").items()}
    assert seen == [[0, 512], [1024, 1536, 2048], [], [0]]
    assert kept["offsets"] == [0, 512, 1024, 1536, 2048, 0]
    assert kept["lengths"] == [512] * 6
    assert kept["slots"] == [0, 1, 2, 3, 4, 0]
    assert (kept["batches"], kept["tokens"]) == ([2, 3, 1], [2, 0, 1])
    assert (kept["active"], kept["hits"]) == ([3, 3, 1], [0, 3, 0])
    numbers_of_file = {"arena_slots": 9, "slot_bytes": file.record_bytes, "row_bytes": file.stride}
    for name, value in (numbers_of_file | {"records_at": file.records_at, "arena_bytes": 4096}).items():
        assert kept[name] == [value], name


def test_a_run_without_reads_can_be_written(tmp_path: Path) -> None:
    recorder = recording.Recorder()
    recorder.token(done([0], 0))
    recording.save(tmp_path / "reads", recorder, written(tmp_path, "plain"), 1, {})
    assert load_file(tmp_path / "reads")["offsets"].shape == (0,)


def test_a_folder_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be written"):
        recording.save(tmp_path / "no" / "reads", recording.Recorder(), written(tmp_path, "plain"), 1, {})
