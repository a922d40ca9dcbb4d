"""The native worker against the Python one: the same file, the same answers."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_on_disk import VOCABULARY, WIDTH, Models
from native_driving import events_of, job_of, samples_of, scalars_of

from harness.job import Files
from harness.protocol import Answer, Describe, Done, Error, Hello, Loaded, Memory, Ops, Output
from harness.statistics.steady import SteadyRule
from harness.targets.native.bundle import Bundle
from harness.targets.transports.local import LocalProcess
from harness.targets.x86 import X86

pytestmark = pytest.mark.usefixtures("x86")


@pytest.fixture(scope="module")
def native() -> X86:
    return X86("native")


@pytest.fixture(scope="module")
def python() -> X86:
    return X86()


def test_it_says_of_a_model_what_the_python_worker_says(native: X86, python: X86, models: Models) -> None:
    for path in (models.mlp, models.lm):
        said = [
            next(
                event
                for event in events_of(target, job_of(target, path, "describe", "describe"), path)
                if isinstance(event, Describe)
            )
            for target in (native, python)
        ]
        assert said[0] == said[1]


def test_it_asks_the_same_prompts_and_gives_the_same_answers(
    native: X86, python: X86, models: Models, tmp_path: Path
) -> None:
    """Greedily, until a token that ends an answer; the last token of the longest answer is taken for that."""
    prompts = tmp_path / "prompts.npy"
    np.save(prompts, np.array([[1, 2, 3], [7, 8, 9], [3, 2, 1]]))
    length: dict[str, Any] = {"prompt_tokens": 3, "new_tokens": 5, "prompts": "some", "prompts_sha256": "0" * 64}

    def answers(target: X86, ends: tuple[int, ...] | None, block: int = 0) -> list[tuple[int, ...]]:
        job = job_of(target, models.lm, "generate", **length, end_tokens=ends, block=block)
        events = events_of(target, job, models.lm, prompts=str(prompts))
        return [tuple(event.tokens) for event in events if isinstance(event, Answer)]

    whole = answers(python, ())
    assert answers(native, ()) == whole
    assert [len(answer) for answer in whole] == [5, 5, 5]
    assert answers(native, None) == answers(python, None) == whole[:1], "of a text the first"
    end = whole[0][2]
    cut = [answer[: answer.index(end) + 1] if end in answer else answer for answer in whole]
    assert answers(native, (end,)) == answers(python, (end,)) == cut
    assert answers(native, (), block=1) == answers(python, (), block=1) == []


def test_it_refuses_logits_that_are_no_numbers(native: X86, models: Models, tmp_path: Path) -> None:
    """The place of the seventh token is none in its table of positions."""
    row = np.load(models.folder / "lm.npz")["positions.weight"][6].tobytes()
    broken = tmp_path / "broken.pte"
    broken.write_bytes(models.lm.read_bytes().replace(row, np.full(WIDTH, np.nan, np.float32).tobytes()))
    job = job_of(native, broken, "generate", prompt_tokens=4, new_tokens=5)
    error = next(event for event in events_of(native, job, broken) if isinstance(event, Error))
    assert "after 7 tokens are not finite numbers" in error.message


def test_outputs_are_bit_identical(native: X86, python: X86, models: Models, tmp_path: Path) -> None:
    arrays = []
    for target in (native, python):
        folder = tmp_path / (target.launch.__qualname__ + str(len(arrays)))
        folder.mkdir()
        job = job_of(target, models.mlp, measure="quality", reference_sha256="0" * 64)
        found = next(e for e in events_of(target, job, models.mlp, output=str(folder)) if isinstance(e, Output))
        with np.load(found.file) as file:
            arrays.append({name: file[name] for name in file.files})
    assert arrays[0].keys() == arrays[1].keys() == {f"set{number}_output0" for number in range(8)}
    for name, array in arrays[0].items():
        assert array.dtype == np.float32
        assert np.array_equal(array, arrays[1][name]), name
        assert np.abs(array).max() > 0


def test_loss_is_the_same(native: X86, python: X86, models: Models, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.npy"
    np.save(tokens, np.random.default_rng(3).integers(0, VOCABULARY, 41))
    found = []
    for target in (native, python):
        job = job_of(target, models.lm, "generate", "quality", data="d", data_sha256="0" * 64)
        found.append(scalars_of(events_of(target, job, models.lm, tokens=str(tokens), output=str(tmp_path))))
    assert found[0]["predicted_tokens"] == found[1]["predicted_tokens"] == 40
    assert found[0]["loss_nats"] == pytest.approx(found[1]["loss_nats"], rel=1e-12)


@pytest.mark.parametrize("scenario", ["generate", "single-stream", "offline", "cold-start"])
def test_a_scenario_has_the_phases_and_counts_of_the_python_worker(
    native: X86, python: X86, models: Models, scenario: str
) -> None:
    path = models.lm if scenario == "generate" else models.mlp
    shapes = []
    for target in (native, python):
        events = events_of(target, job_of(target, path, scenario), path)
        assert isinstance(events[-1], Done), events[-1]
        assert [e.planned_bytes for e in events if isinstance(e, Loaded)] == [
            json.loads((models.folder / "arenas.json").read_text())[path.name]
        ]
        shapes.append({phase: len(s.start_ns) for phase, s in samples_of(events).items()})
        for series in samples_of(events).values():
            assert series.duration_ns is not None
            assert all(duration > 0 for duration in series.duration_ns)
            assert series.start_ns == sorted(series.start_ns)
    assert shapes[0] == shapes[1]


def test_memory_is_its_own_and_far_below_that_of_torch(native: X86, models: Models) -> None:
    events = events_of(native, job_of(native, models.mlp, measure="memory"), models.mlp)
    found = {event.phase: event for event in events if isinstance(event, Memory)}
    assert list(found) == ["runtime", "load", "first", "steady"]
    for event in found.values():
        assert event.peak_rss_bytes is not None
        assert event.rss_bytes is not None
        assert 1e6 < event.rss_bytes <= event.peak_rss_bytes < 100e6
    assert not samples_of(events)


def test_it_runs_on_as_many_threads_as_the_job_says(native: X86, models: Models, tmp_path: Path) -> None:
    process = native.launch(job_of(native, models.mlp, threads=2), Files(model=str(models.mlp)))
    assert '"event":"done"' in list(process.lines(60))[-1]
    process.close()
    assert "Resetting threadpool to 2 threads" in process.stderr_tail()


def test_operators_are_recorded(native: X86, models: Models, tmp_path: Path) -> None:
    job = job_of(native, models.mlp, measure="profile")
    found = [e for e in events_of(native, job, models.mlp, output=str(tmp_path)) if isinstance(e, Ops)]
    linear = [op for op in found if op.operator.startswith("Fully Connected")]
    assert linear
    assert all(op.delegate == "XnnpackBackend" for op in linear)
    assert sum(op.calls for op in linear) == 20, "two layers, ten queries"
    assert sum(op.total_ns for op in found) > 0


def test_a_hostile_name_is_only_a_name(native: X86, models: Models, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    path = tmp_path / f"a; rm -rf {victim.name} $(rm -rf {victim.name}) 'é\" .pte"
    shutil.copy(models.mlp, path)
    events = events_of(native, job_of(native, path), path)
    assert isinstance(events[-1], Done), events[-1]
    assert victim.exists()


def _error(target: X86, path: Path) -> Error:
    end = events_of(target, job_of(target, path, "cold-start"), path)[-1]
    assert isinstance(end, Error), end
    assert end.message.endswith((".", ")."))
    assert end.todo.endswith((".", "?"))
    return end


def test_bad_models_end_in_a_sentence(native: X86, models: Models, tmp_path: Path) -> None:
    assert "AcmeNpuBackend" in _error(native, models.foreign).message
    whole = models.mlp.read_bytes()
    for name, content, word in (
        ("cut", whole[: len(whole) // 2], "cut short"),
        ("empty", b"", "is empty"),
        ("text", b"hello, I am no program at all, but long enough", "no ET12"),
        ("newer", whole[:4] + b"ET13" + whole[8:], "of this version"),
    ):
        path = tmp_path / f"{name}.pte"
        path.write_bytes(content)
        assert word in _error(native, path).message
    assert "cannot be read" in _error(native, tmp_path / "absent.pte").message


def test_flipped_bytes_end_and_never_hang(native: X86, models: Models, tmp_path: Path) -> None:
    whole, random_ = models.lm.read_bytes(), random.Random(5)
    for number in range(12):
        damaged = bytearray(whole)
        for _ in range(8):
            damaged[random_.randrange(len(damaged) // 4)] ^= 1 << random_.randrange(8)
        path = tmp_path / f"flipped{number}.pte"
        path.write_bytes(damaged)
        process = native.launch(job_of(native, path, "cold-start"), Files(model=str(path)))
        events = list(process.lines(60))
        code = process.close()
        assert (events and ('"done"' in events[-1] or '"error"' in events[-1])) or code != 0


def test_rubbish_for_a_request_is_an_error_event(x86: Bundle) -> None:
    for line in ("", "{", "[1", '{"job":{}}', '{"job":{"measure":1,"scenario":"x"},"files":{}}', '"' * 9, "nul"):
        ended = subprocess.run(x86.command(str(x86.folder)), input=line, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0
        assert json.loads(ended.stdout.splitlines()[-1])["event"] == "error"


def test_the_first_word_names_the_runtime(native: X86, models: Models) -> None:
    hello = events_of(native, job_of(native, models.mlp), models.mlp)[0]
    assert isinstance(hello, Hello)
    assert hello.worker.startswith("native ")
    assert hello.versions.keys() == {"executorch"}


def test_the_rule_of_steadiness_is_the_same_in_both_languages(x86: Bundle) -> None:
    random_ = random.Random(7)
    outcomes = set()
    for number in range(60):
        calm, level = random_.choice((0.005, 0.02, 0.05)), random_.choice((1e4, 1e6, 4e6, 1e8))
        fade = random_.choice((0.9, 0.99, 0.999))
        series = [
            int(level * (1 + 3 * fade**i) * random_.gauss(1, calm) * (2 if random_.random() < 0.03 else 1))
            for i in range(random_.choice((9, 30, 180, 500)))
        ]
        rule, expected = SteadyRule(), -1
        for count, duration in enumerate(series, 1):
            rule.add(duration)
            if rule.steady:
                expected = count
                break
        text = "\n".join(map(str, series))
        said = subprocess.run(
            [*x86.command(str(x86.folder)), "--steady"], input=text, capture_output=True, text=True, check=True
        )
        assert int(said.stdout) == expected, number
        outcomes.add(expected)
    assert -1 in outcomes
    assert len(outcomes) > 5, "series that become steady at different times"


def test_accuracy_is_that_of_the_python_worker(native: X86, python: X86, models: Models, tmp_path: Path) -> None:
    """Seven samples in batches of three, the last of which is incomplete; every other label is the worst class."""
    x = np.random.default_rng(3).normal(size=(7, WIDTH)).astype(np.float32)
    with np.load(models.folder / "mlp.npz") as w:
        logits = np.maximum(x @ w["0.weight"].T + w["0.bias"], 0) @ w["2.weight"].T + w["2.bias"]
    labels = np.where(np.arange(7) % 2 == 0, logits.argmax(axis=1), logits.argmin(axis=1))
    np.savez(tmp_path / "x.npz", x=x)
    np.save(tmp_path / "y.npy", labels)
    files = {"inputs": str(tmp_path / "x.npz"), "labels": str(tmp_path / "y.npy"), "output": str(tmp_path)}
    fields = {"batch": 3, "input_sizes": ((3, WIDTH),), "inputs_sha256": "0", "labels_sha256": "1"}
    for target in (native, python):
        job = job_of(target, models.mlp, measure="quality", **fields)
        found = scalars_of(events_of(target, job, models.mlp, **files))
        assert found == {"accuracy_top1": 4 / 7, "accuracy_top5": 4 / 7, "labelled_samples": 7}


def test_a_model_is_described_once(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first job of a session, which asks for it; the jobs that need inputs know it then."""
    target, requests = X86("native"), []
    start = LocalProcess.__init__

    def counted(self: LocalProcess, command: Sequence[str], request: str, *arguments: Any, **named: Any) -> None:
        requests.append(json.loads(request)["job"]["measure"])
        start(self, command, request, *arguments, **named)

    monkeypatch.setattr(LocalProcess, "__init__", counted)
    for scenario, measure in (("describe", "describe"), ("single-stream", "latency"), ("single-stream", "memory")):
        assert isinstance(events_of(target, job_of(target, models.mlp, scenario, measure), models.mlp)[-1], Done)
    assert requests == ["describe", "latency", "memory"]
