"""The program that generates in PyTorch computes what the GPT computes, cut or whole, and keeps its own state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from harness.errors import ModelError
from harness.models.export import pt2_generating
from harness.models.export.deployment import Body
from harness.models.export.pt2_generating import Cached, check_cached, export_cached
from harness.models.gpt.architecture import BlockShape, GPTConfig
from harness.models.gpt.network import GPT

CONTEXT = 8
SIZES = {"vocabulary_size": 11, "context": CONTEXT, "layers": 2, "heads": 2, "width": 16}
# A cut GPT: unequal blocks, one of them without attention.
SHAPES = (BlockShape(2, 3, 5, 7, (0, 2, 5), (1, 3)), BlockShape(0, 0, 0, 6))


@pytest.fixture(params=[None, SHAPES], ids=["whole", "cut"])
def gpt(request: pytest.FixtureRequest) -> GPT:
    torch.manual_seed(3)
    model = GPT(GPTConfig(**SIZES, shapes=request.param)).eval()  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.requires_grad_(False).mul_(3.0)  # far from uniform: a wrong mask or place must show
    return model


def test_the_file_computes_the_model_and_says_what_a_pte_says(gpt: GPT, tmp_path: Path) -> None:
    path = tmp_path / "gpt.pt2"
    export_cached(gpt, path)
    extra = {pt2_generating.METADATA: ""}
    program = torch.export.load(path, extra_files=extra)
    assert json.loads(extra[pt2_generating.METADATA])["get_max_seq_len"] == CONTEXT
    module = program.module()
    tokens = torch.randint(11, (1, CONTEXT), generator=torch.Generator().manual_seed(5))
    for length in range(1, CONTEXT + 1):  # every length of a prompt, and every place of a token after it
        parts = [module(tokens[:, :length], torch.tensor([0]))]
        parts += [module(tokens[:, i : i + 1], torch.tensor([i])) for i in range(length, CONTEXT)]
        torch.testing.assert_close(torch.cat(parts, 1), gpt(tokens), atol=1e-4, rtol=1e-4)


def test_nothing_is_read_back_from_the_device(gpt: GPT, tmp_path: Path) -> None:
    """Or else a graph of CUDA could not be captured."""
    export_cached(gpt, tmp_path / "gpt.pt2")
    targets = {str(node.target) for node in torch.export.load(tmp_path / "gpt.pt2").graph.nodes}
    assert not any(word in target for target in targets for word in ("item", "_local_scalar_dense", "nonzero"))
    # Written where it lies: a copy of the whole cache for each token would cost more than the token.
    assert any("index_copy_" in target for target in targets)


def test_a_file_that_computes_something_else_is_refused(gpt: GPT, tmp_path: Path) -> None:
    path = tmp_path / "gpt.pt2"
    export_cached(gpt, path)
    with torch.no_grad():
        gpt.final_norm.weight.mul_(1.01)
    with pytest.raises(ModelError, match="computes something else"):
        check_cached(gpt, path)


def test_a_sequence_does_not_see_the_one_before(gpt: GPT) -> None:
    program = Cached(Body(gpt)).eval()
    first, second = torch.arange(CONTEXT).reshape(1, -1), torch.arange(CONTEXT).flip(0).reshape(1, -1)
    program(first, torch.tensor([0]))
    torch.testing.assert_close(program(second, torch.tensor([0])), gpt(second), atol=1e-4, rtol=1e-4)
