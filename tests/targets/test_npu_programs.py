"""What the simulated accelerator makes of a `.pt2` that generates: inputs of steps that continue what was prefilled."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from harness.errors import ModelError
from harness.model_description import is_language_model
from harness.models.export.pt2_fixed_shapes import export_static
from harness.models.gpt.architecture import GPTConfig
from harness.models.gpt.network import GPT
from harness.models.train import data
from harness.models.train.tokenizer import Characters
from harness.targets.simulated.description import describe_archive
from harness.targets.simulated.programs import Archive, phases, program, read_archive

LETTERS, CONTEXT = "abcdefghijk", 12


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    gpt = GPT(GPTConfig(vocabulary_size=len(LETTERS), context=CONTEXT, layers=2, heads=2, width=16)).eval()
    for parameter in gpt.parameters():
        parameter.requires_grad_(False).mul_(3.0)  # far from uniform: a wrong place or mask must show
    text = "".join(LETTERS[token] for token in torch.randint(len(LETTERS), (4000,)).tolist())
    found = tmp_path_factory.mktemp("programs") / "gpt.pt2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load_text", lambda path=None: text)
        export_static(gpt, Characters(LETTERS), found)
    return found


@pytest.fixture(scope="module")
def archive(path: Path) -> Archive:
    return read_archive(path)


def test_it_is_a_language_model_of_two_phases(archive: Archive) -> None:
    assert phases(archive) == ("prefill", "decode")
    assert is_language_model(describe_archive(archive))


@pytest.mark.parametrize("inputs", ["calibration", "held_out"])
def test_every_step_gives_the_logits_that_the_prefill_has_at_its_place(
    path: Path, archive: Archive, inputs: str
) -> None:
    prefill, step = (program(path, archive, phase) for phase in ("prefill", "decode"))
    windows, steps = getattr(prefill, inputs), getattr(step, inputs)
    whole, one = prefill.exported.module(check_guards=False), step.exported.module(check_guards=False)
    assert len(steps) == 8 * len(windows)
    assert {int(each[1]) for each in steps} == set(range(1, CONTEXT)), "every place but the first, which is prefilled"
    for number, each in enumerate(steps):
        position, cache = int(each[1]), each[3]
        logits = whole(*windows[number // 8])[0][0, position]
        torch.testing.assert_close(one(*each)[0][0, 0], logits, atol=1e-3, rtol=1e-3)
        assert not cache[..., position:].any(), "what was not yet said lies in no cache"
        assert all(tensor.is_contiguous() for tensor in each), "the lowered program would take another order"


def test_the_texts_to_calibrate_and_to_certify_on_differ(path: Path, archive: Archive) -> None:
    prefill = program(path, archive, "prefill")
    assert prefill.text
    known = {tuple(inputs[0].flatten().tolist()) for inputs in prefill.calibration}
    assert all(tuple(inputs[0].flatten().tolist()) not in known for inputs in prefill.held_out)


def test_an_archive_without_its_step_is_refused(path: Path, archive: Archive) -> None:
    half = dataclasses.replace(archive, programs={"model": archive.programs["model"]})
    with pytest.raises(ModelError, match="has no program `step`"):
        program(path, half, "decode")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pt2").write_bytes(b"PK not at all")
    with pytest.raises(ModelError, match="is damaged"):
        read_archive(tmp_path / "x.pt2")
