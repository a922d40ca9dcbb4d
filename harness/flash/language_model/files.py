"""The files of a model whose feed-forward weights lie in flash: a program, and beside it its neurons and predictors.

Of `relu.pte` they are `relu.plain.neurons`, `relu.bundled.neurons` and, where some were trained,
`relu.predictors.safetensors`. The program names each by a checksum, in a constant method, so that no others are taken.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import ModelError, UsageError
from harness.flash.io.geometry import Form
from harness.flash.io.layout import NeuronFile
from harness.flash.language_model import predictor
from harness.flash.language_model.predictor import Predictor

BUILD = "Build the model with `harness flash build`, and keep its files together."
_PREDICTORS = "get_predictors_crc32"


def neurons_path(program: Path, form: Form) -> Path:
    """Where the neuron file of that form lies."""
    return program.with_suffix(f".{form}.neurons")


def predictors_path(program: Path) -> Path:
    """Where the predictors lie."""
    return program.with_suffix(".predictors.safetensors")


def checksums(program: Path) -> dict[str, int]:
    """The constants by which a program names the files that lie beside it. Raises ModelError where neurons lack."""
    constants = {
        _constant(form): NeuronFile.open(neurons_path(program, form)).checksum for form in ("plain", "bundled")
    }
    predictors = predictors_path(program)
    return constants | ({_PREDICTORS: zlib.crc32(predictors.read_bytes())} if predictors.exists() else {})


def open_neurons(program: Path, form: Form, metadata: Mapping[str, Any]) -> NeuronFile:
    """The neurons of the program with these constants. Raises ModelError for a missing, damaged or other file."""
    file = NeuronFile.open(neurons_path(program, form))
    if file.form != form or file.checksum != metadata.get(_constant(form)):
        raise ModelError(f"{file.path} has not the weights that {program.name} was made with.", BUILD)
    if len(file.shape.neurons) != metadata.get("get_flash_layers"):
        raise ModelError(
            f"{file.path} has {len(file.shape.neurons)} layers, {program.name} {metadata.get('get_flash_layers')}.",
            BUILD,
        )
    return file


def open_predictors(program: Path, metadata: Mapping[str, Any]) -> tuple[Predictor, ...]:
    """The predictors of the program with these constants. Raises UsageError where none were trained, ModelError for a
    missing, damaged or other file.
    """
    if _PREDICTORS not in metadata:
        raise UsageError(
            f"{program.name} has no predictors: it was built without a text to train them on.",
            "Use --predictor exact, or build it again with a text (`harness flash build --force`).",
        )
    path = predictors_path(program)
    predictors = predictor.load(path)
    if zlib.crc32(path.read_bytes()) != metadata[_PREDICTORS]:
        raise ModelError(f"{path} has not the predictors that {program.name} was made with.", BUILD)
    return predictors


def _constant(form: Form) -> str:
    return f"get_{form}_crc32"
