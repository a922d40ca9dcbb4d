"""The LiteRT file of a GPT computes what the GPT computes, in every precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.errors import ModelError, UsageError
from harness.job import Files, Job
from harness.model_description import is_language_model, longest_prompt
from harness.models.export import tflite as export_module
from harness.models.export.tflite import check_tflite, export_tflite
from harness.models.gpt.architecture import BlockShape, GPTConfig
from harness.models.gpt.network import GPT

CONTEXT, VOCABULARY = 8, 11
SIZES = {"vocabulary_size": VOCABULARY, "context": CONTEXT, "layers": 3, "heads": 2, "width": 32}
# Cut GPTs: unequal blocks, one without attention, the last without a feed-forward layer or without attention.
SHAPES = (BlockShape(2, 3, 5, 7, (0, 2, 5), (1, 3)), BlockShape(0, 0, 0, 6), BlockShape(1, 4, 6, 0))
SILENT_LAST = (BlockShape(1, 4, 6, 0), BlockShape(2, 3, 5, 7), BlockShape(0, 0, 0, 6))
TEXT = torch.randint(VOCABULARY, (4 * CONTEXT,), generator=torch.Generator().manual_seed(9))


def gpt(shapes: tuple[BlockShape, ...] | None) -> GPT:
    torch.manual_seed(3)
    model = GPT(GPTConfig(**SIZES, shapes=shapes)).eval()  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False).mul_(3.0)  # far from uniform: a wrong mask or place must show
        if "norm" in name:
            parameter.add_(torch.rand(parameter.shape))
    return model


def test_another_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no precision"):
        export_tflite(gpt(None), tmp_path / "m.tflite", "fp16", TEXT)


@pytest.fixture(scope="module", params=[SHAPES, SILENT_LAST], ids=["cut", "silent-last"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[GPT, Path]:
    pytest.importorskip("litert_torch", reason="litert-torch is not installed (the extra tflite; it brings jax)")
    model, path = gpt(request.param), tmp_path_factory.mktemp("tflite") / "m.tflite"
    export_tflite(model, path, "fp32", TEXT)
    return model, path


def test_the_file_computes_the_model_at_every_length_of_a_prompt(exported: tuple[GPT, Path]) -> None:
    from harness.worker.generation import LanguageInputs
    from harness.worker.runtimes import litert

    gpt_model, path = exported
    job = Job(target="x86", model="m", model_sha256="0" * 64, scenario="generate")
    model = litert.load(path, job, Files(model=str(path)))
    assert is_language_model(model.description)
    assert longest_prompt(model.description) == CONTEXT
    inputs, tokens = LanguageInputs(model.description, model.arrange), TEXT[None, :CONTEXT].int()
    for prompt in range(1, CONTEXT + 1):
        rows = [model.execute(inputs.at(tokens[:, :prompt], 0))[0]]
        rows += [model.execute(inputs.at(tokens[:, at : at + 1], at))[0] for at in range(prompt, CONTEXT)]
        computed: Tensor = torch.from_numpy(np.concatenate(rows))
        torch.testing.assert_close(computed, gpt_model(tokens)[0, prompt - 1 :], atol=1e-4, rtol=1e-4)


def test_a_file_that_computes_something_else_is_refused(exported: tuple[GPT, Path]) -> None:
    other, path = gpt(exported[0].config.shapes), exported[1]
    with torch.no_grad():
        other.final_norm.weight[0] += 1
    with pytest.raises(ModelError, match="computes something else"):
        check_tflite(other, path, "fp32", TEXT)


@pytest.mark.parametrize("precision", ["int8", "int4-channel", "int4-group32"])
def test_rounded_files_are_small_and_say_how_far_off_they_are(precision: str, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="litert-torch is not installed (the extra tflite; it brings jax)")
    from ai_edge_litert import schema_py_generated as schema

    path = tmp_path / "m.tflite"
    checked = export_tflite(gpt(None), path, precision, TEXT)
    assert 1e-3 < checked["logits_difference_spreads"] <= export_module.TOLERANCE[precision]
    assert checked["checked_tokens"] >= len(TEXT)
    file = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    products = schema.BuiltinOperator.FULLY_CONNECTED
    kinds = []
    for graph in file.subgraphs:
        for operator in graph.operators:
            if file.operatorCodes[operator.opcodeIndex].builtinCode == products:
                kinds.append(graph.tensors[operator.inputs[1]].type)
    narrow = schema.TensorType.INT8 if precision == "int8" else schema.TensorType.INT4
    # Four products of a block, one more in the last, whose queries are by themselves; and the readout.
    assert len(kinds) == 2 * (3 * 4 + 1 + 1)
    assert kinds.count(narrow) >= len(kinds) - 2
    assert set(kinds) <= {narrow, schema.TensorType.INT8}
