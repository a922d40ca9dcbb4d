"""Entry point of the Python worker: one line of JSON in, JSON Lines out (`harness.protocol`).

`python -m harness.worker [DEVICE [KIND]]`: models run on DEVICE (`cpu`, which is the default, or `cuda`), by the
runtimes that serve it. KIND replaces the device, for tests of the runtimes of a GPU where there is none.
"""

from __future__ import annotations

import faulthandler
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import HarnessError, UsageError, WorkerError
from harness.job import Files, Job, parse_request
from harness.model_description import is_language_model
from harness.protocol import PROTOCOL, Answer, Done, Hello, Loaded, Samples, Scalar
from harness.runtime import (
    LoadedModel,
    Preparing,
    Probed,
    Runtime,
    check_precision,
    distribution_versions,
    option_values,
    runtime_for,
)
from harness.scenarios.catalogue import SCENARIOS
from harness.scenarios.closed_loop import repeat, warm_up
from harness.scenarios.queries import GenerateQuery, MultiStreamQuery, Query, SingleQuery
from harness.statistics.steady import SteadyRule
from harness.storage_reads import drop_page_cache
from harness.worker import array_inputs, probes
from harness.worker.channel import Channel, LoadError, failure
from harness.worker.inputs import make_inputs
from harness.worker.runtime_checks import (
    RuntimeFault,
    check_description,
    check_model,
    check_operators,
    checking_outputs,
)

MEMORY_ITERATIONS = 10
PROFILE_ITERATIONS = 10


def main(device: str = "cpu", kind: str | None = None) -> None:
    """Read one request, do it, say `done` or `error`; exit code 0 in both cases, since the stream tells."""
    faulthandler.enable()
    channel = Channel()
    job: Job | None = None
    try:
        job, files = parse_request(sys.stdin.readline())
        if job.cpus is not None:
            _pin(job.cpus)
        runtime = runtime_for(Path(files.model), device, job.runtime)
        try:
            _work(job, files, channel, runtime, kind or device)
        except RuntimeFault as fault:
            raise WorkerError(
                "runtime", f"Runtime {runtime.name} {fault}.", f"Report this to those who made {runtime.name}."
            ) from fault
        if job.measure == "latency" and SCENARIOS[job.scenario].cold:
            from harness.worker.warm_start import warm_start

            for event in warm_start(job, files, [device] if kind is None else [device, kind]):
                channel.emit(event)
        channel.emit(Done())
    except BrokenPipeError:
        sys.exit(1)  # the harness is gone
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises must reach the user as a failed job
        channel.emit(failure(error, job))


def _work(job: Job, files: Files, channel: Channel, runtime: Runtime, device: str) -> None:
    path = Path(files.model)
    check_precision(runtime, job.precision)
    option_values(runtime.capabilities, job)  # refused before the library is imported
    channel.emit(
        Hello(
            protocol=PROTOCOL,
            worker=f"python {__version__}",
            versions={**distribution_versions(runtime), **_python(job, runtime), **runtime.start(device)},
            device={"cpus": sorted(os.sched_getaffinity(0))},
        )
    )
    if job.measure == "describe":
        channel.emit(check_description(runtime.describe(path)))
        return
    if SCENARIOS[job.scenario].in_flash:
        from harness.worker import flash

        flash.work(job, files, channel.emit)
        return
    if isinstance(runtime, Preparing):
        # Not in `load`: it reads the file, which a cold start must find dropped from the page cache.
        runtime.prepare(path)
    if job.measure == "memory":
        _measure_memory(job, files, runtime, channel)
        return
    parts = [path, *([Path(files.data)] if files.data is not None else [])]
    if SCENARIOS[job.scenario].cold:
        for part in parts:
            drop_page_cache(part)
    probe = probes.IoProbe()
    model = _load(runtime, path, job, files)
    channel.emit(_loaded(model, runtime, job))
    channel.emit(probe.since("load", sum(part.stat().st_size for part in parts)))
    match job.measure:
        case "quality":
            _measure_quality(job, files, runtime, model, channel)
        case "profile":
            _measure_operators(job, files, runtime, model, channel)
        case _:
            _measure_latency(job, files, model, channel)


def _load(runtime: Runtime, path: Path, job: Job, files: Files) -> LoadedModel:
    """Raises HarnessError as the runtime does, LoadError for whatever else it raises, RuntimeFault for nonsense."""
    try:
        model = runtime.load(path, job, files)
    except (HarnessError, MemoryError):
        raise
    except Exception as error:
        raise LoadError from error
    return check_model(model)


def _loaded(model: LoadedModel, runtime: Runtime, job: Job) -> Loaded:
    """What the runtime says of its load, with its name and the values of all its options among the settings: as given,
    and behind it in parentheses what the library made of that, where it says something else (`automatic (f32)`).
    """
    settings = {"runtime": runtime.name, **model.loaded.settings}
    for option, given in option_values(runtime.capabilities, job).items():
        made = settings.get(option, given)
        settings[option] = given if made == given else f"{given} ({made})"
    return replace(model.loaded, settings=settings)


def _pin(cpus: tuple[int, ...]) -> None:
    """Raises UsageError unless all of them can be used: the kernel takes a set of which some are there."""
    with suppress(OSError):
        os.sched_setaffinity(0, cpus)
    if (usable := os.sched_getaffinity(0)) != set(cpus):
        raise UsageError(
            f"Processors {', '.join(map(str, cpus))} cannot be used here, only {sorted(usable)}.",
            "Give some of these with --cpus.",
        )


def _measure_latency(job: Job, files: Files, model: LoadedModel, channel: Channel) -> None:
    clock = time.perf_counter_ns
    query = _query(job, files, model)
    for answer in _ask_first(query, job, files, model):
        channel.emit(answer)
    channel.emit(_first(query))
    if not SCENARIOS[job.scenario].repeats:
        return
    warmup, steady = warm_up(query, job.max_warmup_s, clock, SteadyRule())
    channel.emit(warmup.event("warmup"))
    channel.emit(Scalar(name="warmup_steady", value=float(steady)))
    if job.scenario in ("server", "sustained"):
        from harness.worker import load

        measure = load.measure_server if job.scenario == "server" else load.measure_sustained
        emit = channel.emit if model.probe is None else model.probe.adding_state(channel.emit)
        measure(job, query, statistics.median(warmup.duration_ns), emit)
        return
    if model.probe is not None:
        model.probe.clear()
    queries = repeat(query, job, clock)
    for event in model.probe.measured(query.phases) if model.probe is not None else ():
        channel.emit(event)
    channel.emit(Scalar(name="queries", value=queries))
    for phase, series in query.phases.items():
        channel.emit(series.event(phase))


def _ask_first(query: Query, job: Job, files: Files, model: LoadedModel) -> list[Answer]:
    """Ask a query the first time, when only its first `execute` is kept: the tokens that it generates are looked at on
    the way, so that nothing has to be when they are timed. Given prompts are asked each once, and their answers are
    what this gives, in the first process alone: every other has the same. Of prompts from a text it is the first.
    """
    if not isinstance(query, GenerateQuery):
        query()
        return []
    from harness.worker.generation import CheckedTokens, prompts_of

    vocabulary = int(model.description.metadata["get_vocab_size"])
    tokens = CheckedTokens(query.tokens, job.model, vocabulary)
    checked = query.with_tokens(tokens)
    keeps = job.prompts is not None and job.block == 0
    for _ in range(len(prompts_of(job, files, vocabulary)) if keeps and job.end_tokens is not None else 1):
        checked()
    return [Answer(prompt=number, tokens=answer) for number, answer in enumerate(tokens.answers)] if keeps else []


def _first(query: Query) -> Samples:
    """The first inference: the first `execute` of the first query."""
    series = query.phases.get("prefill") or next(iter(query.phases.values()))
    return Samples(phase="first", start_ns=series.start_ns[:1], duration_ns=series.duration_ns[:1])


def _measure_memory(job: Job, files: Files, runtime: Runtime, channel: Channel) -> None:
    """Memory at the end of each phase, in a process that times nothing."""

    probe = runtime.probe if isinstance(runtime, Probed) else None  # an accelerator's memory is its own

    def report(phase: str) -> None:
        for event in (probes.memory(phase), *(probe.memory(phase) if probe is not None else ())):
            channel.emit(event)
        probes.reset_peak()

    as_arrays = runtime.capabilities.arrays
    if as_arrays:
        array_inputs.touch_numpy()
    else:
        _touch_torch()
    # All of the worker that is needed later, so that none of it is counted as the model's.
    from harness.worker import generation  # noqa: F401

    probes.give_back_freed()
    probes.reset_peak()
    report("runtime")
    model = _load(runtime, Path(files.model), job, files)
    channel.emit(_loaded(model, runtime, job))
    report("load")
    query = _query(job, files, model, as_arrays=as_arrays)
    probes.reset_peak()  # reading a file of inputs is no part of an inference
    query()
    report("first")
    for _ in range(MEMORY_ITERATIONS if SCENARIOS[job.scenario].repeats else 0):
        query()
    report("steady")


def _touch_torch() -> None:
    """Inputs and next tokens are made with torch, whose first calls take some megabytes: the worker's, as those of the
    interpreter are, and no model's.
    """
    import torch

    tokens = torch.randint(0, 2, (1, 2), generator=torch.Generator().manual_seed(0))
    for dtype in (torch.int32, torch.int64):
        torch.zeros((1, 1), dtype=dtype).copy_(tokens.to(dtype).argmax()).numpy().argmax()
        torch.arange(2, dtype=dtype).reshape(-1)[0].item()
    torch.tensor([0]).contiguous().data_ptr()


def _measure_quality(job: Job, files: Files, runtime: Runtime, model: LoadedModel, channel: Channel) -> None:
    from harness.worker import quality

    model = checking_outputs(model)
    if files.tokens is not None:
        quality.loss(model, Path(files.tokens), job.max_tokens, channel.emit)
    elif not runtime.capabilities.outputs:
        why = f"the outputs of {runtime.name} cannot be read"
        names = ("max_abs_difference", *(("accuracy_top1", "accuracy_top5") if job.labels_sha256 else ()))
        for name in names:
            channel.emit(Scalar(name=name, value=None, reason=why))
    elif files.output is not None:
        for event in quality.outputs(model, job, files.inputs, Path(files.output), files.labels):
            channel.emit(event)


def _measure_operators(job: Job, files: Files, runtime: Runtime, model: LoadedModel, channel: Channel) -> None:
    """A few queries, of which the runtime says what each operator took."""
    if model.operators is None:
        raise UsageError(f"{runtime.name} does not time operators.", "Leave out --profile.")
    query = _query(job, files, model)
    for _ in range(PROFILE_ITERATIONS):
        query()
    for operator in check_operators(model.operators()):
        channel.emit(operator)


def _query(job: Job, files: Files, model: LoadedModel, *, as_arrays: bool = False) -> Query:
    """`as_arrays`: on arrays of numpy, without torch."""
    if not is_language_model(model.description):
        if SCENARIOS[job.scenario].language_models:
            raise UsageError(
                f"{job.model} is no language model by ExecuTorch's convention, so it cannot {job.scenario}.",
                "Use --scenario single-stream.",
            )
        if as_arrays:
            return _plain_query(job, model, array_inputs.inputs_as_arrays(job, files, model.description))
        return _plain_query(job, model, make_inputs(job, model.description, files.inputs))
    from harness.worker.generation import GreedyTokens, prompts_of

    prompts = prompts_of(job, files, int(model.description.metadata["get_vocab_size"]))
    prompt, new = prompts.shape[1], job.new_tokens or 1
    tokens = GreedyTokens(
        model.description, prompts, new, model.arrange, ends=job.end_tokens or (), as_arrays=as_arrays
    )
    if SCENARIOS[job.scenario].generates:
        return GenerateQuery(model.execute, tokens, prompt, new, time.perf_counter_ns)
    return SingleQuery(model.execute, tokens.prompt(), _phase(job), time.perf_counter_ns)


def _plain_query(job: Job, model: LoadedModel, inputs: Sequence[Any]) -> Query:
    arranged = model.arrange(inputs)
    if job.streams is not None and job.batch is not None:
        return MultiStreamQuery(model.execute, arranged, job.streams // job.batch, time.perf_counter_ns)
    return SingleQuery(model.execute, arranged, _phase(job), time.perf_counter_ns)


def _phase(job: Job) -> str:
    return SCENARIOS[job.scenario].phase


def _python(job: Job, runtime: Runtime) -> dict[str, str]:
    """Versions of what every worker runs on. torch is imported here, before anything is measured, unless memory is that
    of a runtime which does without.
    """
    versions = {"python": sys.version.split()[0], "torch": version("torch")}
    if job.measure != "memory" or not runtime.capabilities.arrays:
        import torch

        versions["torch"] = torch.__version__
    return versions


if __name__ == "__main__":
    main(*sys.argv[1:])
