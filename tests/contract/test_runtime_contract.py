"""What every runtime keeps (`harness.runtime_contract`), for each that is installed: those of harness, on models of
their formats, and others, which have such a test of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_on_disk import BATCH, WIDTH, Models
from worker.driving import ask_forked

from harness.job import Files, Job
from harness.runtime import GROUP, runtime_names
from harness.runtime_contract import ContractModel, RuntimeContract, WorkerRun


def _mlp(models: Models, x: np.ndarray) -> Sequence[np.ndarray]:
    """The model computed by numpy."""
    with np.load(models.folder / "mlp.npz") as w:
        return [np.maximum(x @ w["0.weight"].T + w["0.bias"], 0) @ w["2.weight"].T + w["2.bias"]]


def _pte(models: Models, folder: Path) -> ContractModel:
    sizes = ((BATCH, WIDTH),)
    return ContractModel(models.mlp, sizes, partial(_mlp, models), batches=(1, BATCH), heavy=models.deep)


def _pt2(models: Models, folder: Path) -> ContractModel:
    import torch

    wide = torch.nn.Linear(512, 512).requires_grad_(False)
    torch.export.save(torch.export.export(wide, (torch.randn(64, 512),)), folder / "wide.pt2")
    reference = partial(_mlp, models)
    return ContractModel(models.mlp_pt2, ((BATCH, WIDTH),), reference, batches=(2, BATCH), heavy=folder / "wide.pt2")


def _onnx(models: Models, folder: Path) -> ContractModel:
    from onnx_on_disk import write_deep, write_mlp

    path, heavy = write_mlp(folder / "mlp.onnx", models.folder / "mlp.npz"), write_deep(folder / "deep.onnx")
    return ContractModel(path, ((BATCH, WIDTH),), partial(_mlp, models), batches=(1, BATCH), heavy=heavy)


def _xml(models: Models, folder: Path) -> ContractModel:
    from openvino_on_disk import write_deep, write_mlp

    path, heavy = write_mlp(folder / "mlp.xml", models.folder / "mlp.npz"), write_deep(folder / "deep.xml")
    sizes = ((BATCH, WIDTH),)
    # In bfloat16, which is what it takes on a processor that has it.
    return ContractModel(path, sizes, partial(_mlp, models), batches=(1, BATCH), heavy=heavy, tolerance=0.02)


def _tflite(models: Models, folder: Path) -> ContractModel:
    from litert_on_disk import write_deep, write_mlp

    path, heavy = write_mlp(folder / "mlp.tflite", models.folder / "mlp.npz"), write_deep(folder / "deep.tflite")
    return ContractModel(path, ((BATCH, WIDTH),), partial(_mlp, models), batches=(1, BATCH), heavy=heavy)


def _gguf(models: Models, folder: Path) -> ContractModel:
    from gguf_on_disk import CONTEXT, VOCABULARY, gpt2_logits, weights, write_gpt2

    def reference(tokens: np.ndarray, _: np.ndarray) -> Sequence[np.ndarray]:
        return [gpt2_logits(tokens[0])[-1:]]

    path, heavy = folder / "lm.gguf", write_gpt2(folder / "heavy.gguf", weights(256, 2, 64, 64))
    # The cache is f16, and GELU a table of f16.
    return ContractModel(
        write_gpt2(path), ((1, CONTEXT), (1,)), reference, tolerance=0.03, heavy=heavy, vocabulary=VOCABULARY
    )


def _bound(models: Models, folder: Path) -> ContractModel:
    from bound_on_disk import CONTEXT, VOCABULARY, logits, weights, write_bound

    def reference(tokens: np.ndarray, _: np.ndarray) -> Sequence[np.ndarray]:
        return [logits(tokens[0])[-1:]]

    path, heavy = folder / "lm.bound", write_bound(folder / "heavy.bound", weights(256, 64, 4))
    return ContractModel(
        write_bound(path), ((1, CONTEXT), (1,)), reference, tolerance=1e-4, heavy=heavy, vocabulary=VOCABULARY
    )


def _lm(models: Models, folder: Path) -> Path:
    return models.lm


def _lm_pt2(models: Models, folder: Path) -> Path:
    return models.lm_pt2


def _lm_onnx(models: Models, folder: Path) -> Path:
    from onnx_on_disk import write_language_model

    return write_language_model(folder / "lm.onnx")


def _lm_xml(models: Models, folder: Path) -> Path:
    from openvino_on_disk import write_language_model

    return write_language_model(folder / "lm.xml")


def _lm_tflite(models: Models, folder: Path) -> Path:
    from litert_on_disk import write_language_model

    return write_language_model(folder / "lm.tflite")


def _lm_bound(models: Models, folder: Path) -> Path:
    from bound_on_disk import write_bound

    return write_bound(folder / "lm.bound")


def _lm_gguf(models: Models, folder: Path) -> Path:
    from gguf_on_disk import write_llama

    return write_llama(folder / "llama.gguf")


# The model, the language model, and the arguments of the worker. A GPU's runtimes run where there is one; the processor
# stands in for it where that is possible.
MODELS: dict[str, tuple[Callable[[Models, Path], ContractModel], Callable[[Models, Path], Path], tuple[str, ...]]] = {
    "bound": (_bound, _lm_bound, ()),
    "executorch": (_pte, _lm, ()),
    "executorch-cuda": (_pte, _lm, ("cuda",)),
    "litert": (_tflite, _lm_tflite, ()),
    "llama.cpp": (_gguf, _lm_gguf, ()),
    "onnxruntime": (_onnx, _lm_onnx, ()),
    "openvino": (_xml, _lm_xml, ()),
    "torch": (_pt2, _lm_pt2, ()),
    "torch-cuda": (_pt2, _lm_pt2, ("cuda", "cpu")),
}


class TestInstalledRuntime(RuntimeContract):
    @pytest.fixture(autouse=True, params=runtime_names())
    def _choose(self, request: pytest.FixtureRequest, models: Models) -> None:
        self.runtime, self._models = request.param, models
        if self.runtime not in MODELS:
            pytest.skip(f"the package of {self.runtime} tests it (`docs/adding-a-runtime.md`)")
        *_, self.arguments = MODELS[self.runtime]

    def finish(self, job: Job, files: Files) -> WorkerRun:
        """Forked from a process that has imported torch, but where the process itself is what counts."""
        if job.scenario == "cold-start" or job.measure == "memory":
            return super().finish(job, files)
        ended = ask_forked(job, files, self.arguments)
        return WorkerRun(ended.events, ended.code, ended.stderr)

    def model(self, folder: Path) -> ContractModel:
        return MODELS[self.runtime][0](self._models, folder)

    def language_model(self, folder: Path) -> Path | None:
        return MODELS[self.runtime][1](self._models, folder)


def test_every_runtime_of_harness_is_tested() -> None:
    points: Any = distribution("edge-harness").entry_points.select(group=GROUP)
    assert {point.name for point in points} == set(MODELS)
