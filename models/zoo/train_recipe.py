"""A recipe carried out: from text (and a parent's weights) to trained weights and their record. `train_compressed` does
the same for a method of `harness.models.compress` that is learned in training.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from harness.errors import DataError, UsageError
from harness.models.compress import packed
from harness.models.compress.codes import bits_per_weight, report
from harness.models.compress.method import TrainedMethod, find_method
from harness.models.compress.methods import objective
from harness.models.compress.training import prepare_method
from harness.models.gpt.network import GPT
from harness.models.recipe import CompressedRecipe, Recipe
from harness.models.train import data, parallel
from harness.models.train.loop import CHECKPOINT, Outcome, evaluate, train
from harness.models.train.quality import windows
from harness.models.train.tokenizer import packaged_tokenizer
from harness.models.zoo import storage
from harness.models.zoo.recipes import Zoo
from harness.models.zoo.records import PACKAGED, Record
from harness.models.zoo.storage import Encoded


def make(
    zoo: Zoo,
    recipe: Recipe | CompressedRecipe,
    folder: Path,
    text: Path | None = None,
    *,
    fresh: bool = False,
    processes: int = 1,
) -> Record:
    """Train `recipe` and write NAME.safetensors and NAME.json to `folder`, beside the checkpoint and the log.

    A checkpoint in `folder` is resumed unless `fresh`; each of `processes` takes its share of a batch. Raises DataError
    where the text is not the recipe's, ModelError where training diverges or the parent has no weights.
    """
    if fresh:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    if isinstance(recipe, CompressedRecipe):
        with parallel.processes(processes, _train_compressed, (zoo, recipe, folder, text)):
            changed, record = _train_compressed(zoo, recipe, folder, text)
        return storage.write(folder, changed, record)
    with parallel.processes(processes, _train, (zoo, recipe, folder, text)):
        file, record = _train(zoo, recipe, folder, text)
    return storage.write(folder, file, record)


def _train(zoo: Zoo, recipe: Recipe, folder: Path, text: Path | None) -> tuple[Encoded, dict[str, Any]]:
    """What each process does: the weights to store and their record, the same in all of them."""
    tokenizer = None if recipe.tokenizer is None else packaged_tokenizer(recipe.tokenizer)
    corpus = data.corpus(data.load_text(text), tokenizer)
    if corpus.sha256 != recipe.data_sha256:
        raise DataError(f"The recipe of {recipe.name} names another text than tiny Shakespeare.", "Correct zoo.toml.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        model = GPT(recipe.architecture)
    origin, parent = None, None
    if recipe.parent is not None:
        origin, parent = storage.read(PACKAGED, recipe.parent, zoo.find(recipe.parent).architecture)
        model.load_state_dict(origin.state_dict())
    method = objective(recipe, model, origin)
    outcome = train(model, corpus, recipe.training, folder, method)
    codes = method.codes(model)
    weights = {name: value for name, value in model.state_dict().items() if ".parametrizations." not in name}
    file = storage.encoded(weights, codes)
    state, stored_codes = storage.decoded(file)
    stored = GPT(recipe.architecture)
    stored.load_state_dict(state)
    figures: dict[str, Any] = {}
    if codes:
        layers = report({layer: stored_codes[layer] for layer in codes})
        learned, stored_bits, entropy = bits_per_weight(layers)
        figures = {"bits_learned": learned, "bits_stored": stored_bits, "bits_entropy": entropy}
        figures["layers"] = [asdict(layer) for layer in layers]
    record = _record(recipe.name, stored, corpus, outcome, recipe.training.seed, recipe.as_json(), parent)
    return file, record | figures


def _train_compressed(
    zoo: Zoo, recipe: CompressedRecipe, folder: Path, text: Path | None
) -> tuple[bytes, dict[str, Any]]:
    """As `_train`, the parent's weights with the method at work on them; the file has what differs from the parent."""
    method = find_method(recipe.method)
    if recipe.training is None or not isinstance(method, TrainedMethod):
        raise UsageError(f"{recipe.name} is compressed after training: nothing is trained.", "Build it.")
    origin, parent = storage.read(PACKAGED, recipe.parent, zoo.find(recipe.parent).architecture)
    corpus = data.corpus(data.load_text(text), parent.tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        prepared = prepare_method(origin, method, method.parse(recipe.options))
    assert isinstance(prepared.module, GPT)
    corpus = replace(corpus, training=prepared.training.tokens(corpus.training))
    outcome = train(prepared.module, corpus, recipe.training, folder, prepared.training)
    compressed = prepared.finish(outcome.wall_s)
    assert isinstance(compressed.module, GPT)
    described = {key: value for key, value in compressed.record.as_json().items() if key != "layers"}
    figures = {
        "bits_learned": compressed.record.bits_per_weight,
        "bits_stored": compressed.record.bits_per_weight,
        "compression": described,
    }
    seed = recipe.training.seed
    record = _record(recipe.name, compressed.module, corpus, outcome, seed, recipe.as_json(), parent)
    return packed.encoded(compressed, origin, whole=False), record | figures


def _record(
    name: str,
    stored: GPT,
    corpus: data.Corpus,
    outcome: Outcome,
    seed: int,
    recipe: dict[str, Any],
    parent: Record | None,
) -> dict[str, Any]:
    """The record of weights, but for their bits and the file's hash; `stored` is the model that the file gives back."""
    context = stored.config.context
    return {
        "name": name,
        "validation_loss": evaluate(stored, corpus.validation),
        "trained_loss": outcome.validation_loss,
        "validation_tokens": windows(corpus.validation, context)[0].numel(),
        "context": context,
        "tokens_seen": outcome.tokens,
        "data": data.validation_name(corpus.tokenizer),
        "data_sha256": data.tokens_sha256(corpus.sha256, corpus.tokenizer),
        **{key: value for key, value in corpus.tokenizer.description.items() if key != "kind"},
        "seed": seed,
        "wall_s": outcome.wall_s,
        "cpu_s": outcome.cpu_s,
        "torch": torch.__version__,
        "recipe": recipe,
        "parent_weights_sha256": parent.weights_sha256 if parent is not None else None,
    }
