"""The reads of a run written down, so that a worker without Python can make them again on a device's own storage.

A safetensors file. Of every read that the engine asked for, in its order: `offsets` and `lengths` in bytes and `slots`
of the arena, int64 [reads]. How they belong together: `batches` int64 [batches] counts the reads that were asked for at
once, `tokens` int64 [tokens] the batches of a token, of which `active` and `hits` [tokens] are the neurons that took
part and those of them that were in DRAM. `crcs` int32 [rows] are the checksums of all rows of the neuron file, in the
order in which they lie there. The rest are single numbers, int64 [1]; see `_numbers`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.atomic_files import unwritable
from harness.flash.ablation.replay import Read
from harness.flash.io.geometry import Indices
from harness.flash.io.layout import NeuronFile
from harness.flash.io.sequential import Block
from harness.flash.language_model.engine import Step


class Recorder:
    """Notes the reads that go through it, and with `token` where a token ends."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._tokens: list[tuple[int, int, int]] = []
        self._told = 0

    def through(self, read: Read) -> Read:
        """`read`, noted."""

        def noted(offsets: Indices, lengths: Indices, slots: Indices) -> int:
            if len(offsets):
                self._blocks.append(Block(offsets.copy(), lengths.copy(), slots.copy()))
            return read(offsets, lengths, slots)

        return noted

    def token(self, done: Step) -> None:
        """All reads since the last token were for this one."""
        self._tokens.append((len(self._blocks) - self._told, sum(map(len, done.active)), done.cost.hits))
        self._told = len(self._blocks)

    def columns(self) -> dict[str, Indices]:
        """What was noted, as the file has it."""
        nothing = np.empty(0, np.int64)
        tokens, active, hits = np.array(self._tokens, np.int64).reshape(-1, 3).T
        return {
            name: np.concatenate([nothing, *(getattr(block, name) for block in self._blocks)]) for name in Block._fields
        } | {
            "batches": np.array([len(block.offsets) for block in self._blocks], np.int64),
            "tokens": tokens,
            "active": active,
            "hits": hits,
        }


def save(path: Path, recorder: Recorder, file: NeuronFile, slots: int, dram: dict[str, int]) -> None:
    """Write what was recorded of reading `file` into an arena of so many slots; `dram` are bytes by their scalar's
    name. Raises HarnessError where it cannot.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    tensors = recorder.columns() | {"crcs": checksums(file)} | _numbers(file, slots, dram)
    try:
        save_file({name: np.ascontiguousarray(column) for name, column in tensors.items()}, path)
    except (OSError, SafetensorError) as error:
        raise unwritable(f"The recording {path}", error, "Free space on its disk.") from error


def checksums(file: NeuronFile) -> npt.NDArray[np.int32]:
    """The checksum of each row of `stride` bytes in the order in which the rows lie in the file, int32 [rows]: bundled,
    up and down of a neuron side by side; plain, all up rows of a layer before all down rows.
    """
    layers = np.split(file.crcs, np.cumsum(file.shape.neurons)[:-1])
    ordered = [(layer if file.form == "bundled" else layer.T).reshape(-1) for layer in layers]
    return np.concatenate(ordered).astype("<u4").view(np.int32)


def _numbers(file: NeuronFile, slots: int, dram: dict[str, int]) -> dict[str, Indices]:
    """The arena and where the rows lie: the first at `records_at`, `row_bytes` from one to the next."""
    numbers = {
        "arena_slots": slots,
        "slot_bytes": file.record_bytes,
        "row_bytes": file.stride,
        "records_at": file.records_at,
        **dram,
    }
    return {name: np.array([number], np.int64) for name, number in numbers.items()}
