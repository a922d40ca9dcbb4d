"""The engine, set against the same model in memory: eager PyTorch with the weights that the files give back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.sparse import sparse_gpt

from harness.errors import ModelError
from harness.flash.ablation.policies import POLICIES, Policy, named
from harness.flash.ablation.replay import Replay
from harness.flash.io import layout
from harness.flash.io.arena import Arena
from harness.flash.io.geometry import Dtype, Form
from harness.flash.io.layout import NeuronFile
from harness.flash.io.reader import open_reader
from harness.flash.language_model import predictor, selector
from harness.flash.language_model.engine import Stages, Step, from_flash, generate, step
from harness.flash.language_model.selector import Selector
from harness.models.export import pte_flash
from harness.models.gpt.architecture import GPTConfig
from harness.models.gpt.network import GPT
from harness.worker.flash.program import stages

CONTEXT, PROMPT, WINDOW = 64, 14, 4
CONFIG = GPTConfig(vocabulary_size=31, context=CONTEXT, layers=2, heads=2, width=16, activation="relu")
# 20 sequences of 14 given and 50 chosen tokens: 1,000.
SEQUENCES, NEW = 20, CONTEXT - PROMPT
Files = dict[Form, NeuronFile]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def gpt() -> GPT:
    return sparse_gpt(CONFIG)


@pytest.fixture(scope="module")
def prompts() -> np.ndarray:
    return np.random.default_rng(3).integers(0, CONFIG.vocabulary_size, (SEQUENCES, PROMPT))


def written(gpt: GPT, folder: Path, dtype: Dtype) -> Files:
    rows = pte_flash.feed_forward(gpt)
    shape = layout.Shape(gpt.config.width, tuple(len(up) for up, _ in rows), pte_flash.rest_bytes(gpt))
    files: Files = {}
    for form in ("plain", "bundled"):
        layout.write(folder / form, shape, form, dtype, rows.__getitem__)
        files[form] = NeuronFile.open(folder / form)
    return files


def rounded(gpt: GPT, file: NeuronFile) -> GPT:
    """The model with the weights of `file`, which are read here without any of the engine."""
    model = GPT(gpt.config).eval()
    model.load_state_dict(gpt.state_dict())
    content = np.frombuffer(file.path.read_bytes(), np.uint8)
    for layer, block in enumerate(model.blocks):
        count = file.shape.neurons[layer]
        start = file.layer_at(layer)
        records = content[start : start + 2 * count * file.stride].reshape(2, count, file.stride).swapaxes(0, 1)
        up, down = file.decode(layer, np.arange(count), np.ascontiguousarray(records))
        with torch.no_grad():
            block.ffn.fc.weight.copy_(torch.from_numpy(up))
            block.ffn.out.weight.copy_(torch.from_numpy(down.T.copy()))
    return model


def in_memory(model: GPT, prompts: np.ndarray, new: int = NEW) -> list[list[int]]:
    """Greedily, the whole sequence anew for each token: no cache, no stages, no arena."""
    texts = torch.from_numpy(prompts)
    with torch.no_grad():
        for _ in range(new):
            texts = torch.cat([texts, model(texts)[:, -1].argmax(-1, keepdim=True)], dim=1)
    return texts[:, prompts.shape[1] :].tolist()


def eager_stages(gpt: GPT) -> Stages:
    def method(stage: torch.nn.Module) -> Callable[..., list[torch.Tensor]]:
        def run(inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
            with torch.no_grad():
                outputs = stage(*inputs)
            return list(outputs) if isinstance(outputs, tuple) else [outputs]

        return run

    return stages([method(stage) for stage in pte_flash.stages(gpt)])


@contextmanager
def engine(
    policy: Policy, files: Files, program: Stages, chooser: Selector | None, slots: int | None = None
) -> Iterator[Callable[[int, int], Step]]:
    file = files["bundled" if policy.bundled else "plain"]
    neurons = [slots or count for count in file.shape.neurons] if policy.window else [max(file.shape.neurons)]
    arena = Arena(file.arena_slots(sum(neurons)), file.record_bytes)
    with open_reader("threads", file.path, arena, 1) as reader, ThreadPoolExecutor(max_workers=1) as io:
        replay = Replay(policy, file, neurons, WINDOW, arena, reader.read, io)
        layer = from_flash(replay, file, chooser if policy.predictor else None)
        yield lambda token, position: step(program, layer, token, position, replay.rest)


def chosen(one: Callable[[int, int], Step], prompts: np.ndarray, new: int = NEW) -> list[list[int]]:
    return [[token for token, _ in generate(one, prompt, new) if token is not None] for prompt in prompts]


@pytest.fixture(scope="module")
def float16(gpt: GPT, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return written(gpt, tmp_path_factory.mktemp("float16"), "float16")


@pytest.fixture(scope="module")
def expected(gpt: GPT, float16: Files, prompts: np.ndarray) -> list[list[int]]:
    return in_memory(rounded(gpt, float16["plain"]), prompts)


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_a_thousand_tokens_are_those_of_the_model_in_memory(
    policy: Policy, gpt: GPT, float16: Files, prompts: np.ndarray, expected: list[list[int]]
) -> None:
    exact = selector.exact(float16["bundled"])
    with engine(policy, float16, eager_stages(gpt), exact) as one:
        found = chosen(one, prompts)
    assert sum(map(len, found)) == 1000
    assert len({token for sequence in found for token in sequence}) > 7, "a model that repeats itself shows nothing"
    assert found == expected


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_rounded_weights_give_the_tokens_of_the_model_so_rounded(
    dtype: Dtype, gpt: GPT, prompts: np.ndarray, expected: list[list[int]], tmp_path: Path
) -> None:
    files = written(gpt, tmp_path, dtype)
    with engine(named("bundling"), files, eager_stages(gpt), selector.exact(files["plain"])) as one:
        found = chosen(one, prompts[:3])
    assert found == in_memory(rounded(gpt, files["plain"]), prompts[:3])
    if dtype == "int4":
        assert found != expected[:3], "rounding so coarse changes tokens, or it was not done"


@pytest.mark.usefixtures("disk")
def test_neurons_that_are_not_named_are_lost(gpt: GPT, float16: Files, prompts: np.ndarray) -> None:
    nobody = Selector(lambda layer, x: np.empty(0, np.int64), 0)
    without = GPT(gpt.config).eval()
    without.load_state_dict(gpt.state_dict())
    for block in without.blocks:
        torch.nn.init.zeros_(block.ffn.out.weight)
    with engine(named("pipeline"), float16, eager_stages(gpt), nobody) as one:
        assert chosen(one, prompts[:1], 8) == in_memory(without, prompts[:1], 8)


@pytest.mark.usefixtures("disk")
def test_the_costs_of_a_token(gpt: GPT, float16: Files, prompts: np.ndarray) -> None:
    file, width = float16["plain"], sum(float16["plain"].shape.neurons)
    with engine(named("none"), float16, eager_stages(gpt), None) as one:
        _, done = next(iter(generate(one, prompts[0], 1)))
    assert done.cost.asked_bytes == file.file_bytes - file.records_at
    assert sum(map(len, done.active)) == width
    with engine(named("bundling"), float16, eager_stages(gpt), selector.exact(file)) as one:
        costs = [done for _, done in generate(one, prompts[0], 1)]
    first = costs[0]
    assert 0 < sum(map(len, first.active)) < width / 2
    assert (first.cost.hits, first.cost.reads) == (0, sum(map(len, first.active)))
    assert first.cost.asked_bytes == first.cost.reads * float16["bundled"].record_bytes
    for before, after in pairwise(costs):  # what was active a token ago needs no read
        again = sum(len(np.intersect1d(a, b)) for a, b in zip(before.active, after.active, strict=True))
        assert after.cost.hits >= again
        assert after.cost.hits + after.cost.reads == sum(map(len, after.active))


def test_exact_choice_is_what_the_up_projection_says(gpt: GPT, float16: Files) -> None:
    x = np.random.default_rng(0).normal(size=16).astype(np.float32)
    for form in ("plain", "bundled"):
        chooser = selector.exact(float16[form])
        assert chooser.bytes == 2 * 64 * 16 * 2  # layers, neurons, width, bytes
        for layer, block in enumerate(rounded(gpt, float16["plain"]).blocks):
            assert (
                chooser.select(layer, x).tolist()
                == np.flatnonzero(block.ffn.fc.weight.detach().numpy() @ x > 0).tolist()
            )


def test_exact_choice_of_a_damaged_row_is_refused(float16: Files, tmp_path: Path) -> None:
    file = float16["bundled"]
    content = bytearray(file.path.read_bytes())
    content[file.layer_at(1) + 5 * file.record_bytes + 3] ^= 1
    damaged = tmp_path / "bundled"
    damaged.write_bytes(content)
    with pytest.raises(ModelError, match=r"Neuron 5 of layer 1 in .* is corrupted"):
        selector.exact(NeuronFile.open(damaged))


def test_predictors_of_other_layers_are_refused(float16: Files) -> None:
    zeros = np.zeros((16, 2), np.float32), np.zeros((2, 63), np.float32), np.zeros(63, np.float32)
    with pytest.raises(ModelError, match=r"layers of \[63, 63\] neurons"):
        selector.low_rank([predictor.Predictor(*zeros, 0.5)] * 2, float16["plain"])
