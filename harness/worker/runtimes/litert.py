"""`.tflite` models through LiteRT (TensorFlow Lite), on the processor.

An interpreter has the threads of its job; its kernels are XNNPACK's where XNNPACK takes an operator, which is LiteRT's
default, and LiteRT's own for the others. Files are not trusted: no delegates and no operators are loaded from
libraries, which is why LiteRT's newer `CompiledModel` is not used: it looks for libraries of accelerators and of
vendors, and loads those that it finds.

A signature is called by the numbers of its tensors, through the object beneath `Interpreter`: `SignatureRunner` sets
all sizes and plans memory again at each call, and copies a language model's cache twice (a token of a model of six
layers took 15 % longer, ai-edge-litert 2.3.0).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.job import Files, Job
from harness.model_description import find_method
from harness.protocol import Describe, Loaded
from harness.runtime import LoadedModel, RuntimeCapabilities, RuntimeOption, option_values
from harness.worker.litert_errors import explain
from harness.worker.runtimes.litert_language import LOGITS, Generation, LanguageModel, find_language_model
from harness.worker.runtimes.torch import all_logits_of

if TYPE_CHECKING:
    from harness.worker.runtimes.litert_file import LiteRTFile, Signature
    from harness.worker.runtimes.litert_language import Execute

name = "litert"
capabilities = RuntimeCapabilities(
    formats=(".tflite",),
    distributions=("ai-edge-litert",),
    install="pip install 'edge-harness[litert]'",
    generates=True,
    arrays=True,
    options=(
        RuntimeOption(
            name="delegate",
            default="xnnpack",
            help="whose kernels compute: XNNPACK's where it takes an operator, or LiteRT's own for all",
            values=("xnnpack", "none"),
        ),
    ),
)
_DELEGATED = "DELEGATE"
# LiteRT's Python package has no way to its profiler, so that operators are not timed.
_MEASURABLE = (
    *("float32", "float16", "float64", "bool"),
    *(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u")),
)
_NO_NUMPY = "Convert the model with such inputs and outputs as float32 or int32."


def start(device: str) -> dict[str, str]:
    """Import the library. Its version is known from its distribution."""
    import ai_edge_litert.interpreter  # noqa: F401

    return {}


def prepare(path: Path) -> None:
    """Look at the tables of the file before LiteRT does, and refuse what it must not open."""
    _read(path)


def describe(path: Path) -> Describe:
    """What the file says of itself. LiteRT opens it too, so that an operator that it lacks is told before anything is
    measured.
    """
    file = _read(path)
    _open(path, threads=1, delegate="none")
    return _describe(path, file)[0]


def load(path: Path, job: Job, files: Files) -> LoadedModel:
    """Make an interpreter on `job.threads` threads. `execute` takes arrays of numpy in the order of the inputs.

    Raises ModelError for a file that LiteRT refuses, or with inputs that numpy does not have.
    """
    values = option_values(capabilities, job)
    start_ns = time.perf_counter_ns()
    interpreter = _open(path, job.threads, values["delegate"])
    opened_ns = time.perf_counter_ns()
    file = _read(path)  # not before: a cold start must not find in memory what lies beside the weights
    description, model = _describe(path, file)
    method = find_method(description, job.method)
    signature = (
        model.decode if model is not None else next(each for each in file.signatures if each.name == method["name"])
    )
    read_ns = time.perf_counter_ns()
    runner = _Runner(path, interpreter)
    if model is not None:
        for part in (model.decode, *model.prefills):
            runner.allocate(part)
    else:
        _check_dtypes(path, signature)
        runner.allocate(signature, job.input_sizes)
    ready_ns = time.perf_counter_ns()
    loaded = Loaded(
        program_ns=opened_ns - start_ns,
        method_ns=ready_ns - read_ns,
        program_bytes=path.stat().st_size,
        planned_bytes=None,
        settings={"threads": str(job.threads), "delegated": runner.delegated(signature)},
    )
    if model is not None:
        generation = Generation(model, runner.step(model))
        return LoadedModel(description, loaded, generation.execute, arrange=generation.arrange)

    import numpy as np

    def arrange(inputs: Sequence[Any]) -> Sequence[Any]:
        return [np.asarray(each) for each in inputs]

    execute = runner.whole(signature)
    all_logits, window = all_logits_of(description, execute, arrange)
    return LoadedModel(description, loaded, execute, all_logits, window, arrange=arrange)


class _Runner:
    """Calls the signatures of an interpreter, its memory planned beforehand for the sizes of their inputs."""

    def __init__(self, path: Path, interpreter: Any) -> None:
        self._path, self._interpreter = path, interpreter
        self._native = interpreter._interpreter
        self._sizes: dict[int, list[tuple[int, ...]]] = {}

    def allocate(self, signature: Signature, sizes: Sequence[Sequence[int]] | None = None) -> None:
        """Plan memory for inputs of these sizes; of those that the file declares where none are given. Raises
        ModelError where the graph cannot be run with them.
        """
        declared = [[1 if size is None else size for size in each["sizes"]] for each in signature.inputs]
        wanted = [tuple(map(int, each)) for each in (declared if sizes is None else sizes)]
        if self._sizes.get(signature.graph) == wanted:
            return
        import numpy as np

        try:
            for each, tensor, own in zip(signature.inputs, signature.input_tensors, wanted, strict=True):
                if any(each["dynamic"]):
                    self._native.ResizeInputTensor(tensor, np.array(own, np.int32), True, signature.graph)
            self._native.AllocateTensors(signature.graph)
        except (RuntimeError, ValueError) as error:
            what, todo = explain(str(error))
            raise ModelError(f"LiteRT cannot prepare {self._path}: {what}.", todo) from error
        self._sizes[signature.graph] = wanted

    def whole(self, signature: Signature) -> Callable[[Sequence[Any]], Sequence[Any]]:
        """Inputs to outputs, arrays of numpy. Another size of an input than before costs a plan of memory."""
        native, graph = self._native, signature.graph

        def execute(inputs: Sequence[Any]) -> Sequence[Any]:
            sizes = [array.shape for array in inputs]
            if self._sizes[graph] != sizes:
                self.allocate(signature, sizes)
            for tensor, array in zip(signature.input_tensors, inputs, strict=True):
                native.SetTensor(tensor, array, graph)
            native.Invoke(graph)
            return [native.GetTensor(tensor, graph) for tensor in signature.output_tensors]

        return execute

    def step(self, model: LanguageModel) -> Execute:
        """How a signature of a language model is run."""
        import numpy as np

        native = self._native
        signatures = (model.decode, *model.prefills)
        inputs = {each.graph: _places(each.inputs, each.input_tensors) for each in signatures}
        outputs = {each.graph: _places(each.outputs, each.output_tensors) for each in signatures}

        # A new sequence does not see what lies in the cache, which must be numbers all the same.
        for graph, given in inputs.items():
            for part in model.cache:
                native.tensor(native, given[part], graph).fill(0)

        def execute(signature: Signature, feed: dict[str, Any], last: Signature | None) -> Any:
            graph, given, made = signature.graph, inputs[signature.graph], outputs[signature.graph]
            for own, array in feed.items():
                native.SetTensor(given[own], array, graph)
            if last is not None:
                # Views are made for each copy: LiteRT cannot plan its memory again while one is held.
                for part, left in ((part, outputs[last.graph][part]) for part in model.cache):
                    np.copyto(native.tensor(native, given[part], graph), native.tensor(native, left, last.graph))
            native.Invoke(graph)
            return native.GetTensor(made[LOGITS], graph) if LOGITS in made else None

        return execute

    def delegated(self, signature: Signature) -> str:
        """Which delegate computes, and how many operators it left; LiteRT says so of the first subgraph alone."""
        native = self._native
        if signature.graph != 0:
            return "not known for this signature"
        names = [native.NodeName(node) for node in range(native.NumNodes())]
        parts = [node for node, kind in enumerate(names) if kind == _DELEGATED]
        total = len(names) - len(parts)
        if not parts:
            return "none"
        makers = {
            int(tensor): node
            for node, kind in enumerate(names)
            if kind != _DELEGATED
            for tensor in native.NodeOutputs(node)
        }
        taken = set[int]()
        for part in parts:
            given = {int(tensor) for tensor in native.NodeInputs(part)}
            open_tensors = [int(tensor) for tensor in native.NodeOutputs(part)]
            while open_tensors:
                tensor = open_tensors.pop()
                if tensor not in given and (node := makers.get(tensor)) is not None and node not in taken:
                    taken.add(node)
                    open_tensors += [int(source) for source in native.NodeInputs(node)]
        return f"XNNPACK in {len(parts)} parts, {total - len(taken)} of {total} operators outside"


def _places(described: Sequence[dict[str, Any]], tensors: Sequence[int]) -> dict[str, int]:
    return {each["name"]: tensor for each, tensor in zip(described, tensors, strict=True)}


def _read(path: Path) -> LiteRTFile:
    """What the file says of itself. Raises ModelError where LiteRT must not open it."""
    from harness.worker.runtimes.litert_file import check_litert, read_litert

    file = read_litert(path)
    check_litert(path, file)
    return file


def _open(path: Path, threads: int, delegate: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    own = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        return Interpreter(
            model_path=str(path),
            num_threads=threads,
            experimental_op_resolver_type=own if delegate == "none" else OpResolverType.BUILTIN,
        )
    except (RuntimeError, ValueError) as error:
        what, todo = explain(str(error))
        raise ModelError(f"LiteRT refuses {path}: {what}.", todo) from error


def _describe(path: Path, file: LiteRTFile) -> tuple[Describe, LanguageModel | None]:
    metadata = {key: _value(text) for key, text in file.metadata.items() if key.startswith(("get_", "use_"))}
    model = find_language_model(file, metadata)
    if model is not None:
        return model.describe(metadata), model
    methods: list[dict[str, Any]] = [
        {
            "name": signature.name,
            "planned_bytes": None,
            "delegates": [],
            "inputs": signature.inputs,
            "outputs": signature.outputs,
            "ranges": {},
        }
        for signature in file.signatures
    ]
    return Describe(format="tflite", methods=methods, metadata=metadata, delegates=[]), None


def _value(text: str) -> int | str:
    """Metadata are texts, filled up with zeros; whole numbers among them are those of ExecuTorch's constant methods."""
    text = text.rstrip("\0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text


def _check_dtypes(path: Path, signature: Signature) -> None:
    for tensor in (*signature.inputs, *signature.outputs):
        if tensor["dtype"] not in _MEASURABLE:
            kind = "a text" if tensor["kind"] == "str" else tensor["dtype"]
            raise ModelError(f"{tensor['name']} of {path} is {kind}, which harness cannot give or read.", _NO_NUMPY)
