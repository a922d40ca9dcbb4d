"""The loss of `baseline-6x384` on the whole validation text after every method of `harness.models.compress` that acts
on a trained model, a line of JSON for each, and the lines as a Markdown table.

    python tests/bench/compression.py run lines.jsonl    # goes on where it stopped; an hour or two on one core
    python tests/bench/compression.py run lines.jsonl --int8-activations
    python tests/bench/compression.py run seeds.jsonl --seed 0 --seed 1 --seed 2 --method gptq
    python tests/bench/compression.py table lines.jsonl

Calibration: 16 windows of the training text, drawn with seed 0 or with those that are named. Losses are those of the
compressed weights in eager PyTorch, with float32 activations; `--int8-activations` adds, for some methods, the loss
with the inputs of every compressed linear layer rounded token by token, as exported programs of integers do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from harness.models.compress.apply import Compressed, compress_module
from harness.models.export.quantised_linear import rounded
from harness.models.train.data import corpus, load_text
from harness.models.train.quality import total_loss, windows
from harness.models.zoo.loading import load

MODEL, SAMPLES = "baseline-6x384", 16
CASES: list[tuple[str, dict[str, Any]]] = [
    ("gptq", {"bits": 4}),
    ("gptq", {"bits": 3}),
    ("awq", {"bits": 4}),
    ("absmax", {}),
    ("round-to-nearest", {"bits": 4}),
    ("omniquant", {"bits": 4}),
    ("gptq", {"bits": 2}),
    ("awq", {"bits": 3}),
    ("smoothquant", {}),
    ("squeezellm", {"bits": 4}),
    ("hqq", {"bits": 4}),
    ("llm-int8", {}),
    ("activation-svd", {"share": 0.8}),
    ("zero-point", {}),
    ("round-to-nearest", {"bits": 3}),
    ("omniquant", {"bits": 3}),
    ("squeezellm", {"bits": 3}),
    ("hqq", {"bits": 3}),
    ("absmax", {"per": "tensor"}),
    *((method, {"bits": bits, "group": 32}) for bits in (4, 3, 2) for method in ("gptq", "awq", "round-to-nearest")),
    *((method, {"bits": 2}) for method in ("awq", "omniquant", "squeezellm", "hqq", "round-to-nearest")),
    *((method, {"bits": 8}) for method in ("gptq", "round-to-nearest")),
    ("activation-svd", {"share": 0.5}),
    *(("svd", {"share": share}) for share in (0.8, 0.5)),
    *((method, {"share": 0.8}) for method in ("tucker", "tensor-train", "tensor-train-matrix", "hypoformer")),
    *(("grouped-query", {"heads": 6, "kv_heads": heads}) for heads in (3, 1)),
]
OF_PROGRAMS = ("absmax", "llm-int8", "smoothquant", "gptq")


def with_rounded_inputs(compressed: Compressed) -> nn.Module:
    """The compressed module with its linear layers' inputs rounded to int8, token by token."""
    for layer in compressed.record.layers:
        module = compressed.module.get_submodule(layer.layer)
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0]),))
    return compressed.module


@click.group(help=__doc__.split("\n\n")[0] if __doc__ else None)
def main() -> None:
    pass


@main.command()
@click.argument("lines", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--int8-activations", is_flag=True, help="The loss with rounded inputs too, of some methods.")
@click.option("--seed", "seeds", multiple=True, default=(0,), show_default=True, help="Draws the calibration windows.")
@click.option("--method", "methods", multiple=True, help="Only this method; default: all.")
@click.option("--bits", type=int, help="Only with so many bits, a step a channel.")
def run(
    lines: Path, int8_activations: bool, seeds: tuple[int, ...], methods: tuple[str, ...], bits: int | None
) -> None:
    """Compress and evaluate what LINES does not have yet."""
    torch.set_num_threads(1)
    model, record = load(MODEL)
    text = corpus(load_text(), record.tokenizer)
    inputs, _ = windows(text.training, record.context)
    x, y = windows(text.validation, record.context)
    done = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    written = [(line["method"], line["given"], line["seed"]) for line in done]
    for seed in seeds:
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
        calibration: list[tuple[Tensor, ...]] = [(inputs[place : place + 1],) for place in order[:SAMPLES].tolist()]
        for method, given in CASES:
            if (methods and method not in methods) or (method, given, seed) in written:
                continue
            if bits is not None and given != {"bits": bits}:
                continue
            torch.manual_seed(seed)
            compressed = compress_module(model, method, calibration=calibration, **given)
            facts = compressed.record
            line = {
                "method": method,
                "given": given,
                "seed": seed,
                "family": facts.family,
                "bits_per_weight": facts.bits_per_weight,
                "runs_as": facts.layers[0].runs_as,
                "loss": total_loss(compressed.module, x, y) / y.numel(),
                "parent_loss": record.validation_loss,
                "build_s": facts.wall_s,
            }
            if int8_activations and method in OF_PROGRAMS:
                line["loss_int8_activations"] = total_loss(with_rounded_inputs(compressed), x, y) / y.numel()
            with lines.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


@main.command()
@click.argument("lines", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def table(lines: Path) -> None:
    """Print LINES as a table."""
    print("| method | seed | bits per weight | loss | with int8 activations | the program runs as |")
    print("|---|---|---|---|---|---|")
    for line in map(json.loads, lines.read_text().splitlines()):
        given = ", ".join(f"{name} {value}" for name, value in line["given"].items())
        loss = f"{line['loss']:.4f} ({line['loss'] - line['parent_loss']:+.4f})"
        rounded_loss = f"{line['loss_int8_activations']:.4f}" if "loss_int8_activations" in line else "–"
        name = line["method"] + (f", {given}" if given else "")
        bits = f"{line['bits_per_weight']:.2f}"
        print(f"| {name} | {line['seed']} | {bits} | {loss} | {rounded_loss} | {line['runs_as']} |")


if __name__ == "__main__":
    main()
