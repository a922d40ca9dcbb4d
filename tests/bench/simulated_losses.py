"""How far the loss that the npu or dsp target reports is from the loss of the integers themselves.

The targets evaluate torch's fake quantisation, which is several times faster than the integers. This runs both, and
float32, over the same windows of the validation text. Nothing is asserted. Needs the extra of the target.

    python tests/bench/simulated_losses.py dsp baseline-small selfcomp-small
    python tests/bench/simulated_losses.py npu selfcomp-small --windows 20
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.models.train import data
from harness.models.train.quality import windows
from harness.models.zoo import artifacts
from harness.targets.simulated.calibration import flat
from harness.targets.simulated.programs import Program, program, read_archive

Forms = dict[str, Callable[..., Any]]


def forms_of_npu(chosen: Program) -> Forms:
    """float32, fake quantisation and TOSA's integers, on the default configuration."""
    from harness.targets.npu.certification import Reference
    from harness.targets.npu.configuration import find
    from harness.targets.npu.lowering import lower

    lowered = lower(chosen, find(None))
    fake_quant = lowered.fake_quant.module(check_guards=False)
    return {"float32": lowered.float32, "fake quantisation": fake_quant, "integers": Reference(lowered).run}


def forms_of_dsp(chosen: Program) -> Forms:
    """float32, fake quantisation and CMSIS-NN's integers, on the default profile."""
    from harness.targets.dsp.integers import Integers
    from harness.targets.dsp.lowering import lower
    from harness.targets.dsp.profile import find

    lowered = lower(chosen, find(None).cpu)
    fake_quant = lowered.fake_quant.module(check_guards=False)
    return {"float32": lowered.float32, "fake quantisation": fake_quant, "integers": Integers(lowered.integers).run}


@torch.no_grad()
def losses(forms: Forms, inputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Nats a token of each form, over windows int64 [n, context]."""
    totals = dict.fromkeys(forms, 0.0)
    for window, following in zip(inputs, targets, strict=True):
        for name, form in forms.items():
            logits = flat(form(window[None]))[0][0]
            totals[name] += F.cross_entropy(logits.double(), following, reduction="sum").item()
    return {name: total / targets.numel() for name, total in totals.items()}


@click.command()
@click.argument("target", type=click.Choice(["npu", "dsp"]))
@click.argument("models", nargs=-1, required=True)
@click.option("--windows", "count", default=150, show_default=True, help="Windows of text, drawn at random.")
def main(target: str, models: tuple[str, ...], count: int) -> None:
    """Print the loss of each form of each model."""
    text = data.corpus(data.load_text()).validation
    for model in models:
        path = artifacts.static(model)
        chosen = program(path, read_archive(path), "prefill")
        inputs, targets = windows(text, chosen.calibration[0][0].size(1))
        drawn = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))[:count]
        forms = (forms_of_npu if target == "npu" else forms_of_dsp)(chosen)
        found = losses(forms, inputs[drawn], targets[drawn])
        tokens = targets[drawn].numel()
        click.echo(f"{model}, {target}, {tokens} tokens: " + ", ".join(f"{n} {v:.4f}" for n, v in found.items()))


if __name__ == "__main__":
    main()
