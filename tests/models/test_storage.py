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
from harness.models.compress.codes import Code
from harness.models.compress.selfcompression import block_linears, compress, quantised_codes
from harness.models.gpt.network import GPT, GPTConfig
from harness.models.train import data
from harness.models.train.loop import evaluate
from harness.models.zoo import storage
from harness.models.zoo.recipes import Zoo, packaged
from harness.models.zoo.records import PACKAGED, read_record
from harness.models.zoo.train_recipe import make
from harness.models.zoo.verification import verify

NAMES = ["baseline-small", "selfcomp-small", "baseline-6x384"]


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
    for layer in compress(model, 4.0).values():
        layer.bits.data.uniform_(0, 6)
        layer.exponent.data.add_(torch.randn_like(layer.exponent) / 3)
    restored, codes = storage.decoded(stored(model))
    for name, linear in block_linears(model):
        torch.testing.assert_close(restored[f"{name}.weight"], linear.weight, rtol=1e-6, atol=0.0)
        assert torch.equal(restored[f"{name}.weight"], codes[name].weight())
    again, _ = storage.decoded(storage.encoded(restored, codes))
    assert all(torch.equal(again[name], value) for name, value in restored.items())


def stored(model: GPT) -> storage.Encoded:
    state = {name: value for name, value in model.state_dict().items() if ".parametrizations." not in name}
    return storage.encoded(state, quantised_codes(model))


@pytest.mark.parametrize("entropy_coded", [False, True])
@pytest.mark.parametrize("name", ["baseline-small", "selfcomp-small"])
def test_weights_of_a_file_encoded_anew_are_the_same(name: str, entropy_coded: bool, tmp_path: Path) -> None:
    if entropy_coded:
        pytest.importorskip("constriction")
    state, codes, record = storage.read_weights(PACKAGED, name)
    written = storage.rewrite(tmp_path, storage.encoded(state, codes, entropy_coded), record)
    found_state, found_codes, found = storage.read_weights(tmp_path, name)
    assert found_state.keys() == state.keys()
    assert all(torch.equal(found_state[key], value) for key, value in state.items())
    for layer, code in codes.items():
        assert torch.equal(found_codes[layer].levels, code.levels)
        assert torch.equal(found_codes[layer].bits, code.bits)
    assert found == written == replace(record, weights_sha256=found.weights_sha256, weights_bytes=found.weights_bytes)
    if entropy_coded and codes:
        assert found.weights_bytes < record.weights_bytes
    else:
        assert found.weights_bytes == record.weights_bytes


def test_a_layer_is_entropy_coded_only_where_that_is_smaller(tiny: GPTConfig) -> None:
    pytest.importorskip("constriction")
    state, shape = GPT(tiny).state_dict(), (4 * tiny.width, tiny.width)
    rare = torch.zeros(shape, dtype=torch.int8)
    rare[:, 0], rare[0] = 1, torch.arange(shape[1])
    many = torch.randint(-100, 100, shape, dtype=torch.int8)
    one = torch.zeros(shape[0], 1).half()
    wide = {"blocks.0.ffn.fc": Code(many, one, one), "blocks.1.ffn.fc": Code(rare.repeat(1, 40), one, one)}
    file = storage.encoded(state, wide, entropy_coded=True)
    assert "blocks.0.ffn.fc.shares" not in file.tensors
    assert "blocks.1.ffn.fc.shares" in file.tensors


def test_an_embedding_loses_less_than_half_a_step() -> None:
    torch.manual_seed(0)
    table = torch.randn(50, 33) * torch.logspace(-4, 1, 50)[:, None]
    code = storage.embedding_code(table)
    step = torch.exp2(code.exponents.float())
    assert ((code.weight() - table).abs() <= step / 2 * 1.001).all()
    assert (step < table.abs().amax(1, keepdim=True) / 120).all()
    assert storage.embedding_code(torch.zeros(2, 3)).levels.any().item() is False


def test_weights_that_float16_cannot_hold_are_refused(tiny: GPTConfig) -> None:
    state = GPT(tiny).state_dict() | {"final_norm.weight": torch.full((tiny.width,), 1e6)}
    with pytest.raises(ModelError, match=r"final_norm.*float16"):
        storage.encoded(state, {})


@pytest.mark.parametrize(("key", "value", "said"), [("version", "99", "newer harness"), ("format", "pt", "not a file")])
def test_files_of_another_kind_are_refused(tiny: GPTConfig, key: str, value: str, said: str) -> None:
    file = storage.encoded(GPT(tiny).state_dict(), {})
    with pytest.raises(ModelError, match=said):
        storage.decoded(replace(file, metadata=file.metadata | {key: value}))


@pytest.mark.parametrize("codes", [None, "{", "[]", '{"blocks.0.ffn.fc": [1]}', '{"blocks.0.ffn.fc": "ab"}'])
def test_weights_that_lie_about_their_codes_are_refused(tiny: GPTConfig, codes: str | None) -> None:
    file = storage.encoded(GPT(tiny).state_dict(), {})
    metadata = {key: value for key, value in file.metadata.items() if key != "codes"}
    with pytest.raises(ModelError, match="shape"):
        storage.decoded(replace(file, metadata=metadata if codes is None else {**metadata, "codes": codes}))


def test_making_writes_what_reading_finds(made: Path, toy: data.Corpus, tiny: GPTConfig) -> None:
    model, record = storage.read(made, "tiny", tiny)
    assert record.validation_loss == pytest.approx(evaluate(model, toy.validation), abs=1e-6)
    assert record.tokenizer == toy.tokenizer
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
    recipe = replace(packaged().find("selfcomp"), name="tiny", architecture=replace(tiny, layers=3))
    with pytest.raises(ModelError, match="another architecture"):
        verify(Zoo({"tiny": recipe}, {}), "tiny", made)


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


# The large one takes a minute: `harness models verify baseline-6x384`.
@pytest.mark.parametrize("name", NAMES[:2])
def test_what_is_recorded_is_what_the_weights_give(name: str, shakespeare: Path) -> None:
    checks = verify(packaged(), name, text=shakespeare)
    assert [check.figure for check in checks if not check.agrees] == []
    assert len(checks) == (1 if name.startswith("baseline") else 6)


def test_the_parent_is_the_one_that_ships() -> None:
    records: list[Any] = [read_record(PACKAGED, name) for name in NAMES]
    assert records[1].parent_weights_sha256 == records[0].weights_sha256
