"""What `harness flash trace` does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from harness.cli._waiting import waiting
from harness.flash.ablation import trace as traces
from harness.flash.language_model import predictor
from harness.models.export import pte_flash
from harness.models.export.pte_flash_files import PREDICTOR_STEPS, TRAINING_WINDOWS, predictor_rank, windows
from harness.models.train import data as texts
from harness.models.zoo.loading import load
from harness.report.machine import dump_json


def trace(
    name: str,
    output: Path,
    tokens: int,
    window: int,
    rank: int | None,
    weights: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Record which neurons of a model are active, token by token, and train predictors of them on the training text."""
    with waiting(f"flash trace {name} {tokens}", f"recording {name}") as clock:
        clock.begin("recording which neurons are active")
        gpt, record = load(name, weights)
        corpus, context = texts.corpus(texts.load_text(data), record.tokenizer), gpt.config.context
        traces.require_window(window, tokens)
        validation = windows(corpus.validation, context, -(-tokens // context))
        inputs, active = pte_flash.record(gpt, validation[:, :-1])
        masks = [mask[:tokens] for mask in active]
        what = f"recorded: {name} on {min(tokens, validation[:, :-1].size)} tokens of {texts.VALIDATION_NAME}"
        recorded = traces.from_masks(masks, what)
        traces.require_sparsity(recorded)
        shares = traces.aggregates(recorded, window)
        clock.begin("training predictors")
        rank = predictor_rank(gpt.config.width) if rank is None else rank
        learned = pte_flash.record(gpt, windows(corpus.training, context, TRAINING_WINDOWS)[:, :-1])
        trained = [predictor.train(x, mask, rank, steps=PREDICTOR_STEPS) for x, mask in zip(*learned, strict=True)]
        scores = [predictor.score(layer.mask(x), mask) for layer, x, mask in zip(trained, inputs, active, strict=True)]
        clock.begin("computing the loss")
        full_loss = pte_flash.loss(gpt, validation)
        believed = pte_flash.loss(gpt, validation, lambda layer, x: trained[layer].mask(x))
    traces.save(output, recorded)
    facts = {
        "file": str(output),
        "trace": what,
        "window": window,
        "aggregates": asdict(shares),
        "rank": rank,
        "layers": [asdict(score) for score in scores],
        "loss_nats": {
            "whole": full_loss,
            "predicted": believed,
            "added": believed - full_loss,
            "tokens": validation[:, 1:].size,
        },
    }
    if as_json:
        click.echo(dump_json("trace", facts), nl=False)
        return
    click.echo(f"{output}: {what}")
    click.echo(
        f"window {window}: {100 * shares.active:.1f} % active, {100 * shares.loaded:.2f} % newly loaded, "
        f"{100 * shares.resident:.1f} % resident"
    )
    for number, score in enumerate(scores):
        all_neurons = active[number].size
        click.echo(
            f"layer {number}: {100 * score.active / all_neurons:.1f} % active; a predictor of rank {rank} misses "
            f"{score.missed:,} of {score.active:,} (recall {1 - score.missed / max(score.active, 1):.4f}), "
            f"names {100 * score.predicted / all_neurons:.1f} %, of which {score.false_alarms:,} in vain"
        )
    click.echo(
        f"loss over {np.size(validation[:, 1:]):,} tokens: {full_loss:.4f} nats per token, "
        f"{believed:.4f} without what is missed ({believed - full_loss:+.4f})"
    )
