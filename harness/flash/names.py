"""What the reading of weights from flash calls its choices. No numpy here: the command line lists them in its help."""

from __future__ import annotations

from typing import Literal, get_args

Dtype = Literal["float16", "int8", "int4"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
"""Types of a weight in a neuron file."""
Form = Literal["plain", "bundled"]
FORMS: tuple[Form, ...] = get_args(Form)
"""How the rows of a neuron lie in a file: in two blocks of a layer, or side by side."""
Kind = Literal["threads", "uring", "pread", "buffered", "mmap", "mmap-random"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Ways of reading."""
DIRECT: tuple[Kind, ...] = ("threads", "uring", "pread")
"""Those that pass by the page cache."""
POLICIES = ("none", "hybrid", "predictor", "windowing", "bundling", "pipeline")
"""How far the steps of LLM in a flash go (arXiv 2312.11514), each with those before it."""
PREDICTORS = ("exact", "low-rank")
"""How the neurons to read are chosen."""
SHAPES = {"opt-6.7b-layer": (4096, 16384, 1)}
"""Dimensions by name: width, neurons, layers."""
