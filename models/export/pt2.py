"""From a trained GPT to torch.export's `.pt2`: the network as it was trained, weights float32."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import Dim

from harness.durations import OnStep, unheard
from harness.models.export.library_noise import library_noise_hidden
from harness.models.gpt.network import GPT


def export_pt2(gpt: GPT, path: Path, on_step: OnStep = unheard) -> None:
    """Write `gpt` to `path` as a torch.export archive, for targets that run or compile PyTorch.

    tokens int64 [batch, context] to logits float32 [batch, context, vocabulary]; the batch is dynamic.
    """
    with library_noise_hidden(), torch.no_grad():
        on_step("exporting")
        tokens = torch.zeros(2, gpt.config.context, dtype=torch.int64)
        program = torch.export.export(gpt.eval(), (tokens,), dynamic_shapes=({0: Dim("batch", min=1, max=1024)},))
        torch.export.save(program, path)
