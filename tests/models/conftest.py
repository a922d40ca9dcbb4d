"""Tiny models and texts, so that all of these tests together take seconds."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from harness.models.gpt.network import GPT, GPTConfig
from harness.models.train.data import Corpus, corpus

TOY_TEXT = "the cat sat on the mat. the dog sat on the log. " * 60


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def toy() -> Corpus:
    """A text that a tiny model learns in a hundred steps."""
    return corpus(TOY_TEXT)


@pytest.fixture
def tiny(toy: Corpus) -> GPTConfig:
    return GPTConfig(vocabulary_size=toy.tokenizer.size, context=16, layers=2, heads=2, width=16)


@pytest.fixture(scope="session")
def seeded() -> Callable[..., GPT]:
    """Makes models whose every weight matters: drawn so widely that each channel moves the logits."""

    def make(config: GPTConfig, seed: int = 0) -> GPT:
        torch.manual_seed(seed)
        model = GPT(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(mean=1.0 if parameter.dim() == 1 else 0.0, std=0.3)
        return model

    return make


@pytest.fixture
def shakespeare() -> Path:
    """The real text."""
    return Path(str(files("harness.models.text") / "tinyshakespeare.txt"))
