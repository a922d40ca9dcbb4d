"""What each pass does with a model, in this process: a model that is made of nothing, on a clock that it alone moves.

`tests/worker/test_worker.py` has the same passes in a real worker with real models, whose durations nobody can
foretell.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.clock import FakeClock
from worker.driving import Said, job

from harness.errors import ModelError, UsageError
from harness.job import Files, Job
from harness.protocol import Describe, Event, Io, Loaded, Memory, Ops, Output, Samples, Scalar
from harness.runtime import LoadedModel, RuntimeCapabilities
from harness.scenarios.queries import Series, SingleQuery
from harness.statistics.change_points import SEGMENT
from harness.worker import __main__ as worker
from harness.worker.generation import CheckedTokens
from harness.worker.load import measure_sustained

VOCABULARY = 9
FLOATS = {"dtype": "float32", "sizes": [2, 3]}
TOKENS = {"dtype": "int64", "sizes": [1, 6]}
POSITION = {"dtype": "int64", "sizes": [1]}


class Runtime:
    """Its model takes the next of `costs` a call, in ns, the last for ever; it answers with the sum of its first input,
    or as a language model with logits that say 5, or with `logits` for the position of the call.
    """

    name = "nothing"
    capabilities = RuntimeCapabilities(formats=(".fake",))

    def __init__(
        self,
        clock: FakeClock,
        costs: Sequence[int] = (1,),
        *,
        language: bool = False,
        logits: Callable[[int], torch.Tensor] | None = None,
    ) -> None:
        self._clock, self._costs, self._language = clock, list(costs), language
        self._logits = logits or (lambda _: torch.nn.functional.one_hot(torch.tensor([5]), VOCABULARY).float())
        self.calls: list[Any] = []

    def start(self, device: str) -> dict[str, str]:
        return {"nothing": "1"}

    def prepare(self, path: Path) -> None:
        """There are no operators to register."""

    def describe(self, path: Path) -> Describe:
        methods = [
            {"name": "forward", "inputs": [TOKENS, POSITION] if self._language else [FLOATS], "outputs": []},
            {"name": "other", "inputs": [FLOATS, FLOATS], "outputs": []},
        ]
        known = {"get_vocab_size": VOCABULARY, "use_kv_cache": True, "get_max_seq_len": 6} if self._language else {}
        return Describe(format="pte", methods=methods, metadata=known, delegates=[])

    def load(self, path: Path, job: Job, files: Files) -> LoadedModel:
        loaded = Loaded(program_ns=3, method_ns=4, program_bytes=5, planned_bytes=6)
        return LoadedModel(
            self.describe(path), loaded, self._execute, arrange=lambda inputs: {"arranged": list(inputs)}
        )  # type: ignore[arg-type,return-value]

    def _execute(self, inputs: Any) -> Sequence[Any]:
        assert list(inputs) == ["arranged"]
        self._clock.advance(self._costs[min(len(self.calls), len(self._costs) - 1)])
        self.calls.append([each.clone() for each in inputs["arranged"]])
        if self._language:
            return (self._logits(int(inputs["arranged"][1])),)
        return (inputs["arranged"][0].sum(),)


class Channel:
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Samples):  # as a line of text would: the series goes on after
            assert event.duration_ns is not None
            event = Samples(phase=event.phase, start_ns=list(event.start_ns), duration_ns=list(event.duration_ns))
        self.events.append(event)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock()
    monkeypatch.setattr(time, "perf_counter_ns", made)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Files:
    (tmp_path / "m.fake").write_bytes(b"12345")
    return Files(model=str(tmp_path / "m.fake"))


def work(files: Files, asked: Job, runtime: Any) -> Said:
    channel = Channel()
    worker._work(asked, files, channel, runtime, "cpu")  # type: ignore[arg-type]
    return Said(channel.events, "", 0)


def scalars(said: Said) -> dict[str, float | None]:
    return {scalar.name: scalar.value for scalar in said.all(Scalar)}


def test_every_query_is_in_the_samples_of_its_phase_and_in_no_other(clock: FakeClock, model: Files) -> None:
    said = work(model, job(min_iterations=3), Runtime(clock, [900, 500, 30, 31, 32]))
    durations = {samples.phase: samples.duration_ns for samples in said.all(Samples)}
    assert durations == {"first": [900], "warmup": [500], "steady": [30, 31, 32]}
    assert said.samples("steady").start_ns == [1_001_400, 1_001_430, 1_001_461]
    assert scalars(said) == {"warmup_steady": 0.0, "queries": 3}


@pytest.mark.parametrize(
    ("scenario", "phase"), [("single-stream", "steady"), ("offline", "batch"), ("sustained", "sustained")]
)
def test_queries_of_a_scenario_have_its_phase(clock: FakeClock, model: Files, scenario: str, phase: str) -> None:
    said = work(model, job(scenario, min_iterations=2), Runtime(clock, [9, 8, 7, 6]))
    assert said.samples(phase).duration_ns == [7, 6]


@pytest.mark.parametrize(("streams", "batch", "executes"), [(8, 2, 4), (8, 8, 1), (8, 1, 8)])
def test_a_query_of_several_samples_is_as_many_executes_as_batches(
    clock: FakeClock, model: Files, streams: int, batch: int, executes: int
) -> None:
    runtime = Runtime(clock, [10])
    said = work(model, job("multi-stream", streams=streams, batch=batch, min_iterations=3), runtime)
    assert said.samples("multi_stream").duration_ns == [10 * executes] * 3
    assert len(runtime.calls) == (1 + 1 + 3) * executes


def test_generation_is_fed_its_prompt_and_then_what_the_model_says(clock: FakeClock, model: Files) -> None:
    runtime = Runtime(clock, [100, 20, 21, 90, 19, 18, 80, 10, 11], language=True)
    said = work(model, job("generate", prompt_tokens=4, new_tokens=3, min_iterations=1), runtime)
    assert {samples.phase: samples.duration_ns for samples in said.all(Samples)} == {
        "first": [100],
        "warmup": [127],
        "ttft": [80],
        "prefill": [80],
        "decode": [10, 11],
        "generate": [101],
    }
    prompt = runtime.calls[0][0]
    assert (prompt.shape, len(set(prompt.flatten().tolist())) > 1) == ((1, 4), True)
    assert [[each.tolist() for each in call] for call in runtime.calls] == [
        [prompt.tolist(), [0]],
        [[[5]], [4]],
        [[[5]], [5]],
    ] * 3


def logits_from(position: int, highest: float, *, width: int = VOCABULARY) -> Callable[[int], torch.Tensor]:
    """Logits that are plain until a position, and have that highest value from there on."""

    def logits(at: int) -> torch.Tensor:
        row = torch.arange(width, dtype=torch.float32)[None] % VOCABULARY
        row[0, 0] = -math.inf  # a token that the model rules out
        if at >= position:
            row[0, -1] = highest
        return row

    return logits


@pytest.mark.parametrize("nonsense", [math.nan, math.inf])
@pytest.mark.parametrize(("position", "after"), [(0, 4), (4, 5), (5, 6)])
def test_a_model_whose_logits_are_no_numbers_from_some_token_on_is_not_timed(
    clock: FakeClock, model: Files, nonsense: float, position: int, after: int
) -> None:
    runtime = Runtime(clock, language=True, logits=logits_from(position, nonsense))
    with pytest.raises(ModelError, match=f"The logits of m after {after} tokens are not finite numbers") as raised:
        work(model, job("generate", prompt_tokens=4, new_tokens=3), runtime)
    assert raised.value.hint
    assert len(runtime.calls) == after - 3, "nothing was measured"


def test_a_token_that_a_model_does_not_have_is_not_fed_to_it(clock: FakeClock, model: Files) -> None:
    runtime = Runtime(clock, language=True, logits=logits_from(4, 1e3, width=VOCABULARY + 2))
    with pytest.raises(ModelError, match="m chooses token 10 after 5 tokens, but it has 9 tokens"):
        work(model, job("generate", prompt_tokens=4, new_tokens=3), runtime)


@pytest.mark.parametrize("scenario", ["generate", "sustained"])
def test_every_scenario_that_generates_looks_at_its_first_query_alone(
    clock: FakeClock, model: Files, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is timed has no look in it."""
    looked: list[int] = []
    whole = CheckedTokens.choose

    def choose(tokens: CheckedTokens, outputs: Sequence[Any], position: int) -> Sequence[Any]:
        looked.append(position)
        return whole(tokens, outputs, position)

    monkeypatch.setattr(CheckedTokens, "choose", choose)
    work(model, job(scenario, prompt_tokens=4, new_tokens=3), Runtime(clock, [1000], language=True))
    assert looked == [4, 5, 6]


def test_the_first_inference_is_a_prefill_without_the_time_around_it() -> None:
    query = SingleQuery(lambda _: (), (), "steady", FakeClock())
    query.phases = {"ttft": Series([1, 40], [20, 21]), "prefill": Series([3, 42], [9, 8]), "decode": Series([14], [2])}
    first = worker._first(query)
    assert (first.phase, first.start_ns, first.duration_ns) == ("first", [3], [9])


def test_a_language_model_that_generates_nothing_is_asked_its_prompt(clock: FakeClock, model: Files) -> None:
    runtime = Runtime(clock, [5], language=True)
    said = work(model, job("single-stream", prompt_tokens=4, new_tokens=3, min_iterations=2), runtime)
    assert said.samples("steady").duration_ns == [5, 5]
    assert all(call[0].shape == (1, 4) and call[1].tolist() == [0] for call in runtime.calls)
    assert len(runtime.calls) == 1 + 1 + 2


@pytest.mark.parametrize(("scenario", "queries"), [("single-stream", 1 + worker.MEMORY_ITERATIONS), ("cold-start", 1)])
def test_memory_is_that_of_so_many_queries(clock: FakeClock, model: Files, scenario: str, queries: int) -> None:
    runtime = Runtime(clock)
    assert [memory.phase for memory in work(model, job(scenario, "memory"), runtime).all(Memory)][-1] == "steady"
    assert len(runtime.calls) == queries
    assert queries in (1, 11)


def test_the_peak_of_a_phase_is_not_that_of_the_one_before(clock: FakeClock, model: Files) -> None:
    from harness.worker import probes

    class Heavy(Runtime):
        def load(self, *arguments: Any) -> LoadedModel:
            torch.ones(32 << 20).sum()  # 128 MiB, which are free again when it has returned
            return super().load(*arguments)

    if not probes.reset_peak():
        pytest.skip("this kernel does not let a process forget its peak")
    peaks = {
        memory.phase: memory.peak_rss_bytes or 0
        for memory in work(model, job("single-stream", "memory"), Heavy(clock)).all(Memory)
    }
    for phase in ("runtime", "first", "steady"):
        assert peaks[phase] < peaks["load"] - (100 << 20)


@pytest.mark.parametrize(("scenario", "dropped"), [("cold-start", ["m.fake", "m.ptd"]), ("single-stream", [])])
def test_a_cold_start_reads_all_that_belongs_to_the_model(
    clock: FakeClock, model: Files, monkeypatch: pytest.MonkeyPatch, scenario: str, dropped: list[str]
) -> None:
    gone: list[Path] = []
    monkeypatch.setattr(worker, "drop_page_cache", gone.append)
    weights = Path(model.model).with_suffix(".ptd")
    weights.write_bytes(b"1234567")
    runtime = Runtime(clock, [7, 8])
    said = work(Files(model=model.model, data=str(weights)), job(scenario), runtime)
    assert [path.name for path in gone] == dropped
    assert said.one(Io).asked_bytes == 5 + 7
    assert said.samples("first").duration_ns == [7]
    assert len(runtime.calls) == (1 if scenario == "cold-start" else 6)


def test_a_cold_start_looks_operators_up_before_the_file_is_dropped(
    clock: FakeClock, model: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    class Ordered(Runtime):
        def prepare(self, path: Path) -> None:
            order.append("prepare")

        def load(self, *arguments: Any) -> Any:
            order.append("load")
            return super().load(*arguments)

    monkeypatch.setattr(worker, "drop_page_cache", lambda path: order.append("drop"))
    work(model, job("cold-start"), Ordered(clock))
    assert order == ["prepare", "drop", "load"]


@pytest.mark.parametrize(("sets", "expected"), [(None, 8), (11, 11)])
def test_outputs_are_of_as_many_different_inputs_as_were_asked_for(
    clock: FakeClock, model: Files, tmp_path: Path, sets: int | None, expected: int
) -> None:
    files = Files(model=model.model, output=str(tmp_path))
    runtime = Runtime(clock)
    said = work(files, job(measure="quality", input_sets=sets), runtime)
    with np.load(said.one(Output).file) as outputs:
        found = {name: float(outputs[name]) for name in outputs.files}
    assert found == {f"set{i}_output0": float(call[0].sum()) for i, call in enumerate(runtime.calls)}
    assert len(set(found.values())) == expected


def test_operators_are_those_that_the_runtime_tells_after_a_few_queries(clock: FakeClock, model: Files) -> None:
    class Profiled(Runtime):
        def load(self, *arguments: Any) -> LoadedModel:
            return replace(super().load(*arguments), operators=self._operators)

        def _operators(self) -> list[Ops]:
            return [Ops(operator="sum", delegate=None, calls=len(self.calls), total_ns=3)]

    said = work(model, job(measure="profile"), Profiled(clock))
    assert said.all(Ops) == [Ops(operator="sum", delegate=None, calls=worker.PROFILE_ITERATIONS, total_ns=3)]
    assert not said.all(Samples), "a profiler slows what it looks at"


def test_a_runtime_that_times_no_operators_says_so(clock: FakeClock, model: Files) -> None:
    with pytest.raises(UsageError, match="nothing does not time operators"):
        work(model, job(measure="profile"), Runtime(clock))


def test_outputs_that_cannot_be_read_are_null_with_the_reason(clock: FakeClock, model: Files, tmp_path: Path) -> None:
    runtime = Runtime(clock)
    runtime.capabilities = replace(runtime.capabilities, outputs=False)
    files = replace(model, output=str(tmp_path))
    for labels, names in (
        (None, ["max_abs_difference"]),
        ("0", ["max_abs_difference", "accuracy_top1", "accuracy_top5"]),
    ):
        said = work(files, job(measure="quality", labels_sha256=labels), runtime)
        assert [(scalar.name, scalar.value) for scalar in said.all(Scalar)] == [(name, None) for name in names]
        assert all("cannot be read" in (scalar.reason or "") for scalar in said.all(Scalar))
    assert runtime.calls == []


def test_outputs_may_be_arrays_of_numpy(clock: FakeClock, model: Files, tmp_path: Path) -> None:
    """In one place that is written to again and again, as some runtimes have it."""

    class Reusing(Runtime):
        _buffer = np.zeros(1, np.float32)

        def _execute(self, inputs: Any) -> Sequence[Any]:
            self._buffer[0] = float(super()._execute(inputs)[0])
            return [self._buffer]

    runtime = Reusing(clock)
    said = work(replace(model, output=str(tmp_path)), job(measure="quality", input_sets=3), runtime)
    with np.load(said.one(Output).file) as outputs:
        values = [float(outputs[f"set{number}_output0"][0]) for number in range(3)]
    assert values == [pytest.approx(float(call[0].sum())) for call in runtime.calls]
    assert len(set(values)) == 3


def test_a_precision_that_the_runtime_does_not_have_is_refused(clock: FakeClock, model: Files) -> None:
    with pytest.raises(UsageError, match="nothing computes in the file's own precision"):
        work(model, job(precision="fp16"), Runtime(clock))


def test_inputs_are_those_of_the_method_that_is_asked(clock: FakeClock, model: Files) -> None:
    for method, inputs in ((None, 1), ("other", 2)):
        runtime = Runtime(clock)
        work(model, job(method=method), runtime)
        assert {len(call) for call in runtime.calls} == {inputs}


def test_a_minute_of_short_queries_leaves_about_a_hundred_thousand_samples(
    clock: FakeClock, model: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warm-up says 2 µs a query: 30 million a minute, of which one in 300 is kept."""
    costs = [9, 2000, *[10_000_000_000] * 12]
    said = work(model, job("sustained", min_duration_s=120.0, min_iterations=1), Runtime(clock, costs))
    assert scalars(said)["queries_per_sample"] == 60e9 / 2000 / 100_000 == 300
    assert scalars(said)["queries"] == 12
    assert [len(samples.start_ns) for samples in said.all(Samples) if samples.phase == "sustained"] == [1, 0, 0]


def sustained(clock: FakeClock, service_ns: float, **fields: Any) -> dict[str, float | None]:
    """The scalars of a job whose queries take a minute each, after a warm-up that said `service_ns`."""

    def execute(_: object) -> tuple[()]:
        clock.advance(60_000_000_000)
        return ()

    events: list[Event] = []
    query = SingleQuery(execute, (), "steady", clock)
    measure_sustained(job("sustained", min_iterations=1, **fields), query, service_ns, events.append)
    return scalars(Said(events, "", 0))


@pytest.mark.parametrize(("new_tokens", "stride"), [(None, 300), (4, 1200)])
def test_each_token_is_a_sample(clock: FakeClock, new_tokens: int | None, stride: int) -> None:
    assert sustained(clock, 2000, min_duration_s=60.0, new_tokens=new_tokens)["queries_per_sample"] == stride


@pytest.mark.parametrize(("minutes", "few"), [(2 * SEGMENT - 1, True), (2 * SEGMENT, False)])
def test_a_plateau_needs_minutes_on_both_sides_of_the_change(clock: FakeClock, minutes: int, few: bool) -> None:
    said = sustained(clock, 60e9, min_duration_s=60.0 * minutes)
    assert ("time_to_plateau_ns" in said) == few
    assert said["queries"] == minutes
