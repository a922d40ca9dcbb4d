"""The two programs of fixed shapes compute what the GPT computes: at once, and by token with the cache outside."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from harness.models.export.deployment import Body
from harness.models.export.pt2_fixed_shapes import HIDDEN, Prefill, Step, export_static
from harness.models.gpt.architecture import BlockShape, GPTConfig
from harness.models.gpt.network import GPT
from harness.models.train import data
from harness.models.train.tokenizer import Characters
from harness.models.zoo.loading import load_for_fixed_shapes

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


def test_the_prefill_gives_the_logits_of_the_model(gpt: GPT) -> None:
    tokens = torch.randint(11, (1, CONTEXT), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Prefill(Body(gpt))(tokens)[0], gpt(tokens), atol=1e-4, rtol=1e-4)


def test_a_step_with_the_cache_of_the_prefill_gives_the_same_logits_at_every_place(gpt: GPT) -> None:
    tokens = torch.randint(11, (1, CONTEXT), generator=torch.Generator().manual_seed(1))
    logits, *kept = Prefill(Body(gpt))(tokens)
    step = Step(Body(gpt))
    caches = [cache.narrow(2 - index % 2, 0, CONTEXT - 1) for index, cache in enumerate(kept)]
    for position in range(CONTEXT):
        mask = torch.full((1, CONTEXT), HIDDEN)
        mask[0, :position] = mask[0, -1] = 0.0
        found, *new = step(tokens[:, position : position + 1], torch.tensor([position]), mask, *caches)
        torch.testing.assert_close(found[0, 0], logits[0, position], atol=1e-4, rtol=1e-4)
        for index, (alone, whole) in enumerate(zip(new, kept, strict=True)):
            torch.testing.assert_close(alone, whole.narrow(2 - index % 2, position, 1), atol=1e-4, rtol=1e-4)


def test_the_file_has_both_programs_and_text_of_both_parts(
    gpt: GPT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join("abcdefghijk"[(index * index) % 11] for index in range(2000))
    monkeypatch.setattr(data, "load_text", lambda path=None: text)
    export_static(gpt, Characters("abcdefghijk"), tmp_path / "gpt.pt2")
    with zipfile.ZipFile(tmp_path / "gpt.pt2") as archive:
        names = archive.namelist()
        (extra,) = [name for name in names if name.endswith("generation.json")]
        said = json.loads(archive.read(extra))
    assert {name.rpartition("/")[2] for name in names if "/models/" in name} == {"model.json", "step.json"}
    assert (said["vocabulary_size"], said["context"], said["masked"]) == (11, CONTEXT, HIDDEN)
    training, validation = data.split(text)
    for key, part in (("calibration", training), ("held_out", validation)):
        assert said[key]
        for window in said[key]:
            assert "".join("abcdefghijk"[token] for token in window) in part


def test_a_choice_of_channels_is_one_of_three() -> None:
    from harness.errors import UsageError

    with pytest.raises(UsageError, match="padded, exact, masked"):
        load_for_fixed_shapes("baseline-small", "thick")
