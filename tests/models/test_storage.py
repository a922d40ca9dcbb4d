from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import DataError, ModelError
from harness.manifest import sha256_file
from harness.models import data, storage
from harness.models.checkpoint import read_safetensors
from harness.models.gpt import GPT, GPTConfig
from harness.models.making import make
from harness.models.recipes import Zoo, packaged
from harness.models.records import PACKAGED, read_record
from harness.models.selfcompression import bits_per_weight, block_linears, compress, report_layer
from harness.models.training import evaluate

NAMES = ["baseline-small", "selfcomp-small"]


def tiny_zoo(toy: data.Corpus, tiny: GPTConfig) -> Zoo:
    recipe = packaged().find("selfcomp")
    training = replace(recipe.training, steps=6, batch=2, checkpoint_every=3)
    recipe = replace(recipe, name="tiny", parent=None, architecture=tiny, training=training, data_sha256=toy.sha256)
    return Zoo({"tiny": recipe}, {})


@pytest.fixture
def made(toy: data.Corpus, tiny: GPTConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with weights of a tiny self-compressed model, trained for six steps."""
    monkeypatch.setattr(data, "load_text", lambda _: "the cat sat on the mat. the dog sat on the log. " * 60)
    zoo = tiny_zoo(toy, tiny)
    make(zoo, zoo.find("tiny"), tmp_path)
    return tmp_path


def test_stored_weights_are_exactly_the_trained_ones(tiny: GPTConfig) -> None:
    torch.manual_seed(0)
    model = GPT(tiny).eval()
    layers = compress(model, 4.0)
    for layer in layers.values():
        layer.bits.data.uniform_(0, 6)
        layer.exponent.data.add_(torch.randn_like(layer.exponent) / 3)
    stored = storage.packed(model, layers)
    assert stored["blocks.1.ffn.out.levels"].dtype == torch.int8
    restored = storage.unpacked(stored)
    for name, linear in block_linears(model):
        assert torch.equal(restored[f"{name}.weight"], linear.weight)
    plain = GPT(tiny).eval()
    plain.load_state_dict(restored)
    tokens = torch.randint(tiny.vocabulary_size, (2, tiny.context))
    assert torch.equal(plain(tokens), model(tokens))


def test_making_writes_what_reading_finds(made: Path, toy: data.Corpus, tiny: GPTConfig) -> None:
    model, record = storage.read(made, "tiny", tiny)
    assert record.validation_loss == pytest.approx(evaluate(model, toy.validation), abs=1e-6)
    assert record.vocabulary == toy.vocabulary
    assert record.tokens_seen == 6 * 2 * tiny.context
    assert record.bits_learned is not None
    assert 3 < record.bits_learned < 4
    assert len(record.layers) == 8
    assert record.recipe["compression"]["gamma"] == 0.8


def test_another_text_than_the_recipes_is_refused(made: Path, toy: data.Corpus, tiny: GPTConfig) -> None:
    zoo = tiny_zoo(toy, tiny)
    with pytest.raises(DataError, match="another text"):
        make(zoo, replace(zoo.find("tiny"), data_sha256="0"), made)


def change(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)


def test_damage_is_noticed(made: Path, tiny: GPTConfig) -> None:
    change(made / "tiny.safetensors", -1)
    with pytest.raises(ModelError, match="not the file its record describes"):
        storage.read(made, "tiny", tiny)
    (made / "tiny.safetensors").write_bytes(b"short")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        storage.read(made, "tiny", tiny)
    (made / "tiny.json").write_text('{"name": "tiny"}')
    with pytest.raises(ModelError, match="not a readable record"):
        storage.read(made, "tiny", tiny)
    (made / "tiny.json").unlink()
    with pytest.raises(ModelError, match="harness models train tiny"):
        storage.read(made, "tiny", tiny)


def test_weights_of_another_architecture_are_refused(made: Path, tiny: GPTConfig) -> None:
    with pytest.raises(ModelError, match="another architecture"):
        storage.read(made, "tiny", replace(tiny, layers=3))


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_that_ship_are_the_recorded_ones(name: str, tmp_path: Path) -> None:
    recipe = packaged().find(name)
    _, record = storage.read(PACKAGED, name, recipe.architecture)
    assert record.weights_sha256 == sha256_file(PACKAGED / f"{name}.safetensors")
    assert record.recipe == json.loads(json.dumps(recipe.as_json())), "zoo.toml changed after training"
    for suffix in ("safetensors", "json"):
        shutil.copy(PACKAGED / f"{name}.{suffix}", tmp_path)
    change(tmp_path / f"{name}.safetensors", -100)
    with pytest.raises(ModelError, match="not the file"):
        storage.read(tmp_path, name, recipe.architecture)


def test_the_recorded_bits_are_those_of_the_weights_that_ship() -> None:
    tensors, _ = read_safetensors(PACKAGED / "selfcomp-small.safetensors")
    state = storage.unpacked(tensors)
    layers = [name.removesuffix(".bits") for name in tensors if name.endswith(".bits")]
    found = {name: report_layer(name, state[f"{name}.weight"], tensors[f"{name}.bits"]) for name in layers}
    record = read_record(PACKAGED, "selfcomp-small")
    assert record is not None
    expected = (record.bits_learned, record.bits_stored, record.bits_entropy)
    assert bits_per_weight(list(found.values())) == pytest.approx(expected)
    for row in record.layers:
        assert (found[row["layer"]].zero_weights, found[row["layer"]].dead_rows) == pytest.approx(
            (row["zero_weights"], row["dead_rows"])
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_loss_is_that_of_the_weights_that_ship(name: str, shakespeare: Path) -> None:
    model, record = storage.read(PACKAGED, name, packaged().find(name).architecture)
    tokens = data.validation_tokens(record.vocabulary, shakespeare)
    assert evaluate(model, tokens) == pytest.approx(record.validation_loss, abs=1e-4)


def test_the_parent_is_the_one_that_ships() -> None:
    records: list[Any] = [read_record(PACKAGED, name) for name in NAMES]
    assert records[1].parent_weights_sha256 == records[0].weights_sha256
