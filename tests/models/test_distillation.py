from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from harness.models.compress.distillation import Distillation, divergence
from harness.models.gpt.architecture import GPTConfig
from harness.models.gpt.network import GPT
from harness.models.recipe import DistillationRecipe, TrainingRecipe
from harness.models.train.data import Corpus
from harness.models.train.loop import train

Seeded = Callable[..., GPT]


@given(seed=st.integers(0, 10_000), temperature=st.floats(0.5, 8))
def test_logits_are_pulled_towards_the_teachers(seed: int, temperature: float) -> None:
    """The gradient is t times the difference of the softened distributions, by token: a step against it helps."""
    torch.manual_seed(seed)
    logits, teacher = (3 * torch.randn(2, 3, 5)).requires_grad_(), 3 * torch.randn(2, 3, 5)
    loss = divergence(logits, teacher, temperature)
    (gradient,) = torch.autograd.grad(loss, logits)
    apart = F.softmax(logits / temperature, -1) - F.softmax(teacher / temperature, -1)
    torch.testing.assert_close(gradient, temperature * apart / 6, atol=1e-6, rtol=1e-4)
    assert loss > 0
    assert divergence(logits - 0.1 * gradient, teacher, temperature) < loss


def test_equal_logits_cost_nothing() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss = divergence(logits, logits.detach() + 7, 2.0)  # a shift of all logits changes no distribution
    (gradient,) = torch.autograd.grad(loss, logits)
    assert abs(loss.item()) < 1e-6
    assert gradient.abs().max() < 1e-6


def test_a_known_divergence() -> None:
    """That of (3/4, 1/4) from (1/2, 1/2); with twice the logits, a temperature of 2 sees the same, counted 4 times."""
    student, teacher = torch.tensor([[[3.0, 1.0]]]).log(), torch.zeros(1, 1, 2)
    expected = 0.5 * torch.log(torch.tensor([0.5 / 0.75, 0.5 / 0.25])).sum()
    assert divergence(student, teacher, 1.0).item() == pytest.approx(expected.item())
    assert divergence(2 * student, teacher, 2.0).item() == pytest.approx(4 * expected.item())


def test_the_teacher_is_frozen_and_has_no_dropout(tiny: GPTConfig, seeded: Seeded) -> None:
    teacher = seeded(tiny).train()
    teacher.dropout.p = 0.5
    distillation = Distillation(teacher, DistillationRecipe(weight=0.5, temperature=2.0))
    tokens = torch.arange(2 * tiny.context).view(2, -1) % tiny.vocabulary_size
    logits = teacher(tokens).requires_grad_()
    assert distillation.output_loss(tokens, logits).item() == pytest.approx(0, abs=1e-6)
    other = (logits + torch.randn_like(logits)).detach().requires_grad_()
    loss = distillation.output_loss(tokens, other)
    assert loss.item() == pytest.approx(0.5 * divergence(other, logits, 2.0).item())
    loss.backward()  # type: ignore[no-untyped-call]
    assert other.grad is not None
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert distillation.description() == {"distillation": {"weight": 0.5, "temperature": 2.0}}


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_model_learns_what_its_teacher_says(
    tiny: GPTConfig, toy: Corpus, tmp_path: Path, seeded: Seeded, bfloat16: bool
) -> None:
    """A teacher that says what no text says is followed nonetheless, in both precisions."""
    teacher = seeded(tiny)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    tokens = torch.from_numpy(toy.validation[: tiny.context])[None]
    found = []
    for name, weight in (("alone", 1e-6), ("taught", 20.0)):
        torch.manual_seed(1)
        model = GPT(tiny)
        recipe = TrainingRecipe(steps=40, batch=4, seed=1, rate=1e-2, bfloat16=bfloat16)
        objective = Distillation(teacher, DistillationRecipe(weight=weight, temperature=1.0))
        train(model, toy, recipe, tmp_path / name, objective)
        found.append(divergence(model(tokens), teacher(tokens), 1.0).item())
    assert found[1] < 0.5 * found[0]
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
