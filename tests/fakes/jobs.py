"""Jobs and models to run them on, made of nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.experiment.plan import Subject
from harness.job import Job
from harness.manifest import sha256_file
from harness.protocol import Describe


def make_job(**changes: Any) -> Job:
    """A job of the fake target, with the fields given."""
    return replace(Job(target="fake", model="m", model_sha256="ab" * 32, scenario="single-stream"), **changes)


def perceptron(batch: int = 4, format: str = "pte") -> Describe:
    """A model with one float input [batch, 16] and one output [batch, 10], exported with a dynamic batch."""
    dynamic = {"pte": True, "pt2": ["s0", None]}[format]
    method = {
        "name": "forward",
        "inputs": [{"kind": "tensor", "dtype": "float32", "sizes": [batch, 16], "dynamic": dynamic}],
        "outputs": [{"dtype": "float32", "sizes": [batch, 10]}],
    }
    return Describe(format=format, methods=[method], metadata={}, delegates=[])


def language_model(longest: int = 64, context: int = 96, **metadata: Any) -> Describe:
    """A model by ExecuTorch's LLM convention that takes `longest` tokens at once and `context` in all."""
    method = {
        "name": "forward",
        "inputs": [{"dtype": "int64", "sizes": [1, longest]}, {"dtype": "int64", "sizes": [1]}],
        "outputs": [{"dtype": "float32", "sizes": [1, 50]}],
    }
    known = {"get_vocab_size": 50, "use_kv_cache": True, "get_max_seq_len": longest, "get_max_context_len": context}
    return Describe(format="pte", methods=[method], metadata=known | metadata, delegates=[])


def make_subject(folder: Path, name: str, description: Describe | None = None, **known: Any) -> Subject:
    """A subject whose file exists, in `folder`; its bytes are its name."""
    path = folder / f"{name}.fake"
    path.write_bytes(name.encode())
    return Subject(name=name, path=path, sha256=sha256_file(path), description=description or perceptron(), **known)
