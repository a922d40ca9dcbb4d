"""A user's own model in the format of each runtime, run by that runtime's own library and by `harness run`."""

from __future__ import annotations

import json
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli.driving import QUICK, Home

from harness.errors import ModelError
from harness.models.export import module_files

NET = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))

        def forward(self, x):
            return self.layers(x), x.argmax(-1)

    def made():
        batch = torch.export.Dim("batch", min=1, max=16)
        return Net(), (torch.randn(4, 8),), {"x": {0: batch}}

    def bare():
        return Net()

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.embed, self.head = nn.Embedding(16, 8), nn.Linear(8, 16)

        def forward(self, tokens):
            return self.head(self.embed(tokens).cumsum(1))[:, -1]

    def language():
        length = torch.export.Dim("length", min=1, max=12)
        facts = {"get_vocab_size": 16, "get_max_seq_len": 12, "use_kv_cache": False}
        return Words(), (torch.ones(1, 3, dtype=torch.int64),), {"tokens": {1: length}}, facts

    class Strange(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    def strange():
        return Strange(), (torch.randn(4, 8),)
"""


@pytest.fixture
def net(home: Home) -> Path:
    path = home.folder / "net.py"
    path.write_text(textwrap.dedent(NET))
    return path


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def test_a_model_is_written_for_executorch_and_pytorch_and_measured(home: Home, net: Path) -> None:
    made = [home.folder / "net.pte", home.folder / "small.pte", home.folder / "net.pt2"]
    for path, more in zip(made, ([], ["--precision", "int8"], []), strict=True):
        ended = home.harness("models", "export", f"{net}:made", "--output", path, *more)
        assert ended.code == 0, ended.err
        assert ended.out.strip().endswith(path.name)
        assert path.with_name(f"{path.name}.json").exists(), "its manifest"
    models = [part for path in made for part in ("-m", path)]
    ended = home.harness("run", "-t", "x86", *models, "--batch", 2, "-n", 1, "--no-memory", *QUICK)
    assert ended.code == 0, ended.err
    assert {(run["model"], run["precision"]) for run in home.rows()} >= {("net.pte", "fp32"), ("small", "int8")}


@needs("onnx", "onnxscript", "onnxruntime")
def test_a_model_is_written_for_onnx_runtime(home: Home, net: Path) -> None:
    ended = home.harness("models", "export", f"{net}:made", "--output", home.folder / "net.onnx")
    assert ended.code == 0, ended.err
    ended = home.harness("run", "-t", "x86", "-m", home.folder / "net.onnx", "-n", 1, "--no-memory", *QUICK)
    assert ended.code == 0, ended.err


@needs("openvino")
def test_a_model_is_written_for_openvino(home: Home, net: Path) -> None:
    ended = home.harness("models", "export", f"{net}:made", "--output", home.folder / "net.xml")
    assert ended.code == 0, ended.err
    assert (home.folder / "net.bin").exists(), "its weights"
    ended = home.harness(
        "run", "-t", "x86", "-m", home.folder / "net.xml", "--batch", 4, "-n", 1, "--no-memory", *QUICK
    )
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("suffix", [".pte", ".pt2"])
def test_constants_make_a_language_model(home: Home, net: Path, suffix: str) -> None:
    path = home.folder / f"words{suffix}"
    assert home.harness("models", "export", f"{net}:language", "--output", path).code == 0
    said = home.harness("models", "inspect", path).out
    assert "language model by its tokens alone, without a KV cache" in said
    assert "context of 12 tokens, vocabulary of 16" in said
    ended = home.harness("run", "-t", "x86", "-m", path, "-n", 1, "--no-memory", "--json", *QUICK)
    assert ended.code == 0, ended.err
    (comparison,) = json.loads(ended.out)["data"]["comparisons"]
    assert comparison["condition"]["scenario"] == "generate"


@pytest.mark.parametrize(
    ("function", "output", "more", "says"),
    [
        ("made", "net.tar", [], "ends in none of .pte, .pt2, .onnx, .xml"),
        ("made", "net.onnx", ["--precision", "int4"], ".onnx is written in fp32 only"),
        ("bare", "net.pte", [], "returns no inputs to trace the model with"),
        ("strange", "net.pte", [], "Torch.export cannot trace this model"),
        ("language", "net.onnx", [], ".onnx has no constants"),
        ("nothing", "net.pte", [], "has no nothing"),
    ],
)
def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(
    home: Home, net: Path, function: str, output: str, more: list[str], says: str
) -> None:
    before = set(home.folder.iterdir())
    ended = home.harness("models", "export", f"{net}:{function}", "--output", home.folder / output, *more)
    assert ended.code == 2
    assert says in " ".join(ended.err.split())
    assert {path for path in home.folder.iterdir() if path.name != "__pycache__"} == before


def test_a_file_that_computes_something_else_is_not_given_out(
    net: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from harness.models.compress.user_module import load_function

    made = load_function(f"{net}:made")
    assert made.inputs is not None
    honest = module_files._READERS[".pt2"]

    def lying(path: Path) -> module_files.Execute:
        execute = honest(path)
        return lambda batch: [execute(batch)[0] * 1.01, *execute(batch)[1:]]

    monkeypatch.setitem(module_files._READERS, ".pt2", lying)
    with pytest.raises(ModelError, match="computes something else than its model"):
        module_files.export_module(made.module, tmp_path / "net.pt2", [made.inputs])
