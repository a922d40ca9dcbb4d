"""The training loop: windows of text in, weights and a log out, exactly resumable.

Step s draws its windows and its dropout from generators seeded by (seed, s) alone, so a run that was stopped and
resumed ends with the same weights, bit for bit, as one that was not (at the same number of processes and threads).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Muon, Optimizer

from harness.atomic_files import replacing_files
from harness.errors import ModelError, UsageError
from harness.language.tokenizer import Tokens
from harness.models.compress.objective import Objective
from harness.models.gpt.network import GPT
from harness.models.recipe import TrainingRecipe
from harness.models.train import checkpoint, parallel
from harness.models.train.data import Corpus
from harness.models.train.progress import shown
from harness.models.train.quality import total_loss, windows

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.parquet"
LOG_EVERY = 10
"""Steps a row of the log. Rows at a checkpoint have the validation loss too, computed in the recipe's own precision."""


@dataclass(frozen=True)
class Outcome:
    """A finished run: nats per token over the whole validation split, the tokens trained on, and the time it took."""

    validation_loss: float
    tokens: int
    wall_s: float
    cpu_s: float


def train(
    model: GPT, corpus: Corpus, recipe: TrainingRecipe, folder: Path, objective: Objective | None = None
) -> Outcome:
    """Train `model` in place, with checkpoint.safetensors and log.parquet in `folder`; a checkpoint there is resumed.

    Raises ModelError, naming the step and leaving the last good checkpoint, when a loss or a gradient is not finite.
    """
    objective = objective or Objective()
    if recipe.batch % parallel.size():
        raise UsageError(
            f"A batch of {recipe.batch} cannot be shared evenly among {parallel.size()} processes.",
            "Train with a number of processes that divides it.",
        )
    optimizers = _optimizers(model, recipe, objective)
    digest = run_digest(model, recipe, objective, corpus)
    done = checkpoint.Progress(0, digest, 0.0, 0.0, objective.state())
    log: list[dict[str, float | None]] = []
    if (folder / CHECKPOINT).exists():
        done = checkpoint.load(folder / CHECKPOINT, model, optimizers, digest)
        objective.restore(done.method)
        if (folder / LOG).exists():
            log = [row for row in pq.read_table(folder / LOG).to_pylist() if row["step"] <= done.step]
    tokens = recipe.batch * model.config.context
    wall_start, cpu_start, cpu_before = time.monotonic() - done.wall_s, time.process_time(), done.cpu_s
    with torch.random.fork_rng(devices=[]), shown(recipe.steps, done.step) as show:
        for step in range(done.step, recipe.steps):
            _set_rates(optimizers, recipe.factor(step))
            loss = _step(model, corpus, recipe, step, objective)
            norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            if not math.isfinite(loss + norm.item()):
                raise ModelError(
                    f"Training diverged at step {step + 1}: the loss is {loss:g}, its gradient {norm.item():g}.",
                    f"The checkpoint before it is kept in {folder}; lower the learning rate in the recipe.",
                )
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            objective.after_update(step)
            figures = {"loss": loss, **objective.figures()}
            show(step + 1, figures)
            saving = (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps
            if not saving and (step + 1) % LOG_EVERY:
                continue
            wall_s = time.monotonic() - wall_start
            cpu_s = cpu_before + parallel.total(time.process_time() - cpu_start)
            row = {"step": step + 1, "tokens": (step + 1) * tokens, **figures, "rate_factor": recipe.factor(step)}
            log.append({**row, "wall_s": wall_s, "cpu_s": cpu_s, "validation_loss": None})
            if saving:
                with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
                    log[-1]["validation_loss"] = validation = evaluate(model, corpus.validation)
                show(step + 1, {**figures, "validation_loss": validation, "hours": wall_s / 3600})
                done = checkpoint.Progress(step + 1, digest, wall_s, cpu_s, objective.state())
                parallel.gather(optimizers)
                if parallel.rank() == 0:
                    with replacing_files(folder) as scratch:
                        pq.write_table(pa.Table.from_pylist(log), scratch / LOG)
                    checkpoint.save(folder / CHECKPOINT, model, optimizers, done)
    last = log[-1]["validation_loss"] if log and not recipe.bfloat16 else None  # a checkpoint, in float32 already
    loss = evaluate(model, corpus.validation) if last is None else last
    return Outcome(loss, recipe.steps * tokens, done.wall_s, done.cpu_s)


def _seed_of(seed: int, step: int, rank: int) -> int:
    """What torch's generator on the processor is seeded with: of 64 bits it takes the lower 32 alone (2.13.0), so that
    all three numbers have to be mixed into these.
    """
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _step(model: GPT, corpus: Corpus, recipe: TrainingRecipe, step: int, objective: Objective) -> float:
    """Forward and backward on this process's share of the batch, gradients averaged; returns the whole batch's loss."""
    torch.manual_seed(_seed_of(recipe.seed, step, 0))
    inputs, targets = _batch(objective.part(corpus.training, step), model.config.context, recipe.batch)
    share = slice(parallel.rank(), None, parallel.size())
    if parallel.rank():  # another share, another dropout
        torch.manual_seed(_seed_of(recipe.seed, step, parallel.rank()))
    model.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        logits = model(inputs[share])
        more = objective.output_loss(inputs[share], logits)
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets[share].flatten())
    (objective.text_weight * loss + more + objective.penalty()).backward()  # type: ignore[no-untyped-call]
    mean = loss.detach()
    parallel.average([mean, *parallel.gradients(model)])
    return mean.item()


def fast_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16. Without them (AVX2 alone, torch 2.13.0) a product took 6.5
    to 8 times as long as in float32.
    """
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def evaluate(model: GPT, tokens: Tokens) -> float:
    """Nats a token over all of `tokens`, at the model's own context and without dropout."""
    model.eval()
    inputs, targets = windows(tokens, model.config.context)
    share = slice(parallel.rank(), None, parallel.size())
    return parallel.total(total_loss(model, inputs[share], targets[share])) / targets.numel()


def run_digest(model: GPT, recipe: TrainingRecipe, objective: Objective, corpus: Corpus) -> str:
    """Names what a checkpoint belongs to: a hash of the architecture, the recipe, the method and the text."""
    asked = [asdict(model.config), asdict(recipe), objective.description(), corpus.sha256]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _batch(tokens: Tokens, context: int, batch: int) -> tuple[Tensor, Tensor]:
    """Random windows from the global generator: inputs and targets, int64 [batch, context] each."""
    starts = torch.randint(len(tokens) - context, (batch, 1))
    index = starts + torch.arange(context)
    text = torch.from_numpy(tokens)
    return text[index], text[index + 1]


def _optimizers(model: GPT, recipe: TrainingRecipe, objective: Objective) -> list[Optimizer]:
    """AdamW, or Muon (Jordan 2024) for the matrices inside the blocks and AdamW for everything else."""
    groups = objective.parameter_groups()
    taken = {id(parameter) for group in groups for parameter in group["params"]}
    rest = {name: p for name, p in model.named_parameters() if id(p) not in taken}
    hidden = {name for name, p in rest.items() if recipe.muon_rate and name.startswith("blocks.") and p.dim() == 2}
    plain = [p for name, p in rest.items() if name not in hidden]
    optimizers: list[Optimizer] = [
        AdamW(
            [{"params": plain, "weight_decay": recipe.weight_decay}, *groups],
            lr=recipe.rate,
            betas=(0.9, recipe.beta2),
            weight_decay=0.0,
            fused=True,
        )
    ]
    if hidden:
        matrices = [rest[name] for name in sorted(hidden)]
        optimizers.append(parallel.shared_out(Muon, matrices, lr=recipe.muon_rate, weight_decay=recipe.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_rate"] = group["lr"]
    return optimizers


def _set_rates(optimizers: list[Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * factor
