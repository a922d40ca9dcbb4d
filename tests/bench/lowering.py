"""How much of the processor's time writing a `.pte` takes next to ExecuTorch's own way, where every pass of XNNPACK
runs over every delegate: pairs of processes, one after the other, and a line with the ratio and its interval.

    python tests/bench/lowering.py                                # about four minutes
    python tests/bench/lowering.py --model baseline-6x384 --pairs 4
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time

import click

from harness.statistics.summary import log_mean


def lower(model: str, every_pass: bool) -> dict[str, object]:
    """The CPU seconds of lowering the model, and the hash of the program."""
    import torch

    from harness.models.export import xnnpack_passes
    from harness.models.export.library_noise import library_noise_hidden
    from harness.models.export.pte import constant_methods, exported_methods, lowered_to_pte
    from harness.models.zoo.loading import load

    if every_pass:
        xnnpack_passes.needed_passes_only = contextlib.nullcontext  # type: ignore[assignment]
    gpt, _ = load(model)
    with library_noise_hidden(), torch.no_grad():
        methods = exported_methods(gpt, "int8")
        begun_s = time.process_time()
        program = lowered_to_pte(methods, constant_methods(gpt))
        return {"cpu_s": time.process_time() - begun_s, "sha256": hashlib.sha256(program).hexdigest()}


@click.command(help=__doc__.split("\n\n")[0] if __doc__ else None)
@click.option("--model", default="baseline-small", show_default=True)
@click.option("--pairs", default=4, show_default=True)
@click.option("--one", type=click.Choice(("needed", "every")), hidden=True)
def main(model: str, pairs: int, one: str | None) -> None:
    if one is not None:
        print(json.dumps(lower(model, one == "every")))
        return
    ratios = []
    for _ in range(pairs):
        made = {}
        for way in ("every", "needed"):
            command = [sys.executable, __file__, "--model", model, "--one", way]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            made[way] = json.loads(printed.splitlines()[-1])
        if made["every"]["sha256"] != made["needed"]["sha256"]:
            raise click.ClickException("The programs differ: a pass that was left out had something to do.")
        ratios.append(made["needed"]["cpu_s"] / made["every"]["cpu_s"])
    mean = log_mean(ratios)
    print(f"{model}: {mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}] of the CPU time, the same bytes, {pairs} pairs")


if __name__ == "__main__":
    main()
