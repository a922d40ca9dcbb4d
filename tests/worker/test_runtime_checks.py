"""What a runtime of somebody else's may say that is nonsense: one sentence with its name, in every pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from worker.driving import job

from harness.job import Files, Job, request_json
from harness.protocol import Describe, Error, Event, Loaded, Ops
from harness.runtime import LoadedModel, RuntimeCapabilities
from harness.worker import __main__ as worker

X = {"name": "x", "kind": "tensor", "dtype": "float32", "sizes": [2, 4]}
FORWARD = {"name": "forward", "inputs": [X], "outputs": [X], "planned_bytes": None}
DESCRIBE = Describe(format="fake", methods=[FORWARD], metadata={}, delegates=[])
LOADED = Loaded(program_ns=1, method_ns=1, program_bytes=1, planned_bytes=None)
OPS = Ops(operator="add", delegate=None, calls=1, total_ns=5)


def double(inputs: Sequence[Any]) -> Sequence[Any]:
    return [2 * inputs[0]]


GOOD = LoadedModel(DESCRIBE, LOADED, double, operators=lambda: [OPS])


class Runtime:
    """As a third party would write it."""

    name = "acme"
    capabilities = RuntimeCapabilities(formats=(".acme",), per_operator=True)

    def __init__(self, model: Any = GOOD, description: Any = DESCRIBE) -> None:
        self._model, self._description = model, description

    def start(self, device: str) -> dict[str, str]:
        return {}

    def describe(self, path: Path) -> Any:
        return self._description

    def load(self, path: Path, job: Job, files: Files) -> Any:
        return self._model


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How a worker ends that has this runtime, in this process."""

    def end(runtime: Runtime, measure: str = "latency", **fields: Any) -> Event:
        said: list[Event] = []
        asked = request_json(job(measure=measure, **fields), Files(model=str(tmp_path), output=str(tmp_path)))

        class Channel:
            def emit(self, event: Event) -> None:
                said.append(event)

        monkeypatch.setattr(worker, "Channel", Channel)
        monkeypatch.setattr(worker, "runtime_for", lambda *_: runtime)
        monkeypatch.setattr("sys.stdin", type("Line", (), {"readline": staticmethod(lambda: asked + "\n")}))
        worker.main()
        return said[-1]

    return end


def refused(ended: Event, words: str) -> None:
    assert isinstance(ended, Error), ended
    assert (ended.kind, ended.message) == ("worker", f"Runtime acme {words}.")
    assert ended.todo == "Report this to those who made acme."


@pytest.mark.parametrize("measure", ["describe", "latency", "profile", "quality"])
def test_sense_is_let_through(measure: str, ended: Any) -> None:
    assert ended(Runtime(), measure).event == "done"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"program_ns": -5}, "says that opening the model took -5 ns"),
        ({"method_ns": math.nan}, "says that preparing its method took nan ns"),
        ({"program_ns": 1.5}, "says that opening the model took 1.5 ns"),
        ({"program_bytes": None}, "says that the model has None bytes"),
        ({"planned_bytes": -1}, "says that its planned arena has -1 bytes"),
        ({"settings": {"threads": 1}}, "has settings that are no texts: {'threads': 1}"),
    ],
)
def test_times_and_sizes_of_a_load(fields: dict[str, Any], words: str, ended: Any) -> None:
    model = replace(GOOD, loaded=replace(LOADED, **fields))
    for measure in ("latency", "memory"):
        refused(ended(Runtime(model), measure), words)


def test_times_that_are_not_known_are_null(ended: Any) -> None:
    model = replace(GOOD, loaded=replace(LOADED, program_ns=None, method_ns=None))
    assert ended(Runtime(model)).event == "done"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (replace(OPS, total_ns=-1), "says that 1 calls of add took -1 ns"),
        (replace(OPS, total_ns=math.nan), "says that 1 calls of add took nan ns"),
        (replace(OPS, calls=2.5), "says that 2.5 calls of add took 5 ns"),
        (("add", 5), "times an operator by ('add', 5), which is no Ops"),
    ],
)
def test_times_of_operators(event: Any, words: str, ended: Any) -> None:
    refused(ended(Runtime(replace(GOOD, operators=lambda: [event])), "profile"), words)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ("a text", "gives 'a text' where a list of outputs is meant"),
        ([object], "gives an output that is no tensor: <class 'object'>"),
        ([np.array(["a"])], "gives an output that is no tensor: array(['a'], dtype='<U1')"),
        (torch.ones(1), "gives tensor([1.]) where a list of outputs is meant"),
    ],
)
def test_outputs(outputs: Any, words: str, ended: Any) -> None:
    refused(ended(Runtime(replace(GOOD, execute=lambda inputs: outputs)), "quality"), words)


@pytest.mark.parametrize("outputs", [[np.float32(1)], [1.5, True], (torch.ones(2), None), {"y": np.ones(2)}])
def test_outputs_that_are_numbers_or_lie_in_a_dictionary(outputs: Any, ended: Any) -> None:
    assert ended(Runtime(replace(GOOD, execute=lambda inputs: outputs)), "quality").event == "done"


def test_logits_of_a_language_model(ended: Any) -> None:
    tokens = {"name": "tokens", "kind": "tensor", "dtype": "int64", "sizes": [1, 8]}
    position = {"name": "input_pos", "kind": "tensor", "dtype": "int64", "sizes": [1]}
    method = {**FORWARD, "inputs": [tokens, position]}
    description = replace(
        DESCRIBE, methods=[method], metadata={"get_vocab_size": 5, "use_kv_cache": True, "get_max_seq_len": 8}
    )
    model = replace(GOOD, description=description, execute=lambda inputs: [{1, 2}])
    said = ended(Runtime(model), scenario="generate", prompt_tokens=2, new_tokens=2)
    refused(said, "gives an output that is no tensor: {1, 2}")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"inputs": []}, "describes a method without a name: {'inputs': []}"),
        ({**FORWARD, "outputs": None}, "describes the method forward without a list of outputs"),
        ({**FORWARD, "inputs": [{**X, "sizes": "2x4"}]}, "describes one of the inputs of forward without sizes: "),
        (
            {**FORWARD, "inputs": [{**X, "kind": "image"}]},
            "describes one of the inputs of forward with a kind that is ",
        ),
        ({**FORWARD, "outputs": ["y"]}, "describes one of the outputs of forward by no dictionary: 'y'"),
    ],
)
def test_descriptions(method: Any, words: str, ended: Any) -> None:
    said = ended(Runtime(description=replace(DESCRIBE, methods=[method])), "describe")
    assert isinstance(said, Error)
    assert said.message.startswith(f"Runtime acme {words}")
    refused(ended(Runtime(description=7), "describe"), "describes a model by 7, which is no Describe")
