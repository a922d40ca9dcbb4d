"""How a simulated worker speaks: one line of JSON in, JSON Lines out, as `harness.worker`.

It times nothing, so one process says all there is to say.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from harness.atomic_files import replacing_file
from harness.durations import OnStep, TaskClock, unheard
from harness.errors import HarnessError, ModelError, UsageError, WorkerError
from harness.job import Files, Job, parse_request
from harness.manifest import sha256_file
from harness.model_description import find_method, is_language_model
from harness.protocol import Describe, Done, Error, Event, Progress, Scalar, decode
from harness.targets.simulated.program_cache import CachedProgram, describe
from harness.worker.channel import Channel

Emit = Callable[[Event], None]
Make = Callable[[Path, str, str, OnStep], CachedProgram]
"""A model file, its sha256, a phase, and what hears of the steps, to the lowered program of that phase."""
Estimate = Callable[[str, CachedProgram], Iterable[Event]]
"""A phase and its lowered program to what is estimated of it."""
PROGRESS_EVERY_S = 2.0


def serve(work: Callable[[Job, Files, Emit], None]) -> None:
    """Read one request, do it, say `done` or `error`."""
    channel = Channel()
    try:
        job, files = parse_request(sys.stdin.readline())
        work(job, files, channel.emit)
        channel.emit(Done())
    except WorkerError as error:
        channel.emit(Error(kind=error.kind, message=error.message, todo=error.hint))
    except HarnessError as error:
        kind = {ModelError: "model", UsageError: "usage"}.get(type(error), "worker")
        channel.emit(Error(kind=kind, message=error.message, todo=error.hint))
    except BrokenPipeError:
        sys.exit(1)  # the harness is gone
    except Exception as error:  # noqa: BLE001 - whatever a compiler raises must reach the user as a failed job
        import traceback

        traceback.print_exc()
        line = (str(error).strip().splitlines() or [""])[0].rstrip(".:")
        channel.emit(
            Error(
                kind="runtime",
                message=f"The model could not be lowered: {type(error).__name__}: {line}.",
                todo="`harness report` shows what the compiler printed.",
            )
        )


def answer(job: Job, files: Files, emit: Emit, where: str, make: Make, estimate: Estimate) -> None:
    """Describe the model, evaluate it, or say what `estimate` says of each phase on `where`.

    Raises UsageError for a pass that a simulation does not have, and for what a program of fixed shapes cannot do.
    """
    path = Path(files.model)
    sha256 = sha256_file(path)
    described = describe(path, sha256)
    phases = ("prefill", "decode") if is_language_model(described) else ("steady",)
    if job.measure == "describe":
        emit(described)
    elif job.measure == "quality":
        with _progress(f"{job.target} lowering", emit) as announce:
            made = make(path, sha256, phases[0], announce(phases[0]))
        _quality(job, files, made, emit)
    elif job.measure == "latency":
        _check(job, described, where)
        key = f"{job.target} lowering {' and '.join(phases)}"
        with _lowering_in_background(make, path, sha256, phases[1:]), _progress(key, emit) as announce:
            programs = {phase: make(path, sha256, phase, announce(phase)) for phase in phases}
        for phase, made in programs.items():
            for event in estimate(phase, made):
                emit(event)
    else:
        raise UsageError(f"The {job.target} target has no {job.measure} pass.", "Leave it out.")


@contextlib.contextmanager
def _progress(key: str, emit: Emit) -> Iterator[Callable[[str], OnStep]]:
    """While the body lowers programs, say every two seconds how far it has come, where that is known: in seconds of
    those that it took the last time, corrected by what its steps take now. The function that it gives makes what hears
    of the steps of a phase.
    """
    clock, ended = TaskClock(key), threading.Event()

    def say() -> None:
        with contextlib.suppress(BrokenPipeError):  # the harness is gone, which the body will meet too
            while not ended.wait(PROGRESS_EVERY_S):
                if (left_s := clock.left_s()) is not None:
                    spent_s = clock.elapsed_s
                    emit(Progress(done=round(spent_s), total=max(1, round(spent_s + left_s))))

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield lambda phase: lambda step: clock.begin(f"{phase}: {step}")
    finally:
        ended.set()
        thread.join()
    clock.finish()


@contextlib.contextmanager
def _lowering_in_background(make: Make, path: Path, sha256: str, phases: Sequence[str]) -> Iterator[None]:
    """While the body runs, make what it will ask for later, each phase in a process of its own: to lower a program
    takes minutes of one processor. What goes wrong there does so again in the body, where it is said.
    """

    def made(phase: str) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an exception, which leaves no scratch folder
        with contextlib.suppress(Exception):
            make(path, sha256, phase, unheard)

    # A fork knows what to do without being told in pickles; torch, which it might not survive, is imported by `make`.
    fork = multiprocessing.get_context("fork")
    processors = len(os.sched_getaffinity(0))
    processes = [fork.Process(target=made, args=(phase,), daemon=True) for phase in phases[: processors - 1]]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def certification_scalars(phase: str, values: Mapping[str, float | None], reasons: Mapping[str, str]) -> list[Scalar]:
    """What certification said when the program was lowered; `reasons` for what may be absent."""
    return [
        Scalar(name=name, value=value, reason=None if value is not None else reasons[name], phase=phase)
        for name, value in values.items()
    ]


def _quality(job: Job, files: Files, made: CachedProgram, emit: Emit) -> None:
    """The loss, or the outputs, of the fake-quantised prefill. A loss is stored: it is the same on every run."""
    stored = made.folder / f"loss-{(job.data_sha256 or '')[:16]}-{job.max_tokens}.jsonl"
    if files.tokens is not None and stored.exists():
        for line in stored.read_text().splitlines():
            emit(decode(line))
        return
    # They register the operators of a quantised graph.
    import executorch.exir.passes.dim_order_ops_registry  # noqa: F401
    import torch.ao.quantization.fx._decomposed  # noqa: F401

    from harness.worker import quality
    from harness.worker.runtimes import torch as torch_runtime

    model = torch_runtime.load(made.fake_quant, job, files)
    if files.tokens is None:
        assert files.output is not None
        for event in quality.outputs(model, job, files.inputs, Path(files.output), files.labels):
            emit(event)
        return
    events: list[Event] = []

    def say(event: Event) -> None:
        events.append(event)
        emit(event)

    quality.loss(model, Path(files.tokens), job.max_tokens, say)
    lines = [json.dumps({"event": event.event, **asdict(event)}) for event in events if not isinstance(event, Progress)]
    with replacing_file(stored) as file:  # half a file would be believed for good
        file.write(("\n".join(lines) + "\n").encode())


def _check(job: Job, described: Describe, where: str) -> None:
    if job.scenario != ("generate" if is_language_model(described) else "single-stream"):
        raise UsageError(
            f"{job.scenario} is not estimated on {where}.",
            "Leave out --scenario: one run of the program is what can be estimated.",
        )
    sizes = [list(meta["sizes"]) for meta in find_method(described, job.method)["inputs"]]
    if job.input_sizes is not None and [list(size) for size in job.input_sizes] != sizes:
        raise UsageError(
            f"{job.model} is compiled for inputs of the sizes {sizes}, not for a batch of {job.batch}.",
            "Leave out --batch, or export it with the batch that you want.",
        )
