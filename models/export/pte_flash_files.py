"""The files of a GPT whose feed-forward weights lie in flash: program (`pte_flash`), neurons, predictors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.durations import OnStep, unheard
from harness.flash.ablation.trace import from_masks, require_sparsity
from harness.flash.io import layout
from harness.flash.io.layout import Dtype
from harness.flash.language_model import files, predictor
from harness.models.export import pte_flash
from harness.models.gpt.network import GPT
from harness.models.train.data import Corpus

# Windows of the training text that predictors are trained on, and of the validation text that they are scored on.
TRAINING_WINDOWS, VALIDATION_WINDOWS, PREDICTOR_STEPS = 512, 64, 1000


def export_flash_files(gpt: GPT, path: Path, dtype: Dtype, corpus: Corpus | None, on_step: OnStep = unheard) -> None:
    """Write the program of `gpt` without its feed-forward layers to `path`, their neurons beside it in both forms, and
    predictors where there is a `corpus` to train them on.

    Raises ModelError, with the measured sparsity, for a model whose neurons do not rest; HarnessError when the disk is
    full.
    """
    on_step("recording which neurons are active")
    context = gpt.config.context
    if corpus is None:
        random = np.random.default_rng(0)
        seen = random.integers(0, gpt.config.vocabulary_size, (VALIDATION_WINDOWS, context))
    else:
        seen = windows(corpus.training, context, TRAINING_WINDOWS)[:, :-1]
    inputs, active = pte_flash.record(gpt, seen)
    require_sparsity(from_masks(active, "recorded"))
    rows = pte_flash.feed_forward(gpt)
    shape = layout.Shape(gpt.config.width, tuple(len(up) for up, _ in rows), pte_flash.rest_bytes(gpt))
    on_step("writing the neurons")
    layout.write(files.neurons_path(path, "plain"), shape, "plain", dtype, rows.__getitem__)
    layout.write(files.neurons_path(path, "bundled"), shape, "bundled", dtype, rows.__getitem__)
    if corpus is not None:
        on_step("training predictors")
        trained = [
            predictor.train(x, mask, predictor_rank(gpt.config.width), steps=PREDICTOR_STEPS)
            for x, mask in zip(inputs, active, strict=True)
        ]
        predictor.save(files.predictors_path(path), trained)
    pte_flash.export_flash(gpt, path, files.checksums(path), on_step)


def windows(tokens: npt.NDArray[np.int64], context: int, most: int) -> npt.NDArray[np.int64]:
    """Stretches of `context` + 1 tokens, at most so many, at equal distances: int64 [n, context + 1]."""
    count = min(most, (len(tokens) - 1) // context)
    starts = np.linspace(0, len(tokens) - context - 1, count).astype(np.int64)
    return np.stack([tokens[start : start + context + 1] for start in starts])


def predictor_rank(width: int) -> int:
    """The rank of a predictor: a quarter of the model's width, as a share about that of the paper's."""
    return max(1, width // 4)
