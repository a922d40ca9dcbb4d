"""What is known of an artifact beyond its bytes, and whether to believe it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ModelError
from harness.manifest import MANIFEST_VERSION, Manifest, manifest_path, read_manifest, sha256_file, write_manifest


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "m.pte"
    path.write_bytes(b"weights")
    return path


def manifest_of(artifact: Path, **changes: Any) -> Manifest:
    known = {
        "name": "m",
        "method": "pruning",
        "artifact_sha256": sha256_file(artifact),
        "artifact_bytes": 7,
        "precision": "fp32",
        "parameters": 3,
        "quality": {"loss": 1.5},
        "layers": [{"layer": "a", "zero_weights": 0.5}],
        "bits_per_weight": 4.25,
    }
    return Manifest(**{**known, **changes})


def refused(artifact: Path) -> ModelError:
    """The error of reading the manifest; it says what to do."""
    with pytest.raises(ModelError) as caught:
        read_manifest(artifact, sha256_file(artifact))
    assert caught.value.hint
    return caught.value


def test_the_hash_of_a_file_is_its_sha256(artifact: Path) -> None:
    assert sha256_file(artifact) == "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"


def test_a_manifest_lies_beside_its_artifact_and_comes_back_as_it_was(artifact: Path) -> None:
    manifest = manifest_of(artifact)
    write_manifest(artifact, manifest)
    assert manifest_path(artifact) == artifact.parent / "m.pte.json"
    assert read_manifest(artifact, sha256_file(artifact)) == manifest


def test_an_artifact_without_a_manifest_has_none(artifact: Path) -> None:
    assert read_manifest(artifact, sha256_file(artifact)) is None


def test_a_damaged_artifact_is_not_the_one_described(artifact: Path) -> None:
    write_manifest(artifact, manifest_of(artifact))
    artifact.write_bytes(b"weightz")
    error = refused(artifact)
    assert "not the file its manifest describes" in error.message
    assert sha256_file(artifact)[:12] in error.message
    assert "--force" in error.hint
    assert "m.pte.json" in error.hint


def test_a_manifest_of_a_newer_harness_is_refused_with_its_version(artifact: Path) -> None:
    write_manifest(artifact, manifest_of(artifact, manifest_version=MANIFEST_VERSION + 1))
    error = refused(artifact)
    assert f"manifest version {MANIFEST_VERSION + 1}" in error.message
    assert error.hint == "Upgrade harness."


def test_a_newer_manifest_may_say_more_within_its_version(artifact: Path) -> None:
    write_manifest(artifact, manifest_of(artifact))
    path = manifest_path(artifact)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "red"}))
    assert read_manifest(artifact, sha256_file(artifact)) == manifest_of(artifact)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        '{"manifest_version": 1}',
        '{"manifest_version": "1"}',
        '{"manifest_version": null}',
        '[{"manifest_version": 1}]',
        "[" * 100_000,
    ],
)
def test_garbage_is_refused_in_a_sentence(artifact: Path, text: str) -> None:
    manifest_path(artifact).write_text(text)
    assert "not a readable manifest" in refused(artifact).message


def test_bytes_that_are_no_text_and_a_folder_in_its_place_are_refused(artifact: Path) -> None:
    manifest_path(artifact).write_bytes(b"\xff\xfe")
    refused(artifact)
    manifest_path(artifact).unlink()
    manifest_path(artifact).mkdir()
    refused(artifact)


@given(st.text(max_size=30))
def test_any_text_for_a_manifest_is_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    artifact = tmp_path_factory.getbasetemp() / "any.pte"
    artifact.write_bytes(b"weights")
    manifest_path(artifact).write_text(text, encoding="utf-8")
    refused(artifact)


@pytest.mark.parametrize(
    "changes",
    [
        {"artifact_sha256": 5},
        {"quality": None},
        {"quality": []},
        {"parameters": "many"},
        {"bits_per_weight": "few"},
        {"tokenizer": None},
        {"method": 3},
    ],
    ids=str,
)
def test_a_field_of_another_type_is_refused_in_a_sentence(artifact: Path, changes: dict[str, Any]) -> None:
    write_manifest(artifact, manifest_of(artifact, **changes))
    assert "not a readable manifest" in refused(artifact).message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quality", '{"loss": "low"}'),
        ("quality", '{"loss": 1e400}'),
        ("quality", '{"loss": NaN}'),
        ("quality", '{"loss": true}'),
        ("quality", '{"loss": -0.5}'),
        ("quality", '{"loss": 5000}'),
        ("bits_per_weight", "1e30"),
        ("bits_per_weight", "-1"),
        ("bits_per_weight_stored", "65"),
        ("bits_per_weight_entropy", "1e400"),
        ("bits_per_weight", "true"),
        ("parameters", "-1"),
        ("parameters", str(1 << 63)),
        ("parameters", "1" * 5000),
        ("parameters", "false"),
        ("artifact_bytes", "-7"),
        ("weights_bytes", "-1"),
        ("weights_bytes", "1.5"),
        ("family", "7"),
        ("manifest_version", "1e400"),
        ("tokenizer", '{"vocabulary": 7}'),
        ("tokenizer", '{"tokenizer_json": 7}'),
        ("tokenizer", '{"vocabulary": "\\ud800"}'),
        ("method", '"\\udcff"'),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_a_sentence(artifact: Path, key: str, value: str) -> None:
    write_manifest(artifact, manifest_of(artifact))
    path = manifest_path(artifact)
    known = json.loads(path.read_text())
    del known[key]
    path.write_text(json.dumps(known)[:-1] + f', "{key}": {value}}}')
    assert "not a readable manifest" in refused(artifact).message


@pytest.mark.parametrize(
    "changes",
    [
        {"bits_per_weight": 0, "bits_per_weight_stored": 64},
        {"parameters": (1 << 63) - 1, "artifact_bytes": 0},
        {"quality": {}},
        {"quality": {"loss": 0}},
        {"quality": {"loss": None}},
        {"tokenizer": {"vocabulary": "ab\0c"}},
    ],
    ids=str,
)
def test_the_most_extreme_values_that_can_be_are_taken(artifact: Path, changes: dict[str, Any]) -> None:
    write_manifest(artifact, manifest_of(artifact, **changes))
    assert read_manifest(artifact, sha256_file(artifact)) == manifest_of(artifact, **changes)
