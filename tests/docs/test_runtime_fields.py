"""The fields that `docs/adding-a-runtime.md` lists are those that there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from docs.sources import PAGES

from harness import model_description
from harness.protocol import Describe, Loaded
from harness.runtime import LoadedModel, RuntimeCapabilities
from harness.worker.runtimes import litert, onnxruntime, torch

PAGE = PAGES["docs/adding-a-runtime.md"]
KEYS_OF_A_METHOD = {"name", "inputs", "outputs", "planned_bytes", "delegates", "ranges"}


def listed(before: str) -> set[str]:
    """The first column of the table behind the line `before`."""
    table = PAGE.split(f"\n{before}\n", 1)[1].strip().split("\n\n")[0]
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


@pytest.mark.parametrize(
    ("kind", "before"), [(Describe, "`Describe`:"), (LoadedModel, "`LoadedModel`:"), (Loaded, "`Loaded`:")]
)
def test_each_field_is_listed_and_no_other(kind: Any, before: str) -> None:
    assert listed(before) == {field.name for field in fields(kind)}


def test_each_capability_is_listed_and_no_other() -> None:
    before = "the name of a runtime."
    assert listed(before) == {field.name for field in fields(RuntimeCapabilities)}


def test_each_key_of_an_input_is_listed_and_no_other() -> None:
    assert model_description.__doc__ is not None
    named = set(re.findall(r"`(\w+)`", model_description.__doc__.split("An input or output", 1)[1]))
    kinds = {"tensor", "int", "float", "bool", "str", "none", "list"}
    assert listed("An input or output:") == named - kinds - {"pte", "pt2"} | {"name"}


def _onnx(folder: Path) -> dict[str, Any]:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    from onnx_on_disk import write_language_model

    return onnxruntime.describe(write_language_model(folder / "lm.onnx")).methods[0]


def _tflite(folder: Path) -> dict[str, Any]:
    pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")
    from litert_on_disk import write_language_model

    return litert.describe(write_language_model(folder / "lm.tflite")).methods[0]


def _pt2(folder: Path) -> dict[str, Any]:
    from torch import nn, randn
    from torch.export import export, save

    save(export(nn.Linear(3, 2), (randn(1, 3),)), folder / "m.pt2")
    return torch.describe(folder / "m.pt2").methods[0]


@pytest.mark.parametrize("describe", [_onnx, _tflite, _pt2])
def test_the_runtimes_of_harness_describe_by_these_keys(
    describe: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    method = describe(tmp_path)
    assert listed("A method:") == KEYS_OF_A_METHOD == set(method)
    assert {key for each in (*method["inputs"], *method["outputs"]) for key in each} <= listed("An input or output:")
