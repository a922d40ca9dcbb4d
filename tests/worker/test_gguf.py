"""`.gguf` files in llama.cpp: what they say of themselves, their cache, what llama.cpp runs with, and files that are
wrong.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from worker.driving import QUICK, job, run_forked

pytest.importorskip("llama_cpp", reason="the extra `gguf` is not installed: llama.cpp takes minutes to compile")

from gguf_on_disk import CONTEXT, VOCABULARY, edited, gpt2_logits, weights, with_number, write_gpt2, write_llama

from harness.errors import ModelError, UsageError
from harness.job import Files
from harness.model_description import is_language_model, longest_prompt
from harness.protocol import Hello, Loaded, Ops, Scalar
from harness.runtime import LoadedModel
from harness.worker.generation import GreedyTokens, LanguageInputs, random_prompt
from harness.worker.runtimes import llama_cpp as runtime

EXACT = (("cache_type", "f32"), ("flash_attention", "off"))
"""Options with which nothing is rounded but the table of GELU."""


@pytest.fixture(scope="module", autouse=True)
def started() -> None:
    runtime.start("cpu")


def loaded(path: Path, **fields: Any) -> LoadedModel:
    return runtime.load(path, job(**fields), Files(model=str(path)))


def test_a_header_is_described_without_what_belongs_to_the_tokenizer(tmp_path: Path) -> None:
    description = runtime.describe(write_llama(tmp_path / "llama.gguf"))
    assert is_language_model(description)
    assert longest_prompt(description) == 64
    assert description.metadata["general.name"] == "tiny"
    assert not any("tokenizer" in key for key in description.metadata)
    tokens, position = description.methods[0]["inputs"]
    assert (tokens["dtype"], tokens["limit"], position["limit"]) == ("int32", 31, 1)


def test_a_sequence_is_computed_by_llama_cpps_own_cache(tmp_path: Path) -> None:
    path = write_gpt2(tmp_path / "lm.gguf")
    model = loaded(path, measure="quality", runtime_options=EXACT)
    inputs = LanguageInputs(model.description, model.arrange)
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, (3, CONTEXT))
    for prompt, text in zip((1, 4, CONTEXT - 1), tokens, strict=True):  # a sequence must not see the one before
        expected, ids = gpt2_logits(text), torch.from_numpy(text)[None]
        rows = [model.execute(inputs.at(ids[:, :prompt], 0))[0]]
        rows += [model.execute(inputs.at(ids[:, place : place + 1], place))[0] for place in range(prompt, CONTEXT)]
        np.testing.assert_allclose(np.concatenate(rows), expected[prompt - 1 :], atol=5e-3 * expected.std())
    assert model.all_logits is not None
    assert model.window == CONTEXT
    every = model.all_logits((torch.from_numpy(tokens[:1]),))[0]
    np.testing.assert_allclose(every[0], gpt2_logits(tokens[0]), atol=5e-3 * every.std())


def test_a_step_reads_the_token_that_was_chosen_last(tmp_path: Path) -> None:
    """Steps are made beforehand and share the memory of their token."""
    model = loaded(write_gpt2(tmp_path / "lm.gguf"), runtime_options=EXACT)
    vocabulary = model.description.metadata["get_vocab_size"]
    tokens = GreedyTokens(model.description, random_prompt(3, vocabulary), 4, model.arrange)
    given = np.random.default_rng(0).integers(0, VOCABULARY, (1, 3))[0].tolist()
    outputs = model.execute(tokens.prompt())
    for position in range(3, 7):
        chosen = int(gpt2_logits(np.array(given))[-1].argmax())
        given.append(chosen)
        outputs = model.execute(tokens.choose(outputs, position))
        np.testing.assert_allclose(outputs[0][0], gpt2_logits(np.array(given))[-1], atol=0.05)


def test_a_token_out_of_its_place_is_refused(tmp_path: Path) -> None:
    model = loaded(write_gpt2(tmp_path / "lm.gguf"))
    inputs = LanguageInputs(model.description, model.arrange)
    model.execute(inputs.at(torch.zeros(1, 3, dtype=torch.int64), 0))
    with pytest.raises(ModelError, match=r"cannot compute the model: .*position"):
        model.execute(inputs.at(torch.zeros(1, 1, dtype=torch.int64), 9))
    with pytest.raises(UsageError, match="do not fit into the model's context of 16"):
        inputs.at(torch.zeros(1, CONTEXT + 1, dtype=torch.int64), 0)


def test_what_llama_cpp_runs_with_is_recorded(tmp_path: Path) -> None:
    path = write_gpt2(tmp_path / "lm.gguf", kind="Q8_0")
    usual = loaded(path, threads=2).loaded.settings
    assert (usual["flash_attention"], usual["ubatch"]) == ("on", str(CONTEXT))
    assert usual["threads"] == "2"
    assert usual["weights"] == "F32 x 20, Q8_0 x 8"
    assert "MiB" in usual["weights in memory"]
    other = loaded(path, runtime_options=(*EXACT, ("ubatch", "4"))).loaded.settings
    assert (other["flash_attention"], other["ubatch"]) == ("off", "4")
    with pytest.raises(UsageError, match="has no option 'spin'"):
        loaded(path, runtime_options=(("spin", "1"),))


@pytest.mark.parametrize(("kind", "most"), [("Q8_0", 0.05), ("Q4_0", 0.6)])
def test_rounded_weights_are_computed(kind: str, most: float, tmp_path: Path) -> None:
    model = loaded(write_gpt2(tmp_path / "lm.gguf", kind=kind), measure="quality")
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, CONTEXT)
    assert model.all_logits is not None
    computed = model.all_logits((torch.from_numpy(tokens)[None],))[0][0]
    expected = gpt2_logits(tokens)
    difference = np.sqrt(((computed - expected) ** 2).mean()) / expected.std()
    assert most / 100 < difference < most


def test_generation_loss_and_operators_through_a_worker_that_prints_nothing(tmp_path: Path) -> None:
    path = write_gpt2(tmp_path / "lm.gguf")
    ended = run_forked(path, job("generate", prompt_tokens=4, new_tokens=5))
    assert len(ended.samples("decode").start_ns) == QUICK["min_iterations"] * 4
    assert ended.stderr == ""
    assert "SSE3" in ended.one(Hello).versions["llama.cpp-build"]
    assert ended.one(Loaded).settings["context"] == "256"
    text = np.random.default_rng(2).integers(0, VOCABULARY, 2 * CONTEXT + 1)
    np.save(tmp_path / "text.npy", text)
    ended = run_forked(path, job(measure="quality", runtime_options=EXACT), tokens=tmp_path / "text.npy")
    loss = next(scalar.value for scalar in ended.all(Scalar) if scalar.name == "loss_nats")
    windows = [text[begin : begin + CONTEXT + 1] for begin in range(0, 2 * CONTEXT, CONTEXT)]
    logits = torch.from_numpy(np.concatenate([gpt2_logits(window[:-1]) for window in windows]))
    wanted = torch.from_numpy(np.concatenate([window[1:] for window in windows]))
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, wanted)), rel=2e-3)
    profile = run_forked(path, job("generate", "profile", prompt_tokens=4, new_tokens=5)).all(Ops)
    # Ten queries; of the five new tokens the last is not fed back.
    assert {event.operator.split()[0]: event.calls for event in profile} == {"prefill": 40, "decode": 40}


def test_of_a_long_context_no_more_is_allocated_than_is_used(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "llama.gguf")
    content = path.read_bytes()
    path.write_bytes(with_number(content, "llama.context_length", 1 << 20))
    assert longest_prompt(runtime.describe(path)) == 1 << 20
    assert loaded(path, prompt_tokens=3, new_tokens=3).loaded.settings["context"] == "4096"
    assert loaded(path, prompt_tokens=5000, new_tokens=3).loaded.settings["context"] == "5120"


# Runs a model on two threads, and prints how much processor time is spent in the third of a second behind.
_IDLE = """
import sys, time
from pathlib import Path
import torch
from harness.job import Files, Job
from harness.worker.generation import LanguageInputs
from harness.worker.runtimes import llama_cpp as runtime

runtime.start("cpu")
job = Job(target="t", model="m", model_sha256="", scenario="single-stream", threads=2)
model = runtime.load(Path(sys.argv[1]), job, Files(model=sys.argv[1]))
prompt = LanguageInputs(model.description, model.arrange).at(torch.zeros(1, 16, dtype=torch.int64), 0)
for _ in range(5):
    model.execute(prompt)
begin = time.process_time_ns()
time.sleep(0.3)
print(time.process_time_ns() - begin)
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="threads never spin where there is one processor")
def test_no_thread_spins_between_runs(tmp_path: Path) -> None:
    path = write_gpt2(tmp_path / "lm.gguf", weights(128, 2))

    def idle_ns(**environment: str) -> int:
        free = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
        command = [sys.executable, "-P", "-c", _IDLE, str(path)]
        ended = subprocess.run(command, capture_output=True, text=True, check=True, env={**free, **environment})
        return int(ended.stdout)

    if "OPENMP" not in runtime._build(runtime._library()):
        pytest.skip("this llama.cpp makes its threads anew for each run")
    assert idle_ns() * 5 < idle_ns(GOMP_SPINCOUNT="INFINITY")


def _written(**options: Any) -> Any:
    return lambda path: write_gpt2(path, **options)


def _cut(share: float) -> Any:
    def make(path: Path) -> None:
        content = write_gpt2(path).read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return make


WRONG = {
    "unknown": (_written(architecture="acme"), "it is of the architecture acme, which this llama.cpp does not have"),
    "no tensor": (_written(leave_out=("blk.1.ffn_up.weight",)), "it lacks the tensor blk.1.ffn_up.weight"),
    "no key": (_written(leave_out=("embedding_length",)), "its metadata lack gpt2.embedding_length"),
    "shape": (edited("gpt2.feed_forward_length", 77), "is 256, 64 and its metadata ask for 77, 64"),
    "cut": (_cut(0.9), "it is cut short"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_an_error_of_two_sentences(name: str, tmp_path: Path) -> None:
    make, words = WRONG[name]
    make(path := tmp_path / "m.gguf")
    with pytest.raises(ModelError, match=re.escape(words)) as caught:
        runtime.describe(path)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_tokenizer_that_is_not_complete_is_said(tmp_path: Path) -> None:
    path = write_gpt2(tmp_path / "m.gguf", tokenizer="gpt2")
    with pytest.raises(ModelError, match="its tokenizer is not complete"):
        runtime.describe(path)


# For each file of a folder a process of its own, forked where llama.cpp has been imported: describes it, loads it and
# computes three tokens. Prints how each ended.
_FORKED = """
import os, sys
from pathlib import Path
import torch
from harness.errors import HarnessError
from harness.job import Files, Job
from harness.worker.generation import LanguageInputs
from harness.worker.runtimes import llama_cpp as runtime

runtime.start("cpu")
job = Job(target="t", model="m", model_sha256="", scenario="single-stream")
for path in sorted(Path(sys.argv[1]).iterdir()):
    child = os.fork()
    if child == 0:
        try:
            runtime.describe(path)
            model = runtime.load(path, job, Files(model=str(path)))
            model.execute(LanguageInputs(model.description, model.arrange).at(torch.zeros(1, 3, dtype=torch.int64), 0))
            os._exit(0)
        except (HarnessError, MemoryError):
            os._exit(1)
        except Exception:
            os._exit(2)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_damaged_files_are_refused_or_run(tmp_path: Path) -> None:
    source, folder = random.Random(5), tmp_path / "damaged"
    folder.mkdir()
    contents = [write_gpt2(tmp_path / "a.gguf").read_bytes(), write_llama(tmp_path / "b.gguf").read_bytes()]
    for number in range(200):
        content = source.choice(contents)
        mutated = bytearray(content)
        for _ in range(source.choice((1, 1, 3, 20))):
            mutated[source.randrange(source.choice((1000, 3000, len(mutated))))] = source.randrange(256)
        length = source.choice((len(mutated), len(mutated), source.randrange(len(mutated))))
        (folder / f"{number:03}.gguf").write_bytes(mutated[:length])
    ended = subprocess.run(
        [sys.executable, "-P", "-c", _FORKED, str(folder)], capture_output=True, text=True, check=True, timeout=300
    )
    codes = Counter(ended.stdout.split())
    assert codes.total() == 200
    assert codes["1"] > 80
    assert codes["0"] > 20
    # A worker that ends is a failed row; nothing else may come out of ours.
    assert codes["2"] == 0
    assert codes.total() - codes["0"] - codes["1"] <= 4
