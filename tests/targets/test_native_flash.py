"""The flash scenario on the native worker: the reads of the Python engine, from this disk, counted and checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flash_on_disk import make_flash_model
from native_driving import events_of, job_of, samples_of, scalars_of
from safetensors.numpy import load_file, save_file

from harness.errors import UsageError, WorkerError
from harness.flash.io.layout import NeuronFile
from harness.flash.io.proof import check_storage
from harness.job import Files, Job
from harness.protocol import Describe, Done, Error, Event, Io, Samples, Scalar
from harness.target import Target
from harness.targets.arm64 import Arm64
from harness.targets.native import process
from harness.targets.native.flash import reads_of
from harness.targets.x86 import X86

PROMPT, NEW, QUERIES = 8, 9, 3
TOTALS = ("decode_flash_bytes", "decode_flash_reads", "decode_active_neurons", "decode_hits", "dram_bytes")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return make_flash_model(tmp_path_factory, request)


@pytest.fixture(scope="module")
def native() -> X86:
    """One for all: what it has recorded once, it keeps."""
    return X86("native")


@pytest.fixture(scope="module")
def recorded(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The neurons and the reads that the native worker is given for `flash_job`."""
    files = Files(model=str(model), tokens=str(model.parent / "tokens.npy"))
    return reads_of(flash_job(X86("native"), model), files, tmp_path_factory.mktemp("reads"))


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    shutil.copytree(model.parent, tmp_path / "copy")
    return tmp_path / "copy" / model.name


@pytest.fixture
def in_memory(model: Path, tmp_path: Path) -> Iterator[Path]:
    """The model's files on a tmpfs."""
    folder = Path("/dev/shm") / f"harness-test-{tmp_path.name}"
    if not folder.parent.is_dir():
        pytest.skip("there is no /dev/shm here")
    shutil.copytree(model.parent, folder)
    try:
        with pytest.raises(UsageError, match="lies in memory"):
            check_storage(folder / "tiny.bundled.neurons")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def flash_job(target: Target, path: Path, measure: str = "latency", **changes: Any) -> Job:
    fields = {"prompt_tokens": PROMPT, "new_tokens": NEW, "batch": 1, "window": 3, "policy": "bundling"}
    fields |= {"predictor": "exact", "reader": "threads", "depth": 4, "prompts_sha256": "cd" * 32}
    return job_of(target, path, "flash", measure, **(fields | changes))


def asked(target: Target, path: Path, measure: str = "latency", **changes: Any) -> list[Event]:
    return events_of(target, flash_job(target, path, measure, **changes), path, tokens=str(path.parent / "tokens.npy"))


def failure_of(events: list[Event]) -> Error:
    assert isinstance(events[-1], Error), events[-1]
    return events[-1]


@pytest.mark.usefixtures("x86")
@pytest.mark.parametrize("policy", ["none", "hybrid", "windowing", "bundling", "pipeline"])
def test_it_reads_what_the_python_worker_reads(policy: str, native: X86, model: Path) -> None:
    found, python = (asked(target, model, policy=policy) for target in (native, X86()))
    assert isinstance(found[-1], Done), found[-1]
    said, expected = scalars_of(found), scalars_of(python)
    assert {name: said[name] for name in TOTALS} == {name: expected[name] for name in TOTALS}
    (io,), (same,) = ([event for event in events if isinstance(event, Io)] for events in (found, python))
    assert io.asked_bytes == same.asked_bytes
    assert io.read_bytes is not None
    assert io.read_bytes >= 0.99 * (io.asked_bytes or 0) > 0
    samples = samples_of(found)
    # What a pipeline hides depends on what is computed meanwhile, and here nothing is.
    assert set(samples) == {"warmup", "decode_read"} | ({"decode_io"} if policy != "pipeline" else set())
    assert len(samples["decode_read"].duration_ns or []) == QUERIES * (NEW - 1)
    for name in (
        "decode_latency_ns_p50",
        "decode_mem_ns_p50",
        "decode_compute_ns_p50",
        "token_agreement",
        "peer_ratio",
    ):
        (null,) = [event for event in found if isinstance(event, Scalar) and event.name == name]
        assert (null.value, bool(null.reason)) == (None, True), name


@pytest.mark.usefixtures("x86")
@pytest.mark.parametrize("reader", ["pread", "uring"])
def test_other_readers_read_the_same(reader: str, native: X86, model: Path) -> None:
    events = asked(native, model, reader=reader)
    if isinstance(events[-1], Error) and "no io_uring" in events[-1].message:
        pytest.skip(events[-1].message)
    assert scalars_of(events)["decode_flash_bytes"] == scalars_of(asked(native, model))["decode_flash_bytes"]


@pytest.mark.usefixtures("x86")
def test_a_warm_page_cache_does_not_count(native: X86, model: Path) -> None:
    model.with_suffix(".bundled.neurons").read_bytes()
    events = asked(native, model, reader="buffered")
    assert scalars_of(events)["cached_fraction"] == 1.0
    assert "This process does not count: of" in failure_of(events).message


@pytest.mark.usefixtures("x86")
def test_passes_that_compute_say_that_nothing_is_computed(native: X86, model: Path) -> None:
    memory = asked(native, model, "memory")
    assert scalars_of(memory)["dram_bytes"] == scalars_of(asked(X86(), model, "memory"))["dram_bytes"]
    assert not any(isinstance(event, Samples) for event in memory)
    (loss,) = [e for e in asked(native, model, "quality") if isinstance(e, Scalar)]
    assert (loss.name, loss.value) == ("loss_nats", None)
    assert "nothing is computed" in (loss.reason or "")
    assert "Operators are not recorded" in failure_of(asked(native, model, "profile")).message


@pytest.mark.usefixtures("x86")
def test_a_wrong_row_is_seen(copy: Path) -> None:
    target = X86("native")
    assert isinstance(asked(target, copy)[-1], Done)
    file = NeuronFile.open(copy.with_suffix(".bundled.neurons"))
    content = bytearray(file.path.read_bytes())
    for neuron in range(file.shape.neurons[1]):  # whichever is active first
        content[file.layer_at(1) + neuron * file.record_bytes + file.stride] ^= 1
    file.path.write_bytes(content)
    error = failure_of(asked(target, copy))  # the reads are those recorded before
    assert error.kind == "model"
    assert "is corrupted: its bytes have another checksum" in error.message


@pytest.mark.usefixtures("x86")
def test_what_cannot_be_read_is_one_sentence(native: X86, model: Path, copy: Path) -> None:
    assert "no reader mmap" in failure_of(asked(native, model, reader="mmap")).message
    assert "2000 reads is out of range" in failure_of(asked(native, model, depth=2000)).message
    with pytest.raises(WorkerError, match="A window of 40 tokens is longer than the prompt"):
        asked(native, model, window=40)
    assert isinstance(asked(native, copy)[-1], Done)
    path = copy.with_suffix(".bundled.neurons")
    path.write_bytes(path.read_bytes()[:8192])
    assert "lie beyond the neuron file" in failure_of(asked(native, copy)).message
    path.unlink()
    with pytest.raises(WorkerError, match="is gone"):
        asked(native, copy)


@pytest.mark.usefixtures("x86")
def test_a_file_in_memory_is_refused(native: X86, model: Path, in_memory: Path) -> None:
    assert isinstance(asked(native, model)[-1], Done)  # the reads of these very files, recorded where that can be
    error = failure_of(asked(native, in_memory / model.name))
    assert "lies in memory (tmpfs), not in flash" in error.message


@pytest.mark.usefixtures("x86")
@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("offsets", -512, "no recording"),
        ("slots", 10**6, "beyond the arena"),
        ("lengths", 10**9, "beyond the neuron file"),
        ("lengths", 100, "no recording"),
        ("batches", -1, "no recording"),
    ],
)
def test_a_recording_that_would_write_elsewhere_is_refused(
    column: str,
    value: int,
    words: str,
    native: X86,
    model: Path,
    recorded: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = load_file(recorded["reads"])
    columns[column][1] = value
    save_file(columns, tmp_path / "reads")
    monkeypatch.setattr(process, "reads_of", lambda *arguments: recorded | {"reads": tmp_path / "reads"})
    error = failure_of(asked(native, model))
    assert words in error.message
    assert error.kind in ("usage", "model"), "and not of a signal"


def test_an_emulated_processor_reads_the_same_and_has_no_latency(
    arm64: object, model: Path, recorded: dict[str, Path]
) -> None:
    target = Arm64("qemu")
    events = asked(target, model)
    assert isinstance(events[-1], Done), events[-1]
    counts = {phase: len(series.start_ns) for phase, series in samples_of(events).items()}
    assert counts == dict.fromkeys(("decode_read", "decode_io"), QUERIES * (NEW - 1))
    assert all(series.duration_ns is None for series in samples_of(events).values())
    columns = load_file(recorded["reads"])
    length = PROMPT + NEW - 1
    decoded = [query * length + at for query in range(1, 1 + QUERIES) for at in range(PROMPT, length)]
    said = scalars_of(events)
    assert said["decode_active_neurons"] == columns["active"][decoded].sum() > 0
    assert said["decode_hits"] == columns["hits"][decoded].sum()
    missed = said["decode_active_neurons"] - said["decode_hits"]
    assert (said["decode_flash_reads"], said["decode_flash_bytes"]) == (missed, 512 * missed)
    (io,) = [event for event in events if isinstance(event, Io)]
    assert io.read_bytes is not None
    assert io.read_bytes >= 0.99 * (io.asked_bytes or 0) > 0


@pytest.mark.usefixtures("x86")
def test_it_says_of_a_program_in_flash_what_the_python_worker_says(native: X86, model: Path) -> None:
    said = [
        next(e for e in events_of(t, job_of(t, model, "describe", "describe"), model) if isinstance(e, Describe))
        for t in (native, X86())
    ]
    assert said[0].metadata == said[1].metadata
    assert [method["name"] for method in said[0].methods] == [method["name"] for method in said[1].methods]
