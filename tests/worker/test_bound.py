"""`.bound` files: what they say of themselves, what is generated and what refused, and files that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bound_on_disk import CONTEXT, VOCABULARY, logits, mutated, weights, write_bound, write_integers
from native_bundles import shared_folder
from worker.driving import job, run_forked

import harness.bound.library as library
from harness.bound.file import read_bound
from harness.errors import HarnessError, ModelError, UsageError
from harness.job import Files
from harness.model_description import is_language_model, longest_prompt
from harness.protocol import Hello, Loaded, Scalar
from harness.runtime import LoadedModel
from harness.worker.generation import GreedyTokens, LanguageInputs, random_prompt
from harness.worker.runtimes import bound as runtime

pytestmark = pytest.mark.skipif(library.compiler() is None, reason="there is no C compiler")
TOLERANCE = 2e-4


@pytest.fixture(autouse=True)
def compiled(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loops are compiled once a session."""
    return shared_folder(cache, tmp_path_factory)


def loaded(path: Path, **fields: Any) -> LoadedModel:
    return runtime.load(path, job(**fields), Files(model=str(path)))


def test_a_file_is_described(tmp_path: Path) -> None:
    description = runtime.describe(write_bound(tmp_path / "m.bound"))
    assert is_language_model(description)
    assert longest_prompt(description) == CONTEXT
    tokens, position = description.methods[0]["inputs"]
    assert (tokens["dtype"], tokens["limit"], position["limit"]) == ("int32", VOCABULARY, 1)


@pytest.mark.parametrize("instructions", library.VARIANTS)
def test_a_sequence_is_computed_with_a_cache_at_every_length_of_a_prompt(instructions: str, tmp_path: Path) -> None:
    if not library.runs_here(instructions):
        pytest.skip(f"this processor does not run {instructions}")
    options = (("instructions", instructions),)
    model = loaded(write_bound(tmp_path / "m.bound"), measure="quality", runtime_options=options)
    inputs = LanguageInputs(model.description, model.arrange)
    for prompt in range(1, CONTEXT + 1):
        text = np.random.default_rng(prompt).integers(0, VOCABULARY, CONTEXT)
        expected, ids = logits(text), torch.from_numpy(text)[None]
        rows = [model.execute(inputs.at(ids[:, :prompt], 0))[0]]
        rows += [model.execute(inputs.at(ids[:, place : place + 1], place))[0] for place in range(prompt, CONTEXT)]
        np.testing.assert_allclose(np.concatenate(rows), expected[prompt - 1 :], atol=TOLERANCE * expected.std())
    assert model.all_logits is not None
    assert model.window == CONTEXT
    every = model.all_logits((ids,))[0]
    np.testing.assert_allclose(every[0], logits(text), atol=TOLERANCE * every.std())


def test_a_step_reads_the_token_that_was_chosen_last(tmp_path: Path) -> None:
    """Steps are made beforehand and share the memory of their token."""
    model = loaded(write_bound(tmp_path / "m.bound"))
    vocabulary = model.description.metadata["get_vocab_size"]
    tokens = GreedyTokens(model.description, random_prompt(3, vocabulary), 4, model.arrange)
    given = np.random.default_rng(0).integers(0, VOCABULARY, (1, 3))[0].tolist()
    outputs = model.execute(tokens.prompt())
    for position in range(3, 7):
        given.append(int(logits(np.array(given))[-1].argmax()))
        outputs = model.execute(tokens.choose(outputs, position))
        np.testing.assert_allclose(outputs[0][0], logits(np.array(given))[-1], atol=1e-3)


def test_what_it_cannot_compute_is_refused(tmp_path: Path) -> None:
    path = write_bound(tmp_path / "m.bound")
    model = loaded(path)
    inputs = LanguageInputs(model.description, model.arrange)
    model.execute(inputs.at(torch.zeros(1, 3, dtype=torch.int64), 0))
    for tokens, place, why in (
        (torch.zeros(1, 1), 9, "behind a gap"),
        (torch.zeros(1, 2), CONTEXT - 1, "do not fit"),
        (torch.full((1, 1), VOCABULARY), 1, "not in its vocabulary"),
        (torch.full((1, 1), -1), 1, "not in its vocabulary"),
    ):
        with pytest.raises(UsageError, match=why):
            model.execute(inputs.at(tokens.to(torch.int64), place))
    with pytest.raises(UsageError, match=f"do not fit into the model's context of {CONTEXT}"):
        inputs.at(torch.zeros(1, CONTEXT + 1, dtype=torch.int64), 0)
    with pytest.raises(UsageError, match="runs on one thread, not on 2"):
        loaded(path, threads=2)


def test_a_processor_without_the_instructions_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write_bound(tmp_path / "m.bound")
    monkeypatch.setattr(library, "_features", lambda: frozenset({"sse2"}))
    state = runtime.availability()
    assert not state.available
    assert "instructions of none of avx512-vnni, avx2, neon-dotprod" in state.reason
    assert state.todo
    with pytest.raises(UsageError, match="does not have the instructions that avx2 is compiled for"):
        loaded(path, runtime_options=(("instructions", "avx2"),))
    assert loaded(path, runtime_options=(("instructions", "plain"),)).loaded.settings["instructions"] == "plain"


def test_without_a_compiler_it_is_not_available(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    state = runtime.availability()
    assert (state.available, "no C compiler" in state.reason, "gcc" in state.todo) == (False, True, True)


def test_a_compiler_that_fails_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing = tmp_path / "cc"
    failing.write_text("#!/bin/sh\necho 'bound.c:1: error: no such thing' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("CC", str(failing))
    with pytest.raises(HarnessError, match=r"The bound cannot be compiled \(bound.c:1: error: no such thing\)"):
        library.load_library("plain")


def test_generation_and_loss_through_a_worker(tmp_path: Path) -> None:
    path = write_bound(tmp_path / "m.bound")
    said = run_forked(path, job("generate", prompt_tokens=3, new_tokens=3))
    settings = said.one(Loaded).settings
    assert settings["runtime"] == "bound"
    assert settings["yardstick"]
    assert settings["weights"] == "float32 x 14"
    assert "bound-compiler" in said.one(Hello).versions
    assert len(said.samples("decode").start_ns) > 0
    text = np.random.default_rng(3).integers(0, VOCABULARY, 2 * CONTEXT + 1)
    np.save(tmp_path / "text.npy", text)
    said = run_forked(path, job(measure="quality"), tokens=tmp_path / "text.npy")
    values = {scalar.name: scalar.value for scalar in said.all(Scalar)}
    losses = []
    for begin in (0, CONTEXT):
        rows, following = logits(text[begin : begin + CONTEXT]), text[begin + 1 : begin + CONTEXT + 1]
        losses.append(np.log(np.exp(rows).sum(1)) - rows[np.arange(CONTEXT), following])
    assert values["loss_nats"] == pytest.approx(np.mean(losses), abs=1e-4)
    assert values["max_abs_difference_between_methods"] < 1e-3


def test_a_damaged_file_is_refused_or_computed_and_never_crashes(tmp_path: Path) -> None:
    content = write_integers(tmp_path / "whole.bound").read_bytes()
    path, tokens = tmp_path / "m.bound", torch.zeros(1, 5, dtype=torch.int64)
    refused = 0
    for number in range(200):
        path.write_bytes(mutated(content, number))
        try:
            read_bound(path)
            model = loaded(path, measure="quality")
            inputs = LanguageInputs(model.description, model.arrange)
            model.execute(inputs.at(tokens, 0))
            model.execute(inputs.at(tokens[:, :1], 5))
        except (ModelError, UsageError, MemoryError):
            refused += 1
    assert 100 <= refused < 200


def test_both_readers_refuse_the_same_files(tmp_path: Path) -> None:
    """Python's looks at sizes, that of C at sizes and numbers: what the first refuses the second does."""
    content = write_integers(tmp_path / "whole.bound").read_bytes()
    path, loops = tmp_path / "m.bound", library.load_library("plain")
    for number in range(200, 300):
        path.write_bytes(mutated(content, number))
        try:
            read_bound(path)
        except ModelError:
            with pytest.raises((ModelError, MemoryError)):
                library.Program(loops, path, path.read_bytes())


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    arrays = weights()
    arrays["0.fc"][3, 2] = np.nan
    with pytest.raises(ModelError, match="a weight in it is not finite"):
        loaded(write_bound(tmp_path / "m.bound", arrays))
    with pytest.raises(ModelError, match=r"m\.bound cannot be read"):
        read_bound(tmp_path / "none" / "m.bound")
