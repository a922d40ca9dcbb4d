"""Requests to the native worker, written by hand: what it does with them whatever the harness would have sent."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.job import Files, Job, request_json
from harness.protocol import Describe, Error, Event, Output, decode
from harness.target import WorkerProcess
from harness.targets.native.bundle import Bundle
from harness.targets.transports.local import Local

Arrays = Mapping[str, NDArray[Any]]
_LIMIT_S = 300.0


@dataclass(frozen=True)
class Worker:
    """A built worker and the way to start it."""

    bundle: Bundle
    transport: Local

    def ask(
        self,
        model: Path,
        inputs: Arrays | Path | None = None,
        *,
        tokens: Arrays | None = None,
        data: Path | None = None,
        method: str | None = None,
        environment: Mapping[str, str] | None = None,
        **job: Any,
    ) -> tuple[list[Event], dict[str, NDArray[Any]]]:
        """Every event of one job (latency of single-stream unless `job` says otherwise), and the outputs it left.

        Inputs are arrays by the worker's names, or a file of them.
        """
        from safetensors.numpy import load, save_file

        with tempfile.TemporaryDirectory() as folder:
            files = {"output": folder}
            for field, arrays in (("inputs", inputs), ("tokens", tokens)):
                if isinstance(arrays, Path):
                    files[field] = str(arrays)
                elif arrays is not None:
                    files[field] = f"{folder}/{field}.safetensors"
                    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, files[field])
            quick: dict[str, Any] = {"min_iterations": 3, "min_duration_s": 0.0, "max_warmup_s": 0.0}
            sort = {"scenario": "single-stream", "target": "x86", "model": model.stem, "model_sha256": "0" * 64}
            request = json.loads(request_json(Job(**(sort | quick | job)), Files(model=str(model), **files)))
            request["job"]["method"], request["files"]["data"] = method, None if data is None else str(data)
            command = self.bundle.command(str(self.bundle.folder))
            process: WorkerProcess = self.transport.start(command, json.dumps(request), environment or {})
            try:
                events = [decode(line) for line in process.lines(_LIMIT_S)]
            finally:
                process.close()
            written = next((event.file for event in events if isinstance(event, Output)), None)
            return events, {} if written is None or not written.endswith("safetensors") else load(
                Path(written).read_bytes()
            )

    def outputs(self, model: Path, inputs: Arrays | Path | None, **more: Any) -> dict[str, NDArray[Any]]:
        """What the model makes of these inputs."""
        events, arrays = self.ask(model, inputs, measure="quality", **more)
        assert not isinstance(events[-1], Error), events[-1]
        return arrays

    def refusal(self, model: Path, inputs: Arrays | Path | None = None, **more: Any) -> Error:
        """The error that the job ends with: two whole sentences."""
        end = self.ask(model, inputs, **more)[0][-1]
        assert isinstance(end, Error), end
        assert end.message.endswith(".")
        assert end.todo.endswith(".")
        return end

    def description(self, model: Path) -> Describe:
        """What the worker says of a model."""
        events = self.ask(model, measure="describe")[0]
        assert not isinstance(events[-1], Error), events[-1]
        return next(event for event in events if isinstance(event, Describe))


def expected(folder: Path, name: str) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """The inputs of a program of `interfaces_on_disk` as the worker takes them, and what torch makes of them, as the
    worker names it.
    """
    with np.load(folder / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    inputs = {f"set0_arg{key.removeprefix('in')}": value for key, value in arrays.items() if key.startswith("in")}
    outputs = {f"set0_output{key.removeprefix('out')}": value for key, value in arrays.items() if key.startswith("out")}
    return inputs, outputs
