"""The ablation: what is computed, read and waited for, set against numpy, against the policies, and on a disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fakes.clock import FakeClock
from fakes.neurons import rows_of_layer

from harness.errors import HarnessError, ModelError, UsageError
from harness.flash.ablation import replay as replay_module
from harness.flash.ablation.policies import POLICIES, Policy, demands
from harness.flash.ablation.replay import Cost, Replay, room
from harness.flash.ablation.rounds import Conditions, Row, ablate
from harness.flash.ablation.summary import summarise
from harness.flash.ablation.trace import Trace, synthetic
from harness.flash.io.arena import Arena
from harness.flash.io.geometry import Dtype, Form, Indices, Shape
from harness.flash.io.layout import NeuronFile, random_rows, write

WINDOW = 2
SHAPE = Shape(width=300, neurons=(40, 24), rest_bytes=9000)
TRACE = synthetic(SHAPE.neurons, 8, active_fraction=0.3, zipf_exponent=1.2, persistence=0.5, seed=4)
DTYPES: list[Dtype] = ["float16", "int8", "int4"]


@pytest.fixture
def io() -> Iterator[Executor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


@pytest.fixture(autouse=True)
def several_clusters_and_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "CLUSTER_NEURONS", 3)
    monkeypatch.setattr(replay_module, "_PRODUCT_NEURONS", 5)


def both_forms(folder: Path, dtype: Dtype = "float16", seed: int = 0, shape: Shape = SHAPE) -> dict[Form, NeuronFile]:
    files: dict[Form, NeuronFile] = {}
    for form in ("plain", "bundled"):
        write(folder / form, shape, form, dtype, random_rows(shape, seed))
        files[form] = NeuronFile.open(folder / form)
    return files


def form_of(policy: Policy) -> Form:
    return "bundled" if policy.bundled else "plain"


def replayed(
    policy: Policy,
    file: NeuronFile,
    io: Executor,
    budget: int | None = None,
    on_read: Callable[[], None] = lambda: None,
) -> tuple[list[Cost], np.ndarray]:
    """Costs and outputs [tokens, layers, width] without a disk, on a clock that only reads move: 1000 ns each."""
    content = np.frombuffer(file.path.read_bytes(), np.uint8)
    neurons = room(policy, file, TRACE, WINDOW, budget)
    arena = Arena(file.arena_slots(sum(neurons)), file.record_bytes, budget)
    flat, clock = arena.view.reshape(-1), FakeClock()

    def read(offsets: Indices, lengths: Indices, slots: Indices) -> int:
        for offset, length, slot in zip(offsets.tolist(), lengths.tolist(), slots.tolist(), strict=True):
            start = slot * arena.slot_bytes
            assert start + length <= len(flat)
            flat[start : start + length] = content[offset : offset + length]
        clock.advance(1000 * len(offsets))
        on_read()
        return int(lengths.sum())

    one = Replay(policy, file, neurons, WINDOW, arena, read, io, clock)
    results = [one.token(layers, inputs(token)) for token, layers in enumerate(TRACE.active)]
    return [cost for cost, _ in results], np.stack([outputs for _, outputs in results])


def inputs(token: int) -> np.ndarray:
    return np.random.default_rng(token).standard_normal((len(SHAPE.neurons), SHAPE.width), np.float32)


def computed_in_memory(file: NeuronFile) -> np.ndarray:
    """The outputs by numpy alone, in float64, from every row of the file."""
    outputs = np.zeros((len(TRACE.active), len(SHAPE.neurons), SHAPE.width))
    content = np.frombuffer(file.path.read_bytes(), np.uint8)
    for layer, count in enumerate(SHAPE.neurons):
        rows = file.decode(layer, np.arange(count), rows_of_layer(content, file, layer))
        up, down = (side.astype(np.float64) for side in rows)
        for token, layers in enumerate(TRACE.active):
            active = layers[layer]
            outputs[token, layer] = np.maximum(up[active] @ inputs(token)[layer], 0) @ down[active]
    return outputs


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_policy_computes_what_is_computed_in_memory(tmp_path: Path, io: Executor, dtype: Dtype) -> None:
    files = both_forms(tmp_path, dtype)
    wanted = computed_in_memory(files["plain"])
    assert np.abs(wanted).max() > 0.1
    for policy in POLICIES:
        for budget in (None, 64 * 1024):
            _, outputs = replayed(policy, files[form_of(policy)], io, budget)
            np.testing.assert_allclose(outputs, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_every_policy_reads_what_it_demands_and_waits_as_long_as_that_takes(
    tmp_path: Path, io: Executor, policy: Policy
) -> None:
    file = both_forms(tmp_path)[form_of(policy)]
    rest = file.file_bytes - file.rest_at
    costs, _ = replayed(policy, file, io)
    for cost, demand in zip(costs, demands(policy, TRACE, WINDOW, file.stride, rest), strict=True):
        assert (cost.asked_bytes, cost.hits) == (demand.bytes, demand.hits)
        if policy.predictor:
            assert cost.reads == demand.reads
        if not policy.pipeline:
            assert cost.io_ns == cost.wait_ns == 1000 * cost.reads
            assert cost.mem_ns == cost.compute_ns == 0


def test_a_layer_that_the_budget_does_not_hold_is_read_in_parts(tmp_path: Path, io: Executor) -> None:
    file = both_forms(tmp_path)["plain"]
    whole, _ = replayed(POLICIES[1], file, io)
    parts, _ = replayed(POLICIES[1], file, io, budget=4 * 4096)
    assert [cost.asked_bytes for cost in parts] == [cost.asked_bytes for cost in whole]
    assert parts[0].reads > whole[0].reads


def test_a_budget_below_one_window_is_refused_and_one_of_a_window_is_enough(tmp_path: Path, io: Executor) -> None:
    file = both_forms(tmp_path)["bundled"]
    needed = -(-sum(room(POLICIES[4], file, TRACE, WINDOW, None)) * 2 * file.stride // 4096) * 4096
    replayed(POLICIES[4], file, io, needed)
    with pytest.raises(UsageError) as caught:
        room(POLICIES[4], file, TRACE, WINDOW, needed - 1)
    assert caught.value.message == (
        f"A window of 2 tokens of this trace takes {needed} bytes of DRAM, and the budget is {needed - 1}."
    )
    for policy, what in ((POLICIES[0], "One neuron takes"), (POLICIES[2], "The active neurons of a layer take")):
        with pytest.raises(UsageError, match=what):
            room(policy, file, TRACE, WINDOW, 1024)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_a_corrupted_neuron_is_named_by_every_policy(tmp_path: Path, io: Executor, policy: Policy) -> None:
    file = both_forms(tmp_path)[form_of(policy)]
    neuron = int(TRACE.active[3][1][2])
    content = bytearray(file.path.read_bytes())
    content[int(file.reads(1, np.array([neuron])).offsets[0]) + 7] ^= 1
    file.path.write_bytes(content)
    with pytest.raises(ModelError, match=f"Neuron {neuron} of layer 1 "):
        replayed(policy, file, io)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_a_device_that_fails_is_passed_on(tmp_path: Path, io: Executor, policy: Policy) -> None:
    def fail() -> None:
        raise HarnessError("The disk is gone.")

    with pytest.raises(HarnessError, match="The disk is gone"):
        replayed(policy, both_forms(tmp_path)[form_of(policy)], io, on_read=fail)


def ablated(files: dict[Form, NeuronFile], rounds: int = 1, **changed: object) -> list[Row]:
    conditions = {"window": WINDOW, "kind": "threads", "depth": 4} | changed
    return list(ablate(files, TRACE, Conditions(**conditions), rounds))  # type: ignore[arg-type]


def test_rounds_alternate_and_every_token_has_a_row(disk: Path) -> None:
    rows = ablated(both_forms(disk), rounds=2)
    names = [policy.name for policy in POLICIES]
    tokens = range(len(TRACE.active))
    order = [(0, name) for name in names] + [(1, name) for name in reversed(names)]
    assert [(row.round, row.policy, row.token) for row in rows] == [(*key, token) for key in order for token in tokens]
    assert all(row.cost.io_ns > 0 and row.cost.compute_ns > 0 for row in rows)
    assert {row.active for row in rows} == {12 + 7}


def test_the_kernel_confirms_the_bytes_of_direct_reads_and_not_of_cached_ones(disk: Path) -> None:
    files = both_forms(disk)
    direct = summarise(ablated(files), WINDOW)
    assert all(proof.valid for summary in direct for proof in summary.proofs)
    assert all(summary.io is not None for summary in direct)
    for file in files.values():
        file.path.read_bytes()
    rows = ablated(files, kind="buffered")
    assert {row.cached for row in rows} == {1.0}
    assert all(summary.io is None and not summary.proofs[0].valid for summary in summarise(rows, WINDOW))


def test_dram_is_the_arena_the_tables_and_what_stays_resident(disk: Path) -> None:
    files = both_forms(disk)
    by_policy = {row.policy: row for row in ablated(files)}
    none, hybrid, windowing = (by_policy[policy.name] for policy in (POLICIES[0], POLICIES[1], POLICIES[3]))
    assert none.arena_bytes == 40 * 2 * 1024  # the larger layer, rows padded to 1024
    assert none.resident_bytes == none.arena_bytes + files["plain"].table_bytes
    assert hybrid.resident_bytes - none.resident_bytes == SHAPE.rest_bytes
    assert windowing.arena_bytes < none.arena_bytes


def test_files_of_other_weights_are_found_out(disk: Path) -> None:
    (disk / "other").mkdir()
    files = both_forms(disk) | {"bundled": both_forms(disk / "other", seed=1)["bundled"]}
    with pytest.raises(HarnessError, match=r"Policy \+ bundling computes other outputs for token 0"):
        ablated(files)


def test_what_cannot_be_ablated_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    files = both_forms(tmp_path)
    for window in (0, 8, 9):
        with pytest.raises(UsageError, match=f"A window of {window} tokens"):
            ablated(files, window=window)
    with pytest.raises(UsageError, match="A window of 2 tokens of this trace takes"):
        ablated(files, budget_bytes=24576)
    with pytest.raises(UsageError, match=r"Policy \+ bundling needs a bundled neuron file"):
        ablated({"plain": files["plain"]})
    with pytest.raises(UsageError, match=r"Policy \+ bundling needs a bundled neuron file"):
        ablated({"plain": files["plain"], "bundled": files["plain"]})
    other = both_forms(tmp_path, shape=Shape(8, (40, 25)))
    with pytest.raises(UsageError, match=r"The trace is of layers of \[40, 24\] neurons"):
        ablated(other)


def test_a_trace_in_which_nothing_is_active_costs_no_read(disk: Path) -> None:
    nothing: Indices = np.empty(0, dtype=np.int64)
    trace = Trace(((nothing, nothing),) * 4, SHAPE.neurons, "silence")
    rows = list(ablate(both_forms(disk), trace, Conditions(WINDOW, "threads", 4), 1))
    for row in rows:
        assert (row.cost.asked_bytes == 0) == (row.policy not in ("none", "hybrid"))
    assert summarise(rows, WINDOW)[-1].throughput is None
