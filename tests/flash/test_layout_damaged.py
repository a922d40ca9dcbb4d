"""Files are not believed: what is short, long, damaged, newer or no neuron file at all is a sentence."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from neurons_on_disk import made

from harness.errors import ModelError
from harness.flash.io.geometry import PAGE_BYTES
from harness.flash.io.layout import NeuronFile

pytestmark = pytest.mark.usefixtures("unsynced")


def with_header(path: Path, text: bytes, version: int = 1) -> None:
    """Give the file another header whose checksum is right."""
    raw = path.read_bytes()
    head = struct.pack("<8sIII", b"NEURONS\0", version, len(text), zlib.crc32(text)) + text
    path.write_bytes(head.ljust(PAGE_BYTES, b"\0") + raw[PAGE_BYTES:])


@pytest.mark.parametrize("kept", [8, 100, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 100])
def test_a_file_shorter_than_its_header_is_a_sentence(tmp_path: Path, kept: int) -> None:
    path = made(tmp_path).path
    os.truncate(path, kept)
    with pytest.raises(ModelError, match=f"shorter than its header: it ends after {kept} bytes"):
        NeuronFile.open(path)


@pytest.mark.parametrize("change", [-1, -512, 1])
def test_a_file_of_another_length_is_a_sentence(tmp_path: Path, change: int) -> None:
    path = made(tmp_path).path
    size = path.stat().st_size
    os.truncate(path, size + change)
    with pytest.raises(ModelError, match=f"has {size + change} bytes, but its header says {size}"):
        NeuronFile.open(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\0" * 10_000, b"NEURONS\n" * 1000])
def test_another_file_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is not a neuron file"):
        NeuronFile.open(path)


def test_what_cannot_be_opened_is_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelError, match="cannot be read"):
            NeuronFile.open(path)


@pytest.mark.parametrize(("at", "what"), [(30, "header"), (PAGE_BYTES, "tables"), (PAGE_BYTES + 200, "tables")])
def test_a_flipped_bit_before_the_records_is_seen_at_once(tmp_path: Path, at: int, what: str) -> None:
    path = made(tmp_path).path
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ModelError, match=f"The {what} of .* damaged"):
        NeuronFile.open(path)


def test_a_newer_version_is_a_sentence(tmp_path: Path) -> None:
    path = made(tmp_path).path
    with_header(path, b"{}", version=2)
    with pytest.raises(ModelError, match="version 2; this harness reads 1"):
        NeuronFile.open(path)


HEADER = {"shape": {"width": 129, "neurons": [7, 0, 30], "rest_bytes": 1000}, "form": "bundled", "dtype": "float16"}
HEADER |= {"align": 512, "tables_crc32": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"shape": {"width": -1, "neurons": [1]}},
        {"shape": {"width": True, "neurons": [1]}},
        {"shape": {"width": 4, "neurons": "12"}},
        {"shape": {"width": 4, "neurons": 12}},
        {"shape": {"width": 4, "neurons": [1.5]}},
        {"shape": {"width": 10**300, "neurons": [10**300]}},
        {"shape": None},
        {"form": ["plain"]},
        {"dtype": "float64"},
        {"align": 0},
        {"align": None},
        {"tables_crc32": None},
        {"more": 1},
    ],
)
def test_a_header_that_makes_no_sense_is_a_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    path = made(tmp_path).path
    with_header(path, json.dumps(HEADER | change).encode())
    with pytest.raises(ModelError):
        NeuronFile.open(path)


@pytest.mark.parametrize("text", [b"", b"[]", b"nonsense", b'"text"', b"[" * 3000, b"\xff\xfe", b"1e999"])
def test_a_header_that_is_no_table_is_a_sentence(tmp_path: Path, text: bytes) -> None:
    path = made(tmp_path).path
    with_header(path, text)
    with pytest.raises(ModelError, match="makes no sense"):
        NeuronFile.open(path)
