"""The flash scenario as the worker does it, through ExecuTorch and from a disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.jobs import language_model, make_job, make_subject
from flash_on_disk import CONTEXT, make_flash_model, tiny_gpt

from harness.conditions.flags import flags
from harness.errors import HarnessError, ModelError, UsageError
from harness.experiment.plan import configurations
from harness.flash.io.layout import NeuronFile
from harness.flash.language_model import predictor
from harness.job import Files, Job
from harness.measurement import Measurement
from harness.models.export import pte_flash as forms
from harness.protocol import Event, Io, Memory, Samples, Scalar
from harness.worker import flash, probes
from harness.worker.flash import program as flash_program
from harness.worker.flash import rehearsal as flash_rehearsal

PROMPT, NEW, QUERIES = 8, 9, 5
PARTS = ("decode_io", "decode_mem", "decode_compute")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return make_flash_model(tmp_path_factory, request)


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """The model's files, to be damaged."""
    shutil.copytree(model.parent, tmp_path / "copy")
    return tmp_path / "copy" / model.name


def flash_job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "scenario": "flash",
        "prompt_tokens": PROMPT,
        "new_tokens": NEW,
        "min_iterations": QUERIES,
        "min_duration_s": 0.0,
        "max_warmup_s": 0.0,
        "max_tokens": 64,
        "window": 3,
        "policy": "bundling",
        "predictor": "exact",
        "reader": "threads",
        "depth": 1,
        "prompts_sha256": "cd" * 32,
    }
    return make_job(**fields | changes)


def events_of(path: Path, **changes: Any) -> list[Event]:
    found: list[Event] = []
    text = str(path.parent / "tokens.npy")
    flash.work(flash_job(**changes), Files(model=str(path), tokens=text), found.append)
    return found


def scalars(events: list[Event]) -> dict[str, float | None]:
    return {event.name: event.value for event in events if isinstance(event, Scalar)}


@pytest.mark.parametrize("policy", ["none", "hybrid", "predictor", "windowing", "bundling", "pipeline"])
def test_every_policy_generates_the_tokens_of_the_whole_model_and_says_what_each_took(policy: str, model: Path) -> None:
    events = events_of(model, policy=policy)
    samples = {event.phase: event for event in events if isinstance(event, Samples)}
    assert set(samples) == {"first", "warmup", "prefill", "decode", "generate", "decode_read", *PARTS}
    assert [len(samples[phase].duration_ns) for phase in ("first", "prefill", "generate")] == [1, QUERIES, QUERIES]
    parts = [samples[phase].duration_ns for phase in PARTS]
    assert len(parts[0]) == QUERIES * (NEW - 1)
    assert samples["decode"].duration_ns == [sum(part) for part in zip(*parts, strict=True)]
    said = scalars(events)
    assert said["token_agreement"] == 1.0
    (io,) = [event for event in events if isinstance(event, Io)]
    assert io.asked_bytes
    assert io.read_bytes is not None
    assert io.read_bytes >= 0.99 * io.asked_bytes
    file = NeuronFile.open(model.with_suffix(".plain.neurons"))
    tokens, neurons = QUERIES * (NEW - 1), sum(file.shape.neurons)
    whole = policy in ("none", "hybrid")
    assert (said["decode_active_neurons"] == tokens * neurons) == whole
    if policy == "hybrid":
        assert said["decode_flash_bytes"] == tokens * (file.rest_at - file.records_at)
    if not whole:
        read = {"predictor": 2, "windowing": 2}.get(policy, 1)
        missed = said["decode_active_neurons"] - said["decode_hits"]
        assert said["decode_flash_reads"] == read * missed
        assert said["decode_flash_bytes"] == said["decode_flash_reads"] * 512
        assert (said["decode_hits"] == 0) == (policy == "predictor")


def test_memory_is_that_of_the_policy_and_not_of_its_rehearsal(model: Path) -> None:
    events = events_of(model, measure="memory")
    assert [event.phase for event in events if isinstance(event, Memory)] == ["runtime", "load", "first", "steady"]
    assert not any(isinstance(event, Samples) for event in events), "timing and memory never share a process"
    said, file = scalars(events), NeuronFile.open(model.with_suffix(".bundled.neurons"))
    assert said["kept_bytes"] == sum(file.shape.neurons) * file.row_bytes
    assert said["dram_bytes"] == said["arena_bytes"] + said["kept_bytes"] + file.table_bytes + file.shape.rest_bytes
    assert said["arena_bytes"] <= sum(file.shape.neurons) * 2 * file.stride


def test_what_predictors_miss_is_in_the_loss(model: Path) -> None:
    exact, low_rank = (scalars(events_of(model, measure="quality", predictor=kind)) for kind in ("exact", "low-rank"))
    gpt, tokens = tiny_gpt(), np.load(model.parent / "tokens.npy")
    windows = np.stack([tokens[start : start + CONTEXT + 1] for start in range(0, 64, CONTEXT)])
    # float32 weights here, float16 in the file
    assert exact["loss_nats"] == pytest.approx(forms.loss(gpt, windows), rel=2e-3)
    assert exact["whole_loss_nats"] == low_rank["whole_loss_nats"] == exact["loss_nats"]
    assert exact["argmax_agreement"] == 1.0
    trained = predictor.load(model.with_suffix(".predictors.safetensors"))
    believed = forms.loss(gpt, windows, lambda layer, x: trained[layer].mask(x))
    assert low_rank["loss_nats"] == pytest.approx(believed, rel=2e-3)
    assert low_rank["loss_nats"] != exact["loss_nats"]
    assert low_rank["predicted_tokens"] == 64


def test_predictors_are_set_against_the_whole_model_too(model: Path) -> None:
    said = scalars(events_of(model, predictor="low-rank"))
    assert said["token_agreement"] is not None
    assert 0 <= said["token_agreement"] <= 1
    trained = predictor.load(model.with_suffix(".predictors.safetensors"))
    assert said["kept_bytes"] == sum(part.nbytes for one in trained for part in (one.a, one.b, one.bias))


def test_a_row_whose_bytes_did_not_come_from_the_device_does_not_count(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        probes.IoProbe,
        "since",
        lambda self, phase, asked: Io(phase=phase, asked_bytes=asked, read_bytes=asked // 2, major_faults=0),
    )
    found: list[Event] = []
    files = Files(model=str(model), tokens=str(model.parent / "tokens.npy"))
    with pytest.raises(HarnessError, match=r"does not count: of \d+ bytes asked for, \d+ came from the device"):
        flash.work(flash_job(), files, found.append)
    measurement = Measurement()
    for event in found:
        measurement.add(event)
    assert measurement.samples, "what was measured is kept"
    assert "not_from_flash" in flags([], [], flash_job(), measurement)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"window": 0}, UsageError, "A window of 0 tokens keeps nothing"),
        ({"window": 9}, UsageError, "A window of 9 tokens is longer than the prompt of 8"),
        ({"dram_budget_bytes": 6000}, UsageError, "A window of 3 tokens of this trace takes .* the budget is"),
        ({"dram_budget_bytes": 4000}, UsageError, "Choosing neurons .* keeps 4096 bytes .* the budget is 4000"),
        ({"policy": "nonsense"}, UsageError, "no policy 'nonsense'"),
        ({"prompt_tokens": 300, "new_tokens": 1}, UsageError, "The text has 288 tokens, a prompt takes 300"),
    ],
)
def test_what_cannot_be_done_is_refused(
    changes: dict[str, Any], kind: type[Exception], words: str, model: Path
) -> None:
    with pytest.raises(kind, match=words):
        events_of(model, **changes)


def test_a_budget_that_suffices_is_kept(model: Path) -> None:
    said = scalars(events_of(model, dram_budget_bytes=60_000))
    assert said["arena_bytes"] is not None
    assert said["kept_bytes"] is not None
    assert said["arena_bytes"] + said["kept_bytes"] <= 60_000


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def damage_neuron(path: Path) -> None:
    """The down row of every neuron of layer 1: whichever is active first is found out."""
    file = NeuronFile.open(path.with_suffix(".bundled.neurons"))
    for neuron in range(file.shape.neurons[1]):
        flip(file.path, file.layer_at(1) + neuron * file.record_bytes + file.stride)


def exchange_neurons(path: Path) -> None:
    file = NeuronFile.open(path.with_suffix(".bundled.neurons"))
    from harness.flash.io.layout import random_rows, write

    write(file.path, file.shape, "bundled", file.dtype, random_rows(file.shape, 0))


def exchange_predictors(path: Path) -> None:
    beside = path.with_suffix(".predictors.safetensors")
    trained = predictor.load(beside)
    predictor.save(beside, [replace(one, threshold=0.25) for one in trained])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage_neuron, r"Neuron \d+ of layer 1 in .* is corrupted"),
        (exchange_neurons, "has not the weights that tiny.pte was made with"),
        (exchange_predictors, "has not the predictors that tiny.pte was made with"),
        (lambda path: path.with_suffix(".bundled.neurons").unlink(), "cannot be read"),
        (lambda path: path.with_suffix(".predictors.safetensors").unlink(), "cannot be read"),
        (lambda path: path.with_suffix(".bundled.neurons").write_bytes(b"NEURONS"), "shorter than its header"),
        (lambda path: path.write_bytes(path.read_bytes()[:9000]), "cut short|damaged|refuses"),
    ],
)
def test_damaged_and_foreign_files_are_refused(harm: Callable[[Path], Any], words: str, copy: Path) -> None:
    harm(copy)
    with pytest.raises(ModelError, match=words):
        events_of(copy, predictor="low-rank")


def test_a_program_whose_weights_are_inside_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.protocol import Describe, Loaded
    from harness.worker.runtimes import executorch as executorch_runtime

    description = Describe(format="pte", methods=[], metadata={"get_vocab_size": 5}, delegates=[])
    loaded = Loaded(program_ns=1, method_ns=1, program_bytes=1, planned_bytes=1)
    monkeypatch.setattr(executorch_runtime, "load_stages", lambda path, threads: (description, loaded, []))
    with pytest.raises(UsageError, match="do not lie in flash"):
        flash_program.load(tmp_path / "m.pte", 1)
    with pytest.raises(UsageError, match="no ExecuTorch program"):
        flash_program.load(tmp_path / "m.pt2", 1)


def test_scenario_and_model_must_fit(tmp_path: Path) -> None:
    inside = make_subject(tmp_path, "inside", language_model())
    outside = make_subject(tmp_path, "outside", language_model(get_flash_layers=2))
    with pytest.raises(UsageError, match="of inside do not lie in flash"):
        configurations(inside, "x", "flash", {}, {})
    with pytest.raises(UsageError, match="of outside lie in flash, so it cannot generate"):
        configurations(outside, "x", "generate", {}, {})
    (job,) = configurations(outside, "x", None, {}, {"window": 5})
    assert (job.scenario, job.prompt_tokens, job.new_tokens, job.max_tokens) == ("flash", 48, 49, 1024)


def test_without_sparsity_there_is_nothing_to_choose(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.flash.language_model.selector import Selector

    everyone = Selector(lambda layer, x: np.arange(64), 0)
    monkeypatch.setattr(flash.selectors, "exact", lambda file: everyone)
    with pytest.raises(ModelError, match=r"no ReLU-like sparsity: 0.0 %"):
        events_of(model)


def test_layers_beyond_memory_are_read_for_each_token(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = scalars(events_of(model, measure="quality", predictor="low-rank"))
    monkeypatch.setattr(flash_rehearsal, "_HELD_BYTES", 0)
    streamed = scalars(events_of(model, measure="quality", predictor="low-rank"))
    assert streamed == pytest.approx(held, rel=1e-6)
    assert scalars(events_of(model))["token_agreement"] == 1.0


def test_prompts_are_random_without_a_text(model: Path) -> None:
    found: list[Event] = []
    flash.work(flash_job(prompts_sha256=None), Files(model=str(model)), found.append)
    said = scalars(found)
    assert said["token_agreement"] == 1.0
    assert math.isfinite(said["decode_flash_bytes"] or math.nan)
