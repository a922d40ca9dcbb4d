"""Programs of models whose heads or blocks share their weights: what they compute, what their files and caches hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import harness.models
from harness.manifest import Manifest
from harness.models.compress.apply import Compressed
from harness.models.export.deployment import AllLogits, Body, DeployedBlock, Generator
from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.pt2_fixed_shapes import Prefill, Step
from harness.models.export.pt2_generating import Cached
from harness.models.export.pte import ALL_LOGITS, export_pte, exported_methods, lowered_to_pte
from harness.models.export.pte_flash import stages
from harness.models.gpt.network import GPT, Block, GPTConfig
from harness.models.zoo.compressing import build_file, kernels_of
from harness.models.zoo.records import PACKAGED, read_record
from harness.worker.runtimes.pte import read_methods

pytestmark = pytest.mark.xdist_group("export")  # two workers would export everything twice

HEADS, CONTEXT, WIDTH, LAYERS = 6, 24, 96, 2
CONFIG = GPTConfig(vocabulary_size=29, context=CONTEXT, layers=LAYERS, heads=HEADS, width=WIDTH)
CLOSE = partial(torch.testing.assert_close, atol=1e-4, rtol=1e-4)


def tokens_of(seed: int) -> Tensor:
    return torch.randint(29, (1, CONTEXT), generator=torch.Generator().manual_seed(seed))


def grouped(model: GPT, kv_heads: int, *skip: str) -> Compressed:
    """`model` with so many heads of keys and values, but in the layers to skip."""
    return harness.models.compress(model, method="grouped-query", heads=HEADS, kv_heads=kv_heads, skip=skip)


def network(compressed: Compressed) -> GPT:
    assert isinstance(compressed.module, GPT)
    return compressed.module


@pytest.fixture(params=[(3,), (1,), (2, "blocks.0.*"), (3, "blocks.1.*")], ids=str)
def gpt(request: pytest.FixtureRequest, seeded: Callable[..., GPT]) -> GPT:
    """A model all of whose blocks share heads, or only one of them does."""
    return network(grouped(seeded(CONFIG), *request.param))


@torch.no_grad()
def test_keys_and_values_computed_once_give_what_each_heads_own_gave(gpt: GPT) -> None:
    body = Body(gpt)
    generator, cached = Generator(body), Cached(body)
    for seed, parts in enumerate([[15], [1] * 5, [5, 1, 1, 9], [3, 13]]):  # each starts anew on a full cache
        tokens, start = tokens_of(seed), 0
        expected = gpt(tokens)
        CLOSE(AllLogits(body)(tokens), expected)
        for part in parts:
            new, at = tokens[:, start : start + part], torch.tensor([start])
            CLOSE(cached(new, at), expected[:, start : start + part])
            start += part
            CLOSE(generator(new, at), expected[:, start - 1])


@torch.no_grad()
def test_a_cache_that_goes_in_and_out_is_shared_too(gpt: GPT) -> None:
    tokens, last = tokens_of(0), CONTEXT - 1
    expected = gpt(tokens)
    logits, *caches = Prefill(Body(gpt))(tokens)
    CLOSE(logits, expected)
    earlier = [cache.narrow(2 - index % 2, 0, last) for index, cache in enumerate(caches)]
    step = Step(Body(gpt))(tokens[:, last:], torch.tensor([last]), torch.zeros(1, CONTEXT), *earlier)
    CLOSE(step[0], expected[:, last:])
    assert [part.size(0) for part in step[1:]] == [cache.size(0) for cache in caches]


@torch.no_grad()
def test_a_cache_in_stages_is_shared_too(gpt: GPT) -> None:
    first, *others = stages(gpt)
    tokens = tokens_of(0)
    expected = gpt(tokens)[0]
    for position in range(5):
        at = torch.tensor([position])
        found = first(tokens[:, position : position + 1], at)
        for stage, block in zip(others, cast(list[Block], gpt.blocks), strict=True):
            residual, x = found
            assert block.ffn is not None
            found = stage(residual, block.ffn(x), at)
        CLOSE(cast(Tensor, found)[0], expected[position])


@pytest.mark.parametrize("kv_heads", [1, 2, 3])
def test_a_cache_has_a_head_for_each_head_of_keys_and_values(seeded: Callable[..., GPT], kv_heads: int) -> None:
    body = Body(network(grouped(seeded(CONFIG), kv_heads, "blocks.1.*")))
    caches = {name: tuple(cache.shape) for name, cache in Generator(body).named_buffers() if name[-2:] in ("_0", "_1")}
    size = WIDTH // HEADS
    assert caches == {
        "keys_0": (kv_heads, size, CONTEXT),
        "values_0": (kv_heads, CONTEXT, size),
        "keys_1": (HEADS, size, CONTEXT),
        "values_1": (HEADS, CONTEXT, size),
    }
    assert body.groups == [HEADS // kv_heads, 1]
    attention = cast(DeployedBlock, body.blocks[0]).attention
    assert attention is not None
    weights = [cast(Tensor, layer.weight).shape for layer in (attention.queries, attention.keys, attention.values)]
    assert weights == [(WIDTH, WIDTH), (kv_heads * size, WIDTH), (kv_heads * size, WIDTH)]


def test_heads_that_differ_in_one_weight_are_not_shared(seeded: Callable[..., GPT]) -> None:
    gpt = network(grouped(seeded(CONFIG), 3))
    assert Body(gpt).groups == [2, 2]
    with torch.no_grad():
        attention = cast(Block, gpt.blocks[0]).attention
        assert attention is not None
        attention.qkv.weight[-1, -1] += 1e-3
    assert Body(gpt).groups == [1, 2]


@torch.no_grad()
@pytest.mark.parametrize("precision", ["int8", "int4-channel", "int4-group32"])
def test_integers_are_those_of_the_repeated_rows(seeded: Callable[..., GPT], precision: str) -> None:
    gpt = network(grouped(seeded(CONFIG), 2))
    own = Body(seeded(CONFIG), precision)
    body = Body(gpt, precision)
    assert (own.groups, body.groups) == ([1, 1], [3, 3])
    tokens = tokens_of(0)
    expected = gpt(tokens)
    difference = (AllLogits(body)(tokens) - expected).square().mean().sqrt() / expected.std()
    assert difference < {"int8": 0.1}.get(precision, 1.0)


@pytest.fixture(scope="module")
def parent(seeded: Callable[..., GPT]) -> GPT:
    return seeded(CONFIG)


@pytest.fixture(scope="module")
def whole(parent: GPT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "whole.pte"
    export_pte(parent, path)
    return path


@pytest.fixture(scope="module", params=[3, 1], ids=["grouped", "multi"])
def built(
    request: pytest.FixtureRequest, parent: GPT, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path, Manifest, Compressed]:
    path = tmp_path_factory.mktemp("shared") / "small.pte"
    compressed, record = grouped(parent, request.param), read_record(PACKAGED, "baseline-small")
    assert record is not None
    return request.param, path, build_file(path, "small", compressed, record), compressed


Built = tuple[int, Path, Manifest, Compressed]


@torch.no_grad()
def test_a_program_computes_what_the_network_does(built: Built) -> None:
    _, path, _, compressed = built
    with library_noise_hidden():
        from executorch.runtime import Runtime

        program: Any = Runtime.get().load_program(path)
    forward, all_logits = program.load_method("forward"), program.load_method(ALL_LOGITS)
    for seed in (1, 2):
        tokens = tokens_of(seed)
        expected = compressed.module(tokens)
        CLOSE(all_logits.execute([tokens])[0], expected)
        for start, end in ((0, 10), (10, 11), (11, 12), (12, 24)):
            found = forward.execute([tokens[:, start:end], torch.tensor([start])])[0]
            CLOSE(found, expected[:, end - 1])


def test_a_file_and_its_arena_lack_what_is_shared(built: Built, whole: Path) -> None:
    kv_heads, path, _, _ = built
    gone = 2 * 4 * LAYERS * (HEADS - kv_heads) * (WIDTH // HEADS)  # bytes of keys and values for each input or place
    assert path.stat().st_size < whole.stat().st_size - 0.9 * gone * WIDTH
    small, large = ({method.name: method for method in read_methods(file)} for file in (path, whole))
    # The queries of a group are laid one below the other, which is the one thing that needs memory of its own.
    assert small["forward"].planned_bytes < large["forward"].planned_bytes - 0.8 * gone * CONTEXT


def test_all_but_a_handful_of_operators_is_delegated(built: Built) -> None:
    from executorch.exir._serialize._program import deserialize_pte_binary

    inside = {"where", "arange", "bmm", "_softmax", "permute_copy", "mul", "add", "clamp", "view_copy", "clone"}
    for plan in deserialize_pte_binary(built[1].read_bytes()).program.execution_plan:
        if plan.name in ("forward", ALL_LOGITS):
            assert not {operator.name for operator in plan.operators} & {f"aten::{name}" for name in inside}
            delegate_calls = sum(type(i.instr_args).__name__ == "DelegateCall" for i in plan.chains[0].instructions)
            assert delegate_calls <= (5 if plan.name == "forward" else 3) * LAYERS + 2


def test_a_manifest_counts_what_is_shared_once(built: Built, parent: GPT) -> None:
    kv_heads, path, manifest, _ = built
    gone = LAYERS * 2 * (HEADS - kv_heads) * (WIDTH // HEADS) * WIDTH
    assert manifest.parameters == sum(parameter.numel() for parameter in parent.parameters()) - gone
    assert manifest.weights_bytes == 4 * manifest.parameters
    assert {row["runs_as"] for row in manifest.layers} == {"float32"}
    assert manifest.bits_per_weight_stored == pytest.approx(32 * (HEADS + 2 * kv_heads) / (3 * HEADS))
    assert manifest.artifact_bytes == path.stat().st_size


def test_heads_of_another_number_are_repeated_and_said_to_be(parent: GPT) -> None:
    """Halves of a head share rows, which no program of ours has once."""
    compressed = harness.models.compress(parent, method="grouped-query", heads=2 * HEADS, kv_heads=HEADS)
    assert Body(network(compressed)).groups == [1, 1]
    assert set(kernels_of(compressed).values()) == {"float32, dense"}


@pytest.mark.parametrize(("precision", "weight_bytes"), [("fp32", 4), ("int8", 1)])
def test_alberts_file_stores_one_block(seeded: Callable[..., GPT], precision: str, weight_bytes: int) -> None:
    """Each further layer adds its part of the graph, but no weights: the file has those of equal bytes once."""

    def size(layers: int) -> int:
        model = seeded(replace(CONFIG, layers=layers, width=4 * WIDTH))
        with library_noise_hidden(), torch.no_grad():
            whole = exported_methods(network(harness.models.prepare(model, "albert").finish()), precision)[ALL_LOGITS]
            return len(lowered_to_pte({ALL_LOGITS: whole}, {}))

    block = 12 * (4 * WIDTH) ** 2
    assert size(2) > block * weight_bytes
    assert size(4) - size(2) < 0.1 * block * weight_bytes
