"""`python -m harness.targets.npu.worker [CONFIGURATION]`: one line of JSON in, JSON Lines out, as `harness.worker`.

It times nothing, so one process says all there is to say. What it makes is kept (`prepared`): a second run of the same
model imports neither torch nor Vela.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import HarnessError, ModelError, UsageError, WorkerError
from harness.job import Files, Job, parse_request
from harness.manifest import sha256_file
from harness.protocol import PROTOCOL, Describe, Done, Error, Event, Hello, Progress, Samples, Scalar, decode
from harness.targets.npu.configuration import Configuration, find
from harness.targets.npu.prepared import Prepared, describe, prepared, versions
from harness.targets.npu.scalars import certified, operators, scalars
from harness.targets.npu.vela import estimate
from harness.targets.npu.vela_ini import memories
from harness.worker.channel import Channel
from harness.worker.model import is_language_model, main_method

Emit = Callable[[Event], None]


def main() -> None:
    """Read one request, do it, say `done` or `error`."""
    channel = Channel()
    try:
        job, files = parse_request(sys.stdin.readline())
        _work(job, files, channel.emit)
        channel.emit(Done())
    except WorkerError as error:
        channel.emit(Error(kind=error.kind, message=error.what, todo=error.todo))
    except HarnessError as error:
        kind = {ModelError: "model", UsageError: "usage"}.get(type(error), "worker")
        channel.emit(Error(kind=kind, message=error.what, todo=error.todo))
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


def _work(job: Job, files: Files, emit: Emit) -> None:
    configuration, path = find(sys.argv[1] if len(sys.argv) > 1 else None), Path(files.model)
    memories(configuration)  # a vela.ini with an error is refused before minutes are spent
    emit(
        Hello(
            protocol=PROTOCOL,
            worker=f"npu {__version__}",
            versions={"python": sys.version.split()[0], **versions(), "configuration": configuration.digest()},
            device={"accelerator": configuration.accelerator, "summary": configuration.summary},
        )
    )
    sha256 = sha256_file(path)
    described = describe(path, sha256)
    if job.measure == "describe":
        emit(described)
    elif job.measure == "quality":
        _quality(job, files, prepared(path, sha256, _phases(described)[0], configuration), emit)
    elif job.measure == "latency":
        _check(job, described, configuration)
        for phase in _phases(described):
            _estimate(phase, prepared(path, sha256, phase, configuration), configuration, emit)
    else:
        raise UsageError(f"The npu target has no {job.measure} pass.", "Leave it out.")


def _estimate(phase: str, made: Prepared, configuration: Configuration, emit: Emit) -> None:
    found, areas = estimate(made.tosa, configuration), memories(configuration)
    emit(Samples(phase=phase, start_ns=[0], duration_ns=[found.duration_ns]))
    for scalar in scalars(phase, found, configuration, areas, made.tosa.read_bytes()) + certified(phase, made):
        emit(scalar)
    emit(Scalar(name="calibrated_on_text", value=float(made.facts["text"]), phase=phase))
    for row in operators(phase, found, areas.clock_hz):
        emit(row)


def _quality(job: Job, files: Files, made: Prepared, emit: Emit) -> None:
    """The loss, or the outputs, of the fake-quantised prefill. A loss is kept: it is the same on every run."""
    kept = made.folder / f"loss-{(job.data_sha256 or '')[:16]}-{job.max_tokens}.jsonl"
    if files.tokens is not None and kept.exists():
        for line in kept.read_text().splitlines():
            emit(decode(line))
        return
    # They register the operators of a quantised graph.
    import executorch.exir.passes.dim_order_ops_registry  # noqa: F401
    import torch.ao.quantization.fx._decomposed  # noqa: F401

    from harness.worker import quality, torch_runtime

    model = torch_runtime.load(made.fake_quant, job)
    if files.tokens is None:
        assert files.output is not None
        for event in quality.outputs(model, job, files.inputs, Path(files.output)):
            emit(event)
        return
    said: list[Event] = []

    def say(event: Event) -> None:
        said.append(event)
        emit(event)

    quality.loss(model, Path(files.tokens), job.max_tokens, say)
    lines = [json.dumps({"event": event.event, **asdict(event)}) for event in said if not isinstance(event, Progress)]
    kept.write_text("\n".join(lines) + "\n")


def _phases(described: Describe) -> tuple[str, ...]:
    return ("prefill", "decode") if is_language_model(described) else ("steady",)


def _check(job: Job, described: Describe, configuration: Configuration) -> None:
    """Raises UsageError for what a program of fixed shapes cannot do."""
    if job.scenario != ("generate" if is_language_model(described) else "single-stream"):
        raise UsageError(
            f"{job.scenario} is not estimated on {configuration.name}.",
            "Leave out --scenario: one run of the program is what can be estimated.",
        )
    sizes: list[Any] = main_method(described)["inputs"][0]["sizes"] or [1]
    if job.batch != sizes[0]:
        raise UsageError(
            f"{job.model} is compiled for batches of {sizes[0]}, not {job.batch}.",
            "Leave out --batch, or export it anew.",
        )


if __name__ == "__main__":
    main()
