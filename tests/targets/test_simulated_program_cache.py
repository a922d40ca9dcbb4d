"""What is cached of a model, under which key, and what a simulated worker says of it a second time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.jobs import make_job

from harness.errors import HarnessError, ModelError, UsageError, WorkerError
from harness.job import Files, Job
from harness.protocol import Describe, Done, Error, Event, Progress, Scalar
from harness.targets.simulated import program_cache, target, worker
from harness.targets.simulated.device_files import locate, names
from harness.targets.simulated.program_cache import CachedProgram, cached_program, describe, folder_for

PERCEPTRON = Describe(
    format="pt2",
    methods=[{"name": "forward", "inputs": [{"dtype": "float32", "sizes": [4, 8]}], "outputs": []}],
    metadata={},
    delegates=[],
)


class Losses:
    """A worker of quality whose runtime is none: a loss for each number of tokens and each text, counted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from harness.worker import quality
        from harness.worker.runtimes import torch as torch_runtime

        self.folder, self.computed, self.fails = folder, 0, False
        monkeypatch.setattr(worker, "describe", lambda *_: PERCEPTRON)
        monkeypatch.setattr(torch_runtime, "load", lambda path, job, files: str(path))
        monkeypatch.setattr(quality, "loss", self._loss)
        (folder / "m.pt2").write_bytes(b"model")
        (folder / "cached").mkdir()

    def _loss(self, model: str, tokens: Path, max_tokens: int | None, emit: Callable[[Event], None]) -> None:
        self.computed += 1
        emit(Progress(done=1, total=2))
        emit(Scalar(name="loss_nats", value=float(max_tokens or 1000) + len(tokens.name)))
        if self.fails:
            raise KeyboardInterrupt
        emit(Scalar(name="perplexity", value=None, reason="too large"))

    def asked(self, **changes: Any) -> list[Event]:
        """What the worker says of the text named by the hash of its data."""
        job: Job = make_job(measure="quality", **changes)
        files = Files(model=str(self.folder / "m.pt2"), tokens=f"{'x' * len(job.data_sha256 or '')}.npy")
        said: list[Event] = []
        worker.answer(
            job, files, said.append, "here", lambda *_: CachedProgram(self.folder / "cached", {}), lambda *_: []
        )
        return said


@pytest.fixture
def losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Losses:
    return Losses(tmp_path, monkeypatch)


def test_a_loss_is_that_of_its_own_text_and_number_of_tokens(losses: Losses) -> None:
    asked: list[dict[str, Any]] = [
        {"data_sha256": sha256, "max_tokens": tokens} for sha256 in ("a", "bb") for tokens in (10, 20, None)
    ]
    first = [losses.asked(**each) for each in asked]
    assert [event.value for events in first for event in events if getattr(event, "name", "") == "loss_nats"] == [
        *(15.0, 25.0, 1005.0),
        *(16.0, 26.0, 1006.0),
    ]
    again = [losses.asked(**each) for each in asked]
    assert losses.computed == len(asked), "each once"
    assert again == [[event for event in events if not isinstance(event, Progress)] for events in first]


def test_a_loss_that_was_not_finished_is_not_cached(losses: Losses) -> None:
    losses.fails = True
    with pytest.raises(KeyboardInterrupt):
        losses.asked(max_tokens=10)
    losses.fails = False
    assert len(losses.asked(max_tokens=10)) == 3
    assert losses.computed == 2
    assert [path.name.startswith("loss-") for path in (losses.folder / "cached").iterdir()] == [True]


def test_a_key_is_of_all_that_decides_the_outcome(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(kind: str = "npu", torch: str = "2", sha256: str = "sha", phase: str = "prefill") -> Path:
        return folder_for(kind, ("harness.targets.npu.prepared",), {"torch": torch}, sha256, phase)

    first = folder()
    assert folder() == first
    assert first.is_relative_to(cache)
    others = {folder("dsp"), folder(torch="3"), folder(sha256="other"), folder(phase="decode")}
    monkeypatch.setattr(program_cache, "code_hash", lambda code, packages: f"changed {code} {packages}")
    others.add(folder())
    assert len(others - {first}) == 5


def test_what_was_made_is_there_once_its_facts_are(tmp_path: Path) -> None:
    """A reader that finds the facts finds all the rest, so they come last."""

    def make(scratch: Path) -> dict[str, Any]:
        for name in ("a", "z"):
            (scratch / name).write_text(name)
        return {"of": 1}

    order: list[str] = []
    replace = os.replace

    def watched(before: Path, after: Path) -> None:
        order.append(after.name)
        replace(before, after)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", watched)
        assert cached_program(tmp_path / "x", make).facts == {"of": 1}
    assert (sorted(order[:2]), order[2:]) == (["a", "z"], ["facts.json"])
    assert cached_program(tmp_path / "x", lambda _: pytest.fail("it was there")).facts == {"of": 1}


def test_a_description_is_read_once_a_content(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.targets.simulated import description, programs

    read: list[str] = []

    def described(path: Path) -> Describe:
        read.append(path.name)
        return Describe(format="pt2", methods=[{"name": path.name}], metadata={}, delegates=[])

    monkeypatch.setattr(programs, "read_archive", lambda path: path)
    monkeypatch.setattr(description, "describe_archive", described)
    found = [describe(tmp_path / name, sha256) for name, sha256 in (("a", "1"), ("b", "2"), ("c", "1"))]
    assert [each.methods[0]["name"] for each in found] == ["a", "b", "a"]
    assert read == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 2, "input_sizes": ((2, 8),)}, r"for inputs of the sizes \[\[4, 8\]\], not for a batch of 2"),
        ({"batch": 8, "input_sizes": ((8, 8),)}, r"for inputs of the sizes \[\[4, 8\]\], not for a batch of 8"),
        ({"batch": 4, "scenario": "generate"}, "generate is not estimated on here"),
        ({"batch": 4, "measure": "memory"}, "has no memory pass"),
    ],
)
def test_what_a_fixed_program_cannot_do_is_refused(losses: Losses, changes: dict[str, Any], words: str) -> None:
    files = Files(model=str(losses.folder / "m.pt2"))
    with pytest.raises(UsageError, match=words):
        worker.answer(
            make_job(**changes), files, lambda _: None, "here", lambda *_: CachedProgram(Path(), {}), lambda *_: []
        )


def test_what_was_found_out_says_of_which_phase_or_why_not() -> None:
    found = worker.certification_scalars(
        "decode", {"sqnr_db": 40.0, "max_lsb": None}, {"max_lsb": "no integer outputs"}
    )
    assert found == [
        Scalar(name="sqnr_db", value=40.0, reason=None, phase="decode"),
        Scalar(name="max_lsb", value=None, reason="no integer outputs", phase="decode"),
    ]


@pytest.mark.parametrize(
    ("error", "kind", "message", "todo"),
    [
        (ModelError("It is damaged.", "Copy it."), "model", "It is damaged.", "Copy it."),
        (UsageError("No.", "Leave it out."), "usage", "No.", "Leave it out."),
        (HarnessError("Odd.", "Report it."), "worker", "Odd.", "Report it."),
        (WorkerError("memory", "Too large.", "Less."), "memory", "Too large.", "Less."),
        (ValueError("a\nb"), "runtime", "The model could not be lowered: ValueError: a.", "what the compiler printed"),
        (None, "done", "", ""),
    ],
)
def test_whatever_goes_wrong_is_an_error_of_its_kind(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, kind: str, message: str, todo: str
) -> None:
    said: list[Event] = []
    monkeypatch.setattr(worker, "Channel", lambda: SimpleNamespace(emit=said.append))
    monkeypatch.setattr(worker, "parse_request", lambda line: (make_job(), Files(model="m")))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=str))

    def work(job: Job, files: Files, emit: worker.Emit) -> None:
        if error is not None:
            raise error

    worker.serve(work)
    (last,) = said
    if error is None:
        assert last == Done()
    else:
        assert isinstance(last, Error)
        assert (last.kind, last.message) == (kind, message)
        assert todo in last.todo


def test_a_worker_has_the_threads_of_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(target, "LocalProcess", lambda *arguments: started.append(arguments))
    target.launch("some.worker", "big", make_job(threads=3), Files(model="m"))
    ((command, request, environment),) = started
    assert command[1:] == ["-P", "-m", "some.worker", "big"]
    assert json.loads(request)["job"]["threads"] == 3
    assert environment == {"OMP_NUM_THREADS": "3"}


def test_configurations_are_named_the_default_first(tmp_path: Path) -> None:
    for name in ("big", "small", "tiny"):
        (tmp_path / f"{name}.toml").touch()
    assert names(tmp_path, "small") == ("small", "big", "tiny")
    assert locate(tmp_path, "small", None) == tmp_path / "small.toml"
    assert locate(tmp_path, "small", "tiny") == tmp_path / "tiny.toml"
    assert locate(tmp_path, "small", "mine.toml") == Path("mine.toml")
    with pytest.raises(UsageError, match="no configuration 'huge'") as refusal:
        locate(tmp_path, "small", "huge")
    assert "small, big, tiny" in refusal.value.hint
