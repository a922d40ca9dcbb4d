"""Tiny real models for the tests of workers, targets and the command line, made by ExecuTorch itself, once a session.

`python models_on_disk.py FOLDER` makes them. Importing this file needs no torch; the exporter (6 s) is imported only by
that process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

BATCH, WIDTH, HIDDEN = 4, 8, 16
VOCABULARY, CONTEXT, HEADS = 16, 8, 2
DELEGATE, MISSING_DELEGATE = b"XnnpackBackend", b"AcmeNpuBackend"


@dataclass(frozen=True)
class Models:
    """`mlp` maps float32 [n, 8] to [n, 8] for n up to 4; `mlp_pt2` has its weights, `other` slightly different ones.

    `deep` has twelve layers, of which `heavier` has one wider by a sixteenth.

    `foreign` is `mlp` for a delegate that no machine has. `lm` is a language model by ExecuTorch's convention, `lm_pt2`
    another one, by the same convention in a `.pt2`. The weights of `mlp`, `lm` and `lm_pt2` lie beside them as
    `mlp.npz`, `lm.npz` and `lm_pt2.npz`, and in `arenas.json` the sizes of the arenas that were planned for `forward`.
    """

    folder: Path

    @property
    def mlp(self) -> Path:
        return self.folder / "mlp.pte"

    @property
    def other(self) -> Path:
        return self.folder / "other.pte"

    @property
    def mlp_pt2(self) -> Path:
        return self.folder / "mlp.pt2"

    @property
    def lm(self) -> Path:
        return self.folder / "lm.pte"

    @property
    def lm_pt2(self) -> Path:
        return self.folder / "lm.pt2"

    @property
    def deep(self) -> Path:
        return self.folder / "deep.pte"

    @property
    def heavier(self) -> Path:
        return self.folder / "heavier.pte"

    @property
    def foreign(self) -> Path:
        return self.folder / "foreign.pte"


def make_models(factory: pytest.TempPathFactory, worker_id: str | None) -> Models:
    """The models of this test session, made by whichever xdist worker comes first."""
    base = factory.getbasetemp()
    folder = (base.parent if worker_id is not None else base) / "models"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            made = subprocess.run(
                [sys.executable, __file__, f"{folder}.part"], capture_output=True, text=True, check=False
            )
            assert made.returncode == 0, made.stderr
            Path(f"{folder}.part").rename(folder)
    return Models(folder)


def _language_model() -> Any:
    """One layer of attention with a KV cache, written here so that it shares nothing with the models of harness."""
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(VOCABULARY, WIDTH)
            self.positions = nn.Embedding(CONTEXT, WIDTH)
            self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
            self.head = nn.Linear(WIDTH, VOCABULARY)
            self.register_buffer("keys", torch.zeros(1, HEADS, CONTEXT, WIDTH // HEADS))
            self.register_buffer("values", torch.zeros(1, HEADS, CONTEXT, WIDTH // HEADS))
            self.register_buffer("causal", torch.tril(torch.ones(CONTEXT, CONTEXT, dtype=torch.bool)))

        def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
            length, at = tokens.shape[1], input_pos[0].item()
            torch._check_is_size(at)
            torch._check(at + length <= CONTEXT)
            x = self.tokens(tokens) + self.positions.weight.narrow(0, at, length)
            q, k, v = (layer(x).view(1, length, HEADS, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))
            self.keys.narrow(2, at, length).copy_(k)
            self.values.narrow(2, at, length).copy_(v)
            scores = q @ self.keys.transpose(2, 3) / (WIDTH // HEADS) ** 0.5
            scores = scores.masked_fill(~self.causal.narrow(0, at, length), float("-inf"))
            mixed = (scores.softmax(-1) @ self.values).transpose(1, 2).reshape(1, length, WIDTH)
            return self.head((x + mixed)[:, -1])

    torch.manual_seed(1)
    model = Tiny().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(2.0)  # far from uniform, so that a wrong position or a wrong mask shows in the loss
    return model


def _make(folder: Path) -> None:
    import numpy as np
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    def write(name: str, program: Any, **constants: Any) -> bytes:
        lowered = to_edge_transform_and_lower(
            program, partitioner=[XnnpackPartitioner()], constant_methods=constants or None
        )
        manager = lowered.to_executorch()
        (folder / name).write_bytes(manager.buffer)
        plan = next(plan for plan in manager.executorch_program.execution_plan if plan.name == "forward")
        arenas[name] = sum(plan.non_const_buffer_sizes)
        return bytes(manager.buffer)

    def weights(name: str, model: Any) -> None:
        np.savez(folder / name, **{key: value.numpy() for key, value in model.state_dict().items()})

    arenas: dict[str, int] = {}
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    mlp = torch.nn.Sequential(
        torch.nn.Linear(WIDTH, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, WIDTH)
    ).requires_grad_(False)
    exported = torch.export.export(
        mlp.eval(), (torch.randn(BATCH, WIDTH),), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=BATCH)},)
    )
    torch.export.save(exported, folder / "mlp.pt2")
    weights("mlp.npz", mlp)
    program = write("mlp.pte", exported)
    (folder / "foreign.pte").write_bytes(_replaced(program, DELEGATE, MISSING_DELEGATE))
    # Patched, since lowering it once more would cost seconds.
    first = mlp[0].weight.numpy()
    (folder / "other.pte").write_bytes(_replaced(program, first.tobytes(), (first + np.float32(0.01)).tobytes()))

    for name, width in (("deep.pte", 128), ("heavier.pte", 136)):
        sizes = [*[128] * 6, width, *[128] * 6]
        layers = torch.nn.Sequential(*map(torch.nn.Linear, sizes, sizes[1:])).eval().requires_grad_(False)
        write(name, torch.export.export(layers, (torch.randn(BATCH, sizes[0]),)))

    lm = _language_model()
    weights("lm.npz", lm)
    tokens, position = torch.tensor([[1, 2, 3]]), torch.tensor([0])
    length = torch.export.Dim("length", min=1, max=CONTEXT - 1)
    write(
        "lm.pte",
        torch.export.export(lm, (tokens, position), dynamic_shapes=({1: length}, None)),
        get_vocab_size=VOCABULARY,
        get_max_seq_len=CONTEXT,
        get_max_context_len=CONTEXT,
        get_n_layers=1,
        use_kv_cache=True,
        use_sdpa_with_kv_cache=False,
        enable_dynamic_shape=True,
    )
    weights("lm_pt2.npz", _make_lm_pt2(folder / "lm.pt2"))
    (folder / "arenas.json").write_text(json.dumps(arenas))


def _make_lm_pt2(path: Path) -> Any:
    """As harness makes them of its own models: the export is tested in tests/models, what runs it elsewhere."""
    import torch

    from harness.models.export.pt2_generating import export_cached
    from harness.models.gpt.architecture import GPTConfig
    from harness.models.gpt.network import GPT

    torch.manual_seed(2)
    shape = GPTConfig(vocabulary_size=VOCABULARY, context=CONTEXT, layers=1, heads=HEADS, width=WIDTH)
    gpt = GPT(shape).eval().requires_grad_(False)
    for parameter in gpt.parameters():
        parameter.mul_(3.0)
    export_cached(gpt, path)
    return gpt


def _replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    assert len(old) == len(new)
    return data.replace(old, new)


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
