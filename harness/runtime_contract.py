"""What every runtime keeps, as tests to derive from: a class whose name begins with `Test`, with a `runtime` and a
model.

    class TestMine(RuntimeContract):
        runtime = "mine"

        def model(self, folder: Path) -> ContractModel: ...

pytest then runs all of it in real workers. Nothing in harness imports this module; it needs pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.job import Files, Job, request_json
from harness.manifest import sha256_file
from harness.protocol import Describe, Done, Error, Event, Hello, Loaded, Memory, Ops, Output, Samples, decode
from harness.runtime import Runtime, RuntimeOption, availability, find_runtime
from harness.scenarios.catalogue import SCENARIOS

QUICK: dict[str, Any] = {"min_iterations": 3, "min_duration_s": 0.0, "max_warmup_s": 0.0}
_LIMIT_S = 120.0
_TRIED = ("single-stream", "cold-start", "sustained")
# Tokens of the generation: few enough for a context of eight.
_PROMPT, _NEW = 3, 3


@dataclass(frozen=True)
class ContractModel:
    """A tiny model for the contract. `sizes` are those of its inputs, all float32; `reference` computes its outputs
    from arrays of these sizes by other means than the runtime. `batches`: first sizes of the inputs that it takes.
    `tolerance` is relative to the largest output. `heavy` is a model of the same format whose execute takes a
    millisecond or so, enough to see how many threads work on it.

    For a runtime that runs nothing but language models: one with a `vocabulary`, whose inputs are tokens int32 [1, n]
    and the position of the first int64 [1], and whose `reference` makes of both the logits of the last [1, vocabulary].
    """

    path: Path
    sizes: tuple[tuple[int, ...], ...]
    reference: Callable[..., Sequence[np.ndarray]]
    batches: tuple[int, ...] = ()
    tolerance: float = 1e-5
    heavy: Path | None = None
    vocabulary: int | None = None

    def inputs(self, rng: np.random.Generator, batch: int) -> list[np.ndarray]:
        """Random ones, so many samples of them."""
        if self.vocabulary is not None:
            return [rng.integers(0, self.vocabulary, self.sizes[0]).astype(np.int32), np.zeros(1, np.int64)]
        return [rng.normal(size=(batch, *sizes[1:])).astype(np.float32) for sizes in self.sizes]


def _other(option: RuntimeOption) -> str:
    """The last value that is not the default."""
    return [value for value in option.values if value != option.default][-1]


@dataclass(frozen=True)
class WorkerRun:
    """All events of a worker, its exit code and its standard error."""

    events: list[Event]
    code: int
    stderr: str

    @property
    def error(self) -> Error:
        """The error that it ended with. Fails where it did not."""
        assert self.events, f"it ended without a word: {self.stderr}"
        last = self.events[-1]
        assert isinstance(last, Error), f"it ended with {last}"
        return last

    def done(self) -> WorkerRun:
        """Itself, where the job went well. Fails where it did not."""
        assert self.events, f"it ended without a word: {self.stderr}"
        assert isinstance(self.events[-1], Done), f"it ended with {self.events[-1]}: {self.stderr}"
        assert self.code == 0
        return self

    def samples(self) -> dict[str, Samples]:
        """Its samples by phase."""
        return {event.phase: event for event in self.events if isinstance(event, Samples)}


class RuntimeContract:
    """Derive from it. `arguments` are those of the worker: the device, where it is not the processor."""

    runtime: str
    arguments: tuple[str, ...] = ()

    def model(self, folder: Path) -> ContractModel:
        """Write a tiny model into `folder`."""
        raise NotImplementedError

    def language_model(self, folder: Path) -> Path | None:
        """A language model with a context of at least eight tokens, for a runtime that says it `generates`."""
        return None

    @pytest.fixture
    def installed(self) -> Runtime:
        """The runtime, where it is available here."""
        runtime = find_runtime(self.runtime)
        state = availability(runtime)
        if not state.available:
            assert state.reason, "a runtime that is not available says why"
            assert state.todo, "and what to do about it"
            pytest.skip(f"{self.runtime}: {state.reason}")
        return runtime

    @pytest.fixture
    def tiny(self, installed: Runtime, tmp_path: Path) -> ContractModel:
        """The model of `model`."""
        return self.model(tmp_path)

    def start(self, job: Job, files: Files) -> subprocess.Popen[str]:
        """Start a worker on a job."""
        command = [sys.executable, "-P", "-m", "harness.worker", *self.arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads)}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdin is not None
        process.stdin.write(request_json(job, files) + "\n")
        process.stdin.flush()
        return process

    def finish(self, job: Job, files: Files) -> WorkerRun:
        """A worker on a job, to its end."""
        process = self.start(job, files)
        try:
            out, err = process.communicate(timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return WorkerRun([decode(line) for line in out.splitlines()], process.returncode, err)

    def job(self, path: Path, scenario: str = "single-stream", measure: str = "latency", **fields: Any) -> Job:
        """A quick job for the runtime."""
        return Job(
            target="contract",
            model=path.stem,
            model_sha256=sha256_file(path) if path.exists() else "",
            scenario=scenario,
            measure=measure,
            runtime=self.runtime,
            **{**QUICK, **fields},
        )

    def run(
        self,
        path: Path,
        scenario: str = "single-stream",
        measure: str = "latency",
        files: dict[str, Path] | None = None,
        **fields: Any,
    ) -> WorkerRun:
        """A worker on a quick job for the runtime, to its end."""
        named = {name: str(file) for name, file in (files or {}).items()}
        return self.finish(self.job(path, scenario, measure, **fields), Files(model=str(path), **named))

    def described(self, path: Path) -> Describe:
        """What the worker says of a model."""
        _, describe, _ = self.run(path, "describe", "describe").done().events
        assert isinstance(describe, Describe)
        return describe

    def outputs(self, path: Path, folder: Path, arrays: Sequence[np.ndarray], **fields: Any) -> list[np.ndarray]:
        """The outputs of a model for these inputs, in a quality pass."""
        folder.mkdir()
        inputs = folder / "inputs.npz"
        np.savez(inputs, **{f"arg{index}": array for index, array in enumerate(arrays)})  # type: ignore[arg-type]
        files = {"inputs": inputs, "output": folder}
        ended = self.run(path, measure="quality", files=files, inputs_sha256=sha256_file(inputs), **fields).done()
        (written,) = (event for event in ended.events if isinstance(event, Output))
        with np.load(written.file) as saved:
            return [saved[f"set0_output{index}"] for index in range(len(saved.files))]

    def test_it_says_what_it_loads(self, installed: Runtime) -> None:
        can = installed.capabilities
        assert installed.name == self.runtime
        assert can.formats or can.on_request
        assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in (*can.formats, *can.on_request))
        assert can.devices
        assert set(can.devices) <= {"cpu", "cuda"}

    def test_it_says_what_it_runs_with_and_options_reach_it(self, installed: Runtime, tiny: ContractModel) -> None:
        """Its settings have its name and every option; a value that is no default is taken, another is refused."""
        options = installed.capabilities.options
        defaults = {option.name: option.default for option in options}
        assert len(defaults) == len(options), "two options have one name"
        assert all(option.help for option in options)
        assert all(option.default in option.values for option in options if option.values)
        tried = [None, *(option for option in options if len(option.values) > 1)]
        for option in tried:
            given = () if option is None else ((option.name, _other(option)),)
            ended = self.run(tiny.path, runtime_options=given or None)
            if option is not None and isinstance(ended.events[-1], Error):
                assert ended.error.kind == "usage", "this processor may not do what an option asks for, and says so"
                continue
            (loaded,) = (event for event in ended.done().events if isinstance(event, Loaded))
            wanted = {"runtime": self.runtime, **defaults, **dict(given)}
            assert wanted.items() <= {name: value.partition(" (")[0] for name, value in loaded.settings.items()}.items()
        refused = self.run(tiny.path, runtime_options=(("no-such-option", "1"),)).error
        assert (refused.kind, "no-such-option" in refused.message) == ("usage", True)

    def test_finding_it_imports_nothing_of_what_it_needs(self, installed: Runtime) -> None:
        """Workers of other runtimes find it too, and must not pay for it."""
        modules = {
            module
            for module, distributions in packages_distributions().items()
            if set(distributions) & set(installed.capabilities.distributions)
        }
        code = f"import sys; from harness.runtime import find_runtime; find_runtime({self.runtime!r})\n"
        imported = subprocess.run(
            [sys.executable, "-P", "-c", code + "print(*sys.modules)"], capture_output=True, text=True, check=True
        )
        assert not modules & set(imported.stdout.split())

    def test_it_describes_its_model(self, installed: Runtime, tiny: ContractModel) -> None:
        ended = self.run(tiny.path, "describe", "describe").done()
        hello, describe, _ = ended.events
        assert isinstance(hello, Hello)
        assert set(installed.capabilities.distributions) <= hello.versions.keys()
        assert isinstance(describe, Describe)
        assert describe.format == tiny.path.suffix.removeprefix(".")
        (method,) = (method for method in describe.methods if method["name"] == "forward")
        dtypes = ["float32"] * len(tiny.sizes) if tiny.vocabulary is None else ["int32", "int64"]
        assert [meta["dtype"] for meta in method["inputs"]] == dtypes
        assert [list(meta["sizes"][1:]) for meta in method["inputs"]] == [list(sizes[1:]) for sizes in tiny.sizes]
        assert method["outputs"]

    def test_outputs_are_those_of_the_reference_at_every_batch(self, tiny: ContractModel, tmp_path: Path) -> None:
        rng = np.random.default_rng(7)
        for batch in tiny.batches or (tiny.sizes[0][0],):
            arrays = tiny.inputs(rng, batch)
            expected = [np.asarray(array) for array in tiny.reference(*arrays)]
            sizes = tuple(array.shape for array in arrays)
            computed = self.outputs(tiny.path, tmp_path / f"batch{batch}", arrays, batch=batch, input_sizes=sizes)
            assert len(computed) == len(expected)
            for own, wanted in zip(computed, expected, strict=True):
                assert own.shape == wanted.shape
                assert np.ptp(wanted) > 0, "a reference whose outputs are all alike shows nothing"
                assert np.abs(own - wanted).max() <= tiny.tolerance * np.abs(wanted).max()

    def test_made_inputs_differ_and_are_the_same_in_every_process(self, tiny: ContractModel, tmp_path: Path) -> None:
        saved = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            ended = self.run(tiny.path, measure="quality", files={"output": folder}, input_sets=3).done()
            (written,) = (event for event in ended.events if isinstance(event, Output))
            with np.load(written.file) as arrays:
                saved.append([arrays[f"set{number}_output0"] for number in range(3)])
        assert not np.array_equal(saved[0][0], saved[0][1])
        for first, second in zip(*saved, strict=True):
            assert np.array_equal(first, second)

    @pytest.mark.parametrize("scenario", _TRIED)
    def test_a_scenario_has_the_samples_of_its_phase(
        self, installed: Runtime, tiny: ContractModel, scenario: str
    ) -> None:
        ended = self.run(tiny.path, scenario).done()
        (loaded,) = (event for event in ended.events if isinstance(event, Loaded))
        assert loaded.program_bytes >= tiny.path.stat().st_size
        assert (loaded.planned_bytes is not None) == installed.capabilities.planned_bytes
        samples = ended.samples()
        assert len(samples["first"].start_ns) == 1
        for phase in SCENARIOS[scenario].phases:
            assert samples[phase].duration_ns is not None
            assert len(samples[phase].start_ns) == QUICK["min_iterations"]
            assert all(duration > 0 for duration in samples[phase].duration_ns or ())

    def test_a_language_model_generates(self, installed: Runtime, tmp_path: Path) -> None:
        path = self.language_model(tmp_path)
        if path is None:
            assert not installed.capabilities.generates, "a runtime that generates gives a model to try it with"
            pytest.skip(f"{self.runtime} runs no language models")
        samples = self.run(path, "generate", prompt_tokens=_PROMPT, new_tokens=_NEW).done().samples()
        assert samples.keys() >= set(SCENARIOS["generate"].phases)
        assert len(samples["decode"].start_ns) == QUICK["min_iterations"] * (_NEW - 1)

    def test_memory_is_told_by_phase_and_nothing_is_timed(self, tiny: ContractModel) -> None:
        events = self.run(tiny.path, measure="memory").done().events
        phases = [event.phase for event in events if isinstance(event, Memory)]
        assert phases == ["runtime", "load", "first", "steady"]
        assert not any(isinstance(event, Samples) for event in events)

    def test_operators_are_told_where_it_says_so(self, installed: Runtime, tiny: ContractModel) -> None:
        ended = self.run(tiny.path, measure="profile")
        if not installed.capabilities.per_operator:
            assert ended.error.kind == "usage"
            return
        operators = [event for event in ended.done().events if isinstance(event, Ops)]
        assert operators
        assert all(event.calls > 0 and event.total_ns >= 0 for event in operators)

    def test_no_more_threads_work_than_the_job_says(self, tiny: ContractModel) -> None:
        if tiny.heavy is None or not Path("/proc/self/task").is_dir():
            pytest.skip("there is no model that takes long enough, or no /proc")
        ended = subprocess.run(
            [sys.executable, "-P", "-c", _COUNT_THREADS, str(tiny.heavy), self.runtime, *(self.arguments or ("cpu",))],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.split() == ["1"]

    def test_a_damaged_file_is_an_error_that_says_what_to_do(self, tiny: ContractModel, tmp_path: Path) -> None:
        content = tiny.path.read_bytes()
        for name, damaged in (("empty", b""), ("cut", content[: len(content) // 2]), ("noise", b"\x00\xff" * 500)):
            path = tmp_path / f"{name}{tiny.path.suffix}"
            path.write_bytes(damaged)
            for measure in ("describe", "latency")[: 2 if name == "cut" else 1]:
                error = self.run(path, "single-stream", measure).error
                assert error.kind == "model", f"{name}: {error}"
                assert error.message.endswith("."), f"{name}: {error}"
                assert error.todo, f"{name}: {error}"

    def test_what_there_is_not_is_refused(self, tiny: ContractModel, tmp_path: Path) -> None:
        for ended in (self.run(tiny.path, method="no_such_method"), self.run(tiny.path, precision="fp1")):
            error = ended.error
            assert error.kind == "usage", error
            assert error.message.endswith(".")
            assert error.todo
        absent = self.run(tmp_path / f"absent{tiny.path.suffix}").error
        assert (absent.kind, "does not exist" in absent.message) == ("model", True)

    def test_a_worker_that_is_killed_ends_at_once(self, tiny: ContractModel) -> None:
        endless = self.job(tiny.path, min_duration_s=300.0, max_duration_s=300.0)
        process = self.start(endless, Files(model=str(tiny.path)))
        assert process.stdout is not None
        assert '"hello"' in process.stdout.readline()
        process.kill()
        process.communicate(timeout=_LIMIT_S)
        assert process.returncode < 0


# In a process of its own: a job of one thread is loaded, and its execute called until a second of processor time is
# spent. Prints how many threads have spent a twentieth of that or more.
_COUNT_THREADS = """
import sys, time
from pathlib import Path
from harness.job import Files, Job
from harness.runtime import Preparing, runtime_for
from harness.worker.inputs import make_inputs

path, name, device, *kind = sys.argv[1:]
runtime = runtime_for(Path(path), device, name)
runtime.start(kind[0] if kind else device)
if isinstance(runtime, Preparing):
    runtime.prepare(Path(path))
job = Job(target="contract", model="heavy", model_sha256="", scenario="single-stream", threads=1)
model = runtime.load(Path(path), job, Files(model=path))
inputs = model.arrange(make_inputs(job, model.description, None))

def ticks():
    stats = {task.name: task.joinpath("stat").read_text() for task in Path("/proc/self/task").iterdir()}
    words = {thread: stat.rpartition(")")[2].split() for thread, stat in stats.items()}
    return {thread: int(fields[11]) + int(fields[12]) for thread, fields in words.items()}

before, begin = ticks(), time.process_time()
while time.process_time() - begin < 1.0:
    model.execute(inputs)
after = ticks()
spent = [after[thread] - before.get(thread, 0) for thread in after]
print(sum(thread_ticks >= sum(spent) / 20 for thread_ticks in spent))
"""
