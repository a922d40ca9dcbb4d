"""The models that come with harness, as a source for runs: built on first use, each in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.api.building import find_or_build, find_or_build_flash
from harness.errors import UsageError
from harness.experiment.model_source import EvaluationText, Say
from harness.language.tokenizer import Tokenizer
from harness.models.train.data import TEXT_SHA256, tokens_sha256, validation_name, validation_tokens
from harness.models.train.tokenizer import tokenizer_of
from harness.models.zoo.artifacts import known
from harness.models.zoo.formats import FORMATS, SUFFIXES
from harness.target import Target


class Zoo:
    """A `harness.experiment.model_source.ModelSource`."""

    def files(self, names: Sequence[str], target: Target, say: Say) -> list[Path]:
        """Those that are not there yet are built side by side: the exporter takes a minute and one processor."""
        return find_or_build([zoo_format(Path(name), target) for name in names], say)

    def file_in_flash(self, name: str, *, predictors: bool, text: Path | None, say: Say) -> Path:
        """By `harness flash build`."""
        if not known(name.removesuffix(".pte")):
            raise _unknown(Path(name))
        return find_or_build_flash(name.removesuffix(".pte"), text, say, predictors=predictors)

    def tokenizer(self, description: Mapping[str, Any]) -> Tokenizer | None:
        """Characters or byte pairs."""
        return tokenizer_of(description)

    def evaluation_text(self, tokenizer: Tokenizer, text: Path | None) -> EvaluationText:
        """Tiny Shakespeare, whose characters or subwords are the tokens."""
        tokens = validation_tokens(tokenizer, text)
        return EvaluationText(tokens, validation_name(tokenizer), tokens_sha256(TEXT_SHA256, tokenizer))


def zoo_format(path: Path, target: Target) -> tuple[str, str]:
    """Name and format of a model that harness can build: `selfcomp`, or `selfcomp.pte` in no folder; `static` where the
    target compiles fixed shapes, `cached` where it has torch to generate with and no `.pt2` was asked for.

    Raises UsageError for any other path.
    """
    suffix = path.suffix if path.suffix in SUFFIXES else ""
    name = path.name.removesuffix(suffix)
    if path.parent != Path() or not known(name):
        raise _unknown(path)
    if target.capabilities.static_shapes:
        return name, "static"
    if not suffix and target.capabilities.formats[0] == ".pt2" and "generate" in target.capabilities.scenarios:
        return name, "cached"
    ending = suffix or target.capabilities.formats[0]
    return name, next((fmt for fmt in FORMATS if FORMATS[fmt].suffix == ending), ending.removeprefix("."))


def _unknown(path: Path) -> UsageError:
    return UsageError(f"{path} is neither a file nor the name of a model.", "`harness models list` shows the names.")
