"""What a model file is, from its header, its manifest, and a worker that is asked to describe it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from harness.errors import ModelError, UsageError
from harness.experiment.runner import run_job
from harness.job import Files, Job
from harness.manifest import read_manifest, sha256_file
from harness.model_description import convention_of, find_method, longest_prompt
from harness.outside_files import check_name
from harness.protocol import Describe
from harness.target import find_target, target_names


def file_facts(file: Path) -> dict[str, Any]:
    """Methods, inputs, delegates and manifest of a program, or the tensors of a .safetensors; with `file`, `bytes`,
    `sha256` and `format`. `manifest` is None where there is none, `language_model` where it is none.

    Raises ModelError for a file that is missing, damaged or not what its manifest says, UsageError where no target here
    loads such a file.
    """
    if not os.path.isfile(file):
        raise ModelError(
            f"{file} does not exist.", "Check the path; `harness models list` shows the models that can be built."
        )
    check_name(file)
    try:
        sha256 = sha256_file(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}).", "Check its permissions.") from error
    facts: dict[str, Any] = {"file": str(file), "bytes": file.stat().st_size, "sha256": sha256}
    facts |= _tensors(file) if file.suffix == ".safetensors" else _program(file, sha256)
    manifest = read_manifest(file, sha256)
    facts["manifest"] = None if manifest is None else asdict(manifest)
    return facts


def _tensors(file: Path) -> dict[str, Any]:
    """Names, dtypes and shapes from the header of a safetensors file, which holds no code."""
    try:
        with safe_open(file, framework="np") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - it is no mapping
            return {
                "format": "safetensors",
                "tensors": [
                    {"name": name, "dtype": part.get_dtype(), "sizes": part.get_shape()}
                    for name, part in slices.items()
                ],
            }
    except SafetensorError as error:
        raise ModelError(
            f"{file} is no safetensors file or is damaged ({error}).", "Copy it again from where it came from."
        ) from error


def _program(file: Path, sha256: str) -> dict[str, Any]:
    """Ask a worker of the first target here that loads such a file."""
    targets = [
        target
        for target in map(find_target, target_names())
        if file.suffix in target.capabilities.formats and target.availability().available
    ]
    targets.sort(key=lambda target: target.capabilities.latency != "measured")  # an emulator is slower
    if not targets:
        raise UsageError(
            f"No target here loads {file.suffix or 'a file without suffix'}.",
            "`harness targets` shows what each loads.",
        )
    job = Job(target=targets[0].name, model=file.stem, model_sha256=sha256, scenario="describe", measure="describe")
    attempt = run_job(
        targets[0],
        job,
        Files(model=str(file)),
        session_id="inspect",
        position=0,
        timeout_s=300,
        model_bytes=file.stat().st_size,
    )
    if attempt.error is not None:
        raise attempt.error
    assert attempt.measurement.description is not None
    return asdict(attempt.measurement.description) | {"language_model": _language(attempt.measurement.description)}


def _language(description: Describe) -> dict[str, Any] | None:
    """How a language model is asked, its context and vocabulary in tokens, and the bytes of its cache, None where the
    file does not say; None for what is no language model.
    """
    if (convention := convention_of(description)) is None:
        return None
    known = description.metadata
    return {
        "convention": convention,
        "context": known.get("get_max_context_len") or known.get("get_max_seq_len") or longest_prompt(description),
        "vocabulary": known["get_vocab_size"],
        "cache_bytes": find_method(description).get("operators", {}).get("cache_bytes"),
    }
