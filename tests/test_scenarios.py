"""What is timed and what is not, on a clock that only moves when the model does."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fakes.clock import FakeClock
from fakes.jobs import make_job
from hypothesis import given
from hypothesis import strategies as st

from harness.scenarios.catalogue import SCENARIOS, default_scenario, owner_of
from harness.scenarios.closed_loop import repeat, warm_up
from harness.scenarios.queries import GenerateQuery, Series, SingleQuery
from harness.statistics.early_stopping import fewest_samples, late_allowed
from harness.statistics.steady import SteadyRule

SECOND = 1_000_000_000
MILLISECOND = SECOND // 1000
COSTS = st.integers(0, 10**9)


class Model:
    """`execute` takes the next of `costs`, the last for ever after; outputs and inputs count the calls."""

    def __init__(self, clock: FakeClock, costs: Sequence[int]) -> None:
        self._clock, self._costs = clock, list(costs)
        self.inputs: list[Any] = []

    def __call__(self, inputs: Sequence[Any]) -> Sequence[Any]:
        self._clock.advance(self._costs[min(len(self.inputs), len(self._costs) - 1)])
        self.inputs.append(inputs)
        return (f"output {len(self.inputs)}",)


class Tokens:
    """Takes time to make a prompt and to choose, and remembers what it was asked."""

    def __init__(self, clock: FakeClock, prompt_cost: int, choose_cost: int) -> None:
        self._clock, self._prompt_cost, self._choose_cost = clock, prompt_cost, choose_cost
        self.chosen: list[tuple[Sequence[Any], int]] = []

    def prompt(self) -> Sequence[Any]:
        self._clock.advance(self._prompt_cost)
        return ("prompt",)

    def choose(self, outputs: Sequence[Any], position: int) -> Sequence[Any]:
        self._clock.advance(self._choose_cost)
        self.chosen.append((outputs, position))
        return (f"token at {position}",)


class Scripted:
    """A query that takes the next of `costs`, the last for ever after."""

    def __init__(self, clock: FakeClock, costs: Sequence[int], on_call: Callable[[], None] = lambda: None) -> None:
        self._clock, self._costs, self._on_call = clock, list(costs), on_call
        self.calls = 0
        self.phases = {"one": Series(), "two": Series()}

    def __call__(self) -> int:
        cost = self._costs[min(self.calls, len(self._costs) - 1)]
        for series in self.phases.values():
            series.start_ns.append(self._clock())
            series.duration_ns.append(cost)
        self._clock.advance(cost)
        self.calls += 1
        self._on_call()
        return cost


@given(st.lists(COSTS, min_size=1, max_size=5))
def test_a_single_query_times_execute_and_nothing_else(costs: list[int]) -> None:
    clock = FakeClock()
    model = Model(clock, costs)
    query = SingleQuery(model, ("x",), "steady", clock)
    answers = []
    for _ in costs:
        answers.append(query())
        clock.advance(12345)
    assert answers == costs
    assert query.phases["steady"].duration_ns == costs
    assert query.phases["steady"].start_ns == [1_000_000 + sum(costs[:i]) + 12345 * i for i in range(len(costs))]
    assert model.inputs == [("x",)] * len(costs)


def test_a_single_query_is_recorded_under_the_phase_it_was_given() -> None:
    clock = FakeClock()
    assert list(SingleQuery(Model(clock, [1]), (), "batch", clock).phases) == ["batch"]


@given(
    prompt=st.integers(1, 5),
    new=st.integers(1, 6),
    costs=st.lists(COSTS, min_size=6, max_size=6),
    prompt_cost=COSTS,
    choose_cost=COSTS,
)
def test_generation_times_each_of_its_phases(
    prompt: int, new: int, costs: list[int], prompt_cost: int, choose_cost: int
) -> None:
    clock = FakeClock(0)
    model, tokens = Model(clock, costs), Tokens(clock, prompt_cost, choose_cost)
    query = GenerateQuery(model, tokens, prompt, new, clock)
    whole = query()
    durations = {phase: series.duration_ns for phase, series in query.phases.items()}
    assert durations == {
        "prefill": costs[:1],
        "decode": costs[1:new],
        "ttft": [prompt_cost + costs[0] + choose_cost],
        "generate": [prompt_cost + sum(costs[:new]) + new * choose_cost],
    }
    assert whole == durations["generate"][0] == clock.now
    assert query.phases["ttft"].start_ns == query.phases["generate"].start_ns == [0]
    assert query.phases["prefill"].start_ns == [prompt_cost]
    assert query.phases["decode"].start_ns == [
        prompt_cost + sum(costs[:step]) + step * choose_cost for step in range(1, new)
    ]


@given(prompt=st.integers(1, 9), new=st.integers(1, 6))
def test_generation_chooses_every_token_at_its_position(prompt: int, new: int) -> None:
    clock = FakeClock()
    model, tokens = Model(clock, [1]), Tokens(clock, 0, 0)
    GenerateQuery(model, tokens, prompt, new, clock)()
    # The first new token stands where the prompt ends; each step is fed the token before and its position.
    assert [position for _, position in tokens.chosen] == list(range(prompt, prompt + new))
    assert [outputs for outputs, _ in tokens.chosen] == [(f"output {i}",) for i in range(1, new + 1)]
    assert model.inputs == [("prompt",), *((f"token at {position}",) for position in range(prompt, prompt + new - 1))]


def test_generation_appends_query_after_query() -> None:
    clock = FakeClock()
    query = GenerateQuery(Model(clock, [5]), Tokens(clock, 0, 0), 2, 4, clock)
    query()
    query()
    assert {phase: len(series.start_ns) for phase, series in query.phases.items()} == {
        "ttft": 2,
        "prefill": 2,
        "decode": 6,
        "generate": 2,
    }


@pytest.mark.parametrize(
    ("scenario", "percentile", "samples"),
    [("single-stream", 0.9, 1), ("multi-stream", 0.99, 1), ("server", 0.99, 1), ("generate", 0.99, 23)],
)
def test_a_process_is_asked_for_as_many_queries_as_its_percentile_takes(
    scenario: str, percentile: float, samples: int
) -> None:
    assert SCENARIOS[scenario].queries * samples >= fewest_samples(percentile)
    assert late_allowed(SCENARIOS["server"].queries) == 2


@pytest.mark.parametrize(
    ("language_model", "in_flash", "name"),
    [(True, False, "generate"), (False, False, "single-stream"), (True, True, "flash")],
)
def test_the_scenario_where_nobody_says_is_the_one_made_for_the_model(
    language_model: bool, in_flash: bool, name: str
) -> None:
    assert default_scenario(language_model=language_model, in_flash=in_flash) == name


def test_an_option_belongs_to_one_scenario_which_says_its_default() -> None:
    options = [option for scenario in SCENARIOS.values() for option in scenario.options]
    assert len(options) == len(set(options))
    assert (owner_of("streams"), owner_of("window"), owner_of("threads")) == ("multi-stream", "flash", None)
    assert SCENARIOS["sustained"].default("duration") == "30m"
    with pytest.raises(KeyError):
        SCENARIOS["server"].default("rate")


def test_the_catalogue_is_read_by_help_and_imports_nothing_heavy() -> None:
    script = "import sys, harness.scenarios.catalogue; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "harness.scenarios.catalogue" in ended.stdout.split()
    assert not {"numpy", "pandas", "torch", "harness.job", "harness.protocol"} & set(ended.stdout.split())


def test_only_a_cold_start_asks_once_and_only_these_generate() -> None:
    assert {name for name, scenario in SCENARIOS.items() if not scenario.repeats} == {"cold-start"}
    assert {name for name, scenario in SCENARIOS.items() if scenario.generates} == {
        "generate",
        "server",
        "sustained",
        "flash",
    }


def test_a_series_says_what_it_holds() -> None:
    event = Series([1, 2], [3, 4]).event("decode")
    assert (event.phase, event.start_ns, event.duration_ns, event.instructions) == ("decode", [1, 2], [3, 4], None)


def test_warm_up_ends_when_durations_are_steady() -> None:
    clock = FakeClock()
    query = Scripted(clock, [900 * MILLISECOND] * 4 + [100 * MILLISECOND])
    warmup, steady = warm_up(query, 10.0, clock, SteadyRule())
    assert steady
    # Of the first five of ten, four are slow; two queries later, a quarter of the window, two of five are.
    assert warmup.duration_ns == [900 * MILLISECOND] * 4 + [100 * MILLISECOND] * 8


def test_warm_up_ends_at_the_cap_when_durations_never_settle() -> None:
    clock = FakeClock()
    query = Scripted(clock, [SECOND, 2 * SECOND] * 100)
    warmup, steady = warm_up(query, 7.5, clock, SteadyRule())
    assert not steady
    # 1 + 2 + 1 + 2 + 1 = 7 s are below the cap, so one more query is asked, and none after it.
    assert len(warmup.duration_ns) == query.calls == 6


def test_warm_up_without_time_asks_once() -> None:
    clock = FakeClock()
    query = Scripted(clock, [10])
    warmup, steady = warm_up(query, 0.0, clock, SteadyRule())
    assert (len(warmup.duration_ns), steady) == (1, False)


def test_warm_up_keeps_its_own_samples_and_empties_those_of_the_query() -> None:
    clock = FakeClock(0)
    query = Scripted(clock, [SECOND])
    warmup, _ = warm_up(query, 20.0, clock, SteadyRule())
    assert (warmup.start_ns, warmup.duration_ns) == ([i * SECOND for i in range(10)], [SECOND] * 10)
    assert all(not series.start_ns and not series.duration_ns for series in query.phases.values())


@given(
    cost=st.integers(SECOND // 4, 3 * SECOND),
    least=st.integers(0, 20),
    shortest=st.integers(0, 10),
    longest=st.integers(0, 10),
)
def test_repeat_asks_until_both_minima_or_the_maximum(cost: int, least: int, shortest: int, longest: int) -> None:
    clock = FakeClock()
    query = Scripted(clock, [cost])
    job = make_job(min_iterations=least, min_duration_s=float(shortest), max_duration_s=float(longest))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda: 0)  # with a whole test run in memory it takes a tenth of a second
        count = repeat(query, job, clock)
    assert count == query.calls
    enough = max(least, -(-shortest * SECOND // cost))
    most = max(1, -(-longest * SECOND // cost))
    assert count == min(enough, most)


def test_repeat_asks_at_least_once_even_without_any_time() -> None:
    clock = FakeClock()
    assert (
        repeat(Scripted(clock, [SECOND]), make_job(min_iterations=5, min_duration_s=0.0, max_duration_s=0.0), clock)
        == 1
    )


def test_the_garbage_collector_is_off_while_repeating_and_on_after() -> None:
    clock = FakeClock()
    seen: list[bool] = []
    repeat(Scripted(clock, [SECOND], lambda: seen.append(gc.isenabled())), make_job(min_iterations=3), clock)
    assert seen == [False] * 3
    assert gc.isenabled()


def test_the_garbage_collector_is_on_again_after_a_query_that_raises() -> None:
    def fail() -> None:
        raise RuntimeError("the model broke")

    clock = FakeClock()
    with pytest.raises(RuntimeError, match="broke"):
        repeat(Scripted(clock, [1], fail), make_job(), clock)
    assert gc.isenabled()
