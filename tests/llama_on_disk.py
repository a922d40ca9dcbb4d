"""A tiny Llama by ExecuTorch's own exporter of language models, made once a session, with what torch makes of a text.

`python llama_on_disk.py FOLDER` makes it: half a minute of one processor. Importing this file needs no torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

VOCABULARY, CONTEXT = 64, 32
_SHAPE = {
    "dim": 32,
    "n_layers": 1,
    "n_heads": 4,
    "n_kv_heads": 2,
    "vocab_size": VOCABULARY,
    "multiple_of": 16,
    "norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_dim": 64,
}


def make_llama(factory: pytest.TempPathFactory, worker_id: str | None) -> Path:
    """The folder with `llama.pte` and `llama.npz`: `tokens` [n] and the `loss` of each, in nats."""
    base = factory.getbasetemp()
    folder = (base.parent if worker_id is not None else base) / "llama"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = Path(f"{folder}.part")
            part.mkdir()
            made = subprocess.run(
                [sys.executable, __file__, str(part)], capture_output=True, text=True, check=False, cwd=part
            )
            assert made.returncode == 0, made.stderr
            part.rename(folder)
    return folder


def _make(folder: Path) -> None:
    import numpy as np
    import torch
    from executorch.examples.models.llama.export_llama_lib import export_llama
    from executorch.examples.models.llama.llama_transformer import construct_transformer
    from executorch.examples.models.llama.model_args import ModelArgs
    from executorch.extension.llm.export.config.llm_config import LlmConfig

    torch.manual_seed(0)
    whole = ModelArgs(**_SHAPE, max_seq_len=CONTEXT, max_context_len=CONTEXT, generate_full_logits=True)
    model = construct_transformer(whole).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # far from uniform, so that a wrong position shows in the loss
    (folder / "params.json").write_text(json.dumps(_SHAPE))
    torch.save(model.state_dict(), folder / "weights.pth")

    def logits_of(text: torch.Tensor) -> torch.Tensor:
        answer = model(text[None])
        return (answer[0] if isinstance(answer, tuple) else answer)[0]

    tokens = torch.tensor([1])
    while len(tokens) <= CONTEXT:  # what it is sure of, so that its loss is far from that of a guess
        tokens = torch.cat((tokens, logits_of(tokens)[-1:].argmax(-1)))
    logits = logits_of(tokens[:-1])
    loss = torch.nn.functional.cross_entropy(logits.double(), tokens[1:], reduction="none")
    np.savez(folder / "llama.npz", tokens=tokens.numpy(), loss=loss.numpy())

    config = LlmConfig()
    config.base.params, config.base.checkpoint = "params.json", "weights.pth"
    config.model.use_kv_cache = config.model.use_sdpa_with_kv_cache = True
    config.export.max_seq_length = config.export.max_context_length = CONTEXT
    config.backend.xnnpack.enabled = config.backend.xnnpack.extended_ops = True
    config.export.output_name = "llama.pte"
    export_llama(config)
    os.remove(folder / "weights.pth")


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
