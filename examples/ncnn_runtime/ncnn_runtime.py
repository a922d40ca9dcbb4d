"""`.param` models through ncnn, on the processor; their weights are in a `.bin` of the same name.

ncnn has no batch and names no sizes but those of an `Input` line (`0=` width, `1=` height, `2=` channels). It raises
nothing: every call gives a number, and one that is not 0 is an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import ModelError, UsageError
from harness.job import Files, Job
from harness.model_description import find_method
from harness.protocol import Describe, Loaded
from harness.runtime import LoadedModel, RuntimeCapabilities, RuntimeOption, option_values

name = "ncnn"
capabilities = RuntimeCapabilities(
    formats=(".param",),
    distributions=("ncnn",),
    install="pip install ncnn",
    weights=("{stem}.bin",),
    options=(
        RuntimeOption(
            name="fp16_storage",
            default="off",
            help="keep weights and activations in float16; ncnn's own default is on, and changes the outputs",
            values=("off", "on"),
        ),
    ),
)
_MAGIC = "7767517"
_AGAIN = "Convert the model again, or copy it again if it came from elsewhere."


def start(device: str) -> dict[str, str]:
    """Import the library, whose pool of threads must not spin between runs: OpenMP reads that when it is loaded."""
    os.environ["OMP_WAIT_POLICY"] = "passive"
    import ncnn  # noqa: F401

    return {}


def describe(path: Path) -> Describe:
    """What the file says of itself, and whether ncnn has all its layers."""
    net = _net(path, threads=1, fp16=False)
    return _describe(path, net)


def load(path: Path, job: Job, files: Files) -> LoadedModel:
    """Open the graph and read its weights; `execute` takes matrices of ncnn in the order of the inputs."""
    import ncnn
    import numpy as np

    values = option_values(capabilities, job)
    weights = path.with_suffix(".bin") if files.data is None else Path(files.data)
    if not weights.is_file():
        raise ModelError(f"The weights of {path} are in {weights.name}, which is not there.", "Put it next to it.")
    begin = time.perf_counter_ns()
    net = _net(path, job.threads, values["fp16_storage"] == "on")
    opened = time.perf_counter_ns()
    if net.load_model(str(weights)) != 0:
        raise ModelError(f"ncnn cannot read {weights} as the weights of {path.name}.", _AGAIN)
    ready = time.perf_counter_ns()
    description = _describe(path, net)
    find_method(description, job.method)
    inputs, outputs = net.input_names(), net.output_names()
    held: list[Any] = []  # a matrix does not own the array that it was made of

    def arrange(tensors: Sequence[Any]) -> Sequence[Any]:
        held[:] = [np.ascontiguousarray(tensor.numpy()) for tensor in tensors]
        return [ncnn.Mat(array) for array in held]

    def execute(matrices: Sequence[Any]) -> Sequence[Any]:
        extractor, results = net.create_extractor(), []
        for blob, matrix in zip(inputs, matrices, strict=True):
            if extractor.input(blob, matrix) != 0:
                raise UsageError(f"ncnn does not take the input {blob}.", "Report this.")
        for blob in outputs:
            code, matrix = extractor.extract(blob)
            if code != 0:
                raise ModelError(f"ncnn cannot compute the output {blob} of {path}.", "Give inputs of its sizes.")
            results.append(np.array(matrix))
        return results

    loaded = Loaded(
        program_ns=opened - begin,
        method_ns=ready - opened,
        program_bytes=path.stat().st_size + weights.stat().st_size,
        planned_bytes=None,
        settings={"threads": str(net.opt.num_threads), "fp16_storage": "on" if net.opt.use_fp16_storage else "off"},
    )
    return LoadedModel(description, loaded, execute, arrange=arrange)


def _net(path: Path, threads: int, fp16: bool) -> Any:
    """The graph, without weights. Options must be set before it is read."""
    import ncnn

    _lines(path)
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = net.opt.use_bf16_storage = False
    net.opt.use_fp16_storage = net.opt.use_fp16_packed = net.opt.use_fp16_arithmetic = fp16
    if net.load_param(str(path)) != 0:
        raise ModelError(f"ncnn refuses {path}: it is damaged, or has a layer that ncnn lacks.", _AGAIN)
    return net


def _lines(path: Path) -> list[list[str]]:
    """The layers as words. Raises ModelError where the file is not as long as it says."""
    try:
        magic, counts, *layers = path.read_text().splitlines()
        if magic.strip() == _MAGIC and len(layers) >= int(counts.split()[0]) > 0:
            return [layer.split() for layer in layers if layer.strip()]
    except (OSError, ValueError, IndexError):
        pass
    raise ModelError(f"{path} is no .param of ncnn, or cut short.", _AGAIN)


def _describe(path: Path, net: Any) -> Describe:
    """An `Input` line is `Input NAME 0 1 BLOB 0=width 1=height 2=channels`."""
    sizes = {}
    for layer in _lines(path):
        if layer[0] == "Input":
            given = dict(word.split("=", 1) for word in layer[5:] if "=" in word)
            sizes[layer[4]] = [int(given[place]) for place in ("2", "1", "0") if place in given]
    if missing := [blob for blob in net.input_names() if not sizes.get(blob)]:
        raise ModelError(f"{path} does not say the sizes of its input {missing[0]}.", "Write them into its Input line.")
    tensor = {"kind": "tensor", "dtype": "float32"}
    inputs = [{**tensor, "name": blob, "sizes": sizes[blob], "dynamic": False} for blob in net.input_names()]
    outputs = [{**tensor, "name": blob, "sizes": [None]} for blob in net.output_names()]  # not known before a run
    methods = [{"name": "forward", "inputs": inputs, "outputs": outputs, "planned_bytes": None}]
    return Describe(format="param", methods=methods, metadata={}, delegates=[], external_data=True)
