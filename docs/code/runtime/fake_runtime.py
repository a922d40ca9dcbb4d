"""A runtime for `.fake` files: one linear layer as JSON, which numpy computes."""

import json
import time
from pathlib import Path

from harness.errors import ModelError
from harness.job import Files, Job
from harness.model_description import find_method
from harness.protocol import Describe, Loaded
from harness.runtime import LoadedModel, RuntimeCapabilities

name = "fake"
capabilities = RuntimeCapabilities(formats=(".fake",), distributions=("numpy",))


def start(device: str) -> dict[str, str]:
    """Import the library before anything is timed. Its version is known from `distributions`."""
    import numpy  # noqa: F401

    return {}


def describe(path: Path) -> Describe:
    """One method with one input, whose batch may vary."""
    weight = read(path)["weight"]
    x = {"name": "x", "kind": "tensor", "dtype": "float32", "sizes": [1, len(weight[0])], "dynamic": ["batch", None]}
    y = {"kind": "tensor", "dtype": "float32", "sizes": [1, len(weight)]}
    methods = [{"name": "forward", "inputs": [x], "outputs": [y], "planned_bytes": None}]
    return Describe(format="fake", methods=methods, metadata={}, delegates=[])


def load(path: Path, job: Job, files: Files) -> LoadedModel:
    """numpy takes its threads from OMP_NUM_THREADS, which the target has set to `job.threads`."""
    import numpy as np

    description = describe(path)
    find_method(description, job.method)  # refuses a method that the file does not have
    begin = time.perf_counter_ns()
    layer = read(path)
    opened = time.perf_counter_ns()
    weight, bias = np.array(layer["weight"], np.float32).T.copy(), np.array(layer["bias"], np.float32)
    ready = time.perf_counter_ns()
    size = path.stat().st_size
    return LoadedModel(
        description,
        Loaded(program_ns=opened - begin, method_ns=ready - opened, program_bytes=size, planned_bytes=None),
        execute=lambda inputs: [inputs[0] @ weight + bias],
        arrange=lambda inputs: [tensor.numpy() for tensor in inputs],  # before anything is timed
    )


def read(path: Path) -> dict[str, list]:
    try:
        layer = json.loads(path.read_text())
        return {"weight": [[float(x) for x in row] for row in layer["weight"]], "bias": list(map(float, layer["bias"]))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} cannot be read ({error}).", "Write it again.") from error
