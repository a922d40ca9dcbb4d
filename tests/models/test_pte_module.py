"""A user's compressed module as a program: which kernels it gets, and that a wrong one is never given out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.nets import images, mixed
from torch import Tensor, nn

import harness.models
from harness.errors import ModelError, UsageError
from harness.models.compress.apply import Compressed
from harness.models.export import pte_module
from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.pte import lowered_to_pte
from harness.models.export.pte_module import OutlierLinear, check_module_pte, deployed, export_module_pte, precision_of
from harness.models.export.quantised_linear import QuantisedLinear

NEEDED: dict[str, dict[str, Any]] = {"grouped-query": {"heads": 8, "kv_heads": 2, "separate": ("second",)}}


def small(method: str, **options: Any) -> Compressed:
    return harness.models.compress(mixed(), method=method, calibration=images(), **(NEEDED.get(method, {}) | options))


def kernels(path: Path, x: Tensor) -> list[str]:
    """The names that XNNPACK gives the products of a program."""
    from executorch.devtools import Inspector
    from executorch.extension.pybindings.portable_lib import _load_for_executorch

    program = _load_for_executorch(str(path), enable_etdump=True)
    program.forward([x])
    program.write_etdump_result_to_file(f"{path}.etdp")
    events = [event.name for block in Inspector(etdump_path=f"{path}.etdp").event_blocks for event in block.events]
    return [name for name in events if name.startswith("Fully Connected")]


EXPORTED = ("gptq", "llm-int8", "zero-point", "svd", "tucker", "tensor-train-matrix", "hypoformer", "grouped-query")
"""One for each form in which weights are stored."""


@pytest.mark.parametrize("method", EXPORTED)
def test_every_form_gives_a_program_that_computes_the_compressed_model(method: str, tmp_path: Path) -> None:
    compressed, path = small(method), tmp_path / "small.pte"
    measured = export_module_pte(compressed, mixed(), path, [(images(6),)])
    assert measured["difference"] <= 0.05
    assert measured["parent_snr_db"] is not None
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    execute = program.load_method("forward")
    assert execute is not None
    with torch.no_grad():
        expected = compressed.module(images(6))
        difference = (execute.execute([images(6)])[0] - expected).square().mean().sqrt() / expected.std()
    assert difference < (0.1 if "int" in precision_of(compressed) else 1e-4)


@pytest.mark.parametrize(
    ("method", "options", "kernel", "precision"),
    [
        ("absmax", {}, "QC8W", "fp32+int8"),
        ("gptq", {"bits": 3}, "QC4W", "fp32+int4-channel"),
        ("awq", {"bits": 4, "group": 32}, "QB4W", "int4-group32"),
        ("zero-point", {}, "F32", "fp32"),
        ("svd", {}, "F32", "fp32"),
    ],
)
def test_the_kernels_are_those_that_the_record_names(
    method: str, options: dict[str, Any], kernel: str, precision: str, tmp_path: Path
) -> None:
    compressed, path = small(method, **options), tmp_path / "small.pte"
    export_module_pte(compressed, mixed(), path, [(images(6),)])
    with library_noise_hidden():
        names = kernels(path, images(6))
    products = sum(
        3 if layer.runs_as == "float32" else 1 for layer in compressed.record.layers if layer.kind == "linear"
    )
    assert len(names) >= min(3, products)
    assert all(kernel in name for name in names if method != "awq")
    assert any(kernel in name for name in names)
    assert precision_of(compressed) == precision


def test_a_step_that_is_lost_is_noticed(tmp_path: Path) -> None:
    """torchao's int8 weight-only through XNNPACK, exported as the subclass of a tensor that it is (without
    `unwrap_tensor_subclass`): the delegate returns products without the steps of the channels.
    """
    quantization = pytest.importorskip("torchao.quantization")
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(64, 32), nn.LayerNorm(32), nn.Linear(32, 8)).eval(), torch.randn(16, 64)
    weight_only = nn.Sequential(nn.Linear(64, 32), nn.LayerNorm(32), nn.Linear(32, 8)).eval()
    weight_only.load_state_dict(net.state_dict())
    path = tmp_path / "weight-only.pte"
    with library_noise_hidden(), torch.no_grad():
        quantization.quantize_(weight_only, quantization.Int8WeightOnlyConfig())
        exported = torch.export.export(weight_only, (x,))
        path.write_bytes(lowered_to_pte({"forward": exported}, {}))
        with pytest.raises(ModelError, match="computes something else than its model: outputs differ by"):
            check_module_pte(path, weight_only, net, [(x,)], 0.05)
    ours = harness.models.compress(net, method="absmax")
    assert export_module_pte(ours, net, tmp_path / "ours.pte", [(x,)])["parent_snr_db"] > 30


def test_a_wrong_program_is_refused_when_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_another(methods: dict[str, Any], constants: dict[str, Any]) -> bytes:
        other = mixed(seed=1)
        return lowered_to_pte({"forward": torch.export.export(other, (images(6),))}, constants)

    monkeypatch.setattr(pte_module, "lowered_to_pte", of_another)
    with pytest.raises(ModelError, match="computes something else than its model"):
        export_module_pte(small("absmax"), mixed(), tmp_path / "x.pte", [(images(6),)])


def test_outliers_stay_in_float() -> None:
    compressed = small("llm-int8", threshold=2.0)
    module, integers = deployed(compressed)
    assert integers
    layer = module.get_submodule("first")
    assert isinstance(layer, OutlierLinear)
    x = torch.randn(7, 64)
    expected = compressed.module.get_submodule("first")(x)
    assert (layer(x) - expected).norm() < 0.02 * expected.norm()
    outlying = torch.zeros(7, 64)
    outlying[:, layer.columns] = torch.randn(7, len(layer.columns)) * 100
    torch.testing.assert_close(
        layer(outlying), compressed.module.get_submodule("first")(outlying), atol=1e-3, rtol=1e-4
    )


def test_a_dynamic_batch_and_embeddings_are_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(50, 64), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    tokens = torch.randint(0, 50, (2, 7))
    compressed = harness.models.compress(
        net, method="gptq", embedding_bits=8, calibration=torch.randint(0, 50, (64, 7))
    )
    dynamic = ({0: torch.export.Dim("batch", min=1, max=8)},)
    path = tmp_path / "tokens.pte"
    batches = [(tokens,), (torch.randint(0, 50, (8, 7)),), (torch.randint(0, 50, (1, 7)),)]
    export_module_pte(compressed, net, path, batches, dynamic)
    assert path.stat().st_size < 20_000  # the table alone has 12,800 bytes in float32
    assert isinstance(deployed(compressed)[0].get_submodule("1"), QuantisedLinear)


def test_a_model_that_cannot_be_traced_is_one_sentence(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.layer(x) if x.sum() > 0 else x)

    net = Branching()
    with pytest.raises(UsageError, match=r"torch.export cannot trace this model \("):
        export_module_pte(
            harness.models.compress(net, method="absmax"), net, tmp_path / "x.pte", [(torch.randn(2, 8),)]
        )
    assert not list(tmp_path.iterdir())
