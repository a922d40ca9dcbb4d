"""Tiny language models that take positions in each of the three ways, as programs of `interfaces_on_disk`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCABULARY, CONTEXT, WIDTH = 50, 12, 16
# How a language model takes positions: the first one in [1], the first one as a 0-d tensor, one for each token.
CONVENTIONS = ("first", "scalar", "each")


def make_language_models(folder: Path, write: Any, lowered: Any, facts: dict[str, Any]) -> None:
    """`lm_*.pte`, `strict_*.pte` and, in `language.npz`, what torch makes of a prompt and a text."""
    import torch

    for convention in CONVENTIONS:
        model = _language_model(convention)
        length = torch.export.Dim("length", min=1, max=CONTEXT - 1)
        tokens = torch.randint(0, VOCABULARY, (1, 5))
        position = {"first": torch.tensor([0]), "scalar": torch.tensor(0), "each": torch.arange(5)}[convention]
        shapes = {"tokens": {1: length}, "positions": {0: length} if convention == "each" else None}
        write(f"lm_{convention}", model, (tokens, position), dynamic=shapes, constants=facts)
        kind = torch.int32 if convention == "first" else torch.int64
        write(
            f"strict_{convention}",
            _strict(convention),
            (tokens.to(kind), position.to(kind)),
            dynamic=shapes,
            constants=facts,
        )
    for name in ("whole", "whole_all"):  # no cache: each call is given all tokens
        length = torch.export.Dim("length", min=1, max=CONTEXT)
        whole = _whole(all_logits=name == "whole_all")
        constants = facts | {"use_kv_cache": False}
        write(f"lm_{name}", whole, (tokens,), dynamic={"tokens": {1: length}}, constants=constants)
    _make_all_logits(folder, lowered, facts)
    _write_expected(folder)


def _language_model(convention: str) -> Any:
    """Attention over a cache, in which a wrong position shows: keys lie where they were put, later ones are hidden."""
    import torch

    class Cached(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = torch.nn.Embedding(VOCABULARY, WIDTH), torch.nn.Linear(WIDTH, VOCABULARY)
            self.places = torch.nn.Embedding(CONTEXT, WIDTH)
            self.register_buffer("keys", torch.zeros(1, CONTEXT, WIDTH))
            self.requires_grad_(False)

        def forward(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
            if convention != "each":
                positions = positions.reshape(1) + torch.arange(tokens.shape[1])
            x = self.embed(tokens) + self.places(positions)
            self.keys.index_copy_(1, positions, x)
            hidden = torch.arange(CONTEXT)[None, :] > positions[:, None]
            mixed = (x @ self.keys.transpose(1, 2)).masked_fill(hidden, -1e9).softmax(-1) @ self.keys
            logits = self.head(x + mixed)
            return logits if convention == "each" else logits[:, -1]

    torch.manual_seed(4)
    return Cached().eval()


def _whole(*, all_logits: bool) -> Any:
    """The same network over a whole sequence, without a cache."""
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = _language_model("each")

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            along = torch.arange(tokens.shape[1])
            x = self.inner.embed(tokens) + self.inner.places(along)
            hidden = along[None, :] > along[:, None]
            mixed = (x @ x.transpose(1, 2)).masked_fill(hidden, -1e9).softmax(-1) @ x
            logits = self.inner.head(x + mixed)
            return logits if all_logits else logits[:, -1]

    return Whole().eval()


def _strict(convention: str) -> Any:
    """A language model that fails to run on a wrong position, or on another token than the one that it said last.

    After position p it says token 7 p + 3, for each position where positions are given for each.
    """
    import torch

    class Strict(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = torch.nn.Embedding(1, 1)  # a look-up of any row but 0 fails
            self.register_buffer("next", torch.zeros(1, dtype=torch.int64))
            self.register_buffer("said", torch.zeros(1, dtype=torch.int64))
            self.requires_grad_(False)

        def forward(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
            tokens, positions = tokens.to(torch.int64), positions.to(torch.int64)
            along = torch.arange(tokens.shape[1])
            each = positions if convention == "each" else positions.reshape(1) + along
            new = each[:1] == 0
            expected = torch.where(new, 0, self.next) + along
            wrong = (each - expected).abs().sum() + torch.where(new, 0, (tokens[0, :1] - self.said).abs()).sum()
            says = (each * 7 + 3) % VOCABULARY
            self.next.copy_(each[-1:] + 1)
            self.said.copy_(says[-1:])
            logits = (torch.arange(VOCABULARY)[None, :] == says[:, None]).to(torch.float32)[None]
            logits = logits + self.only(wrong.clamp(max=5).reshape(1))
            return logits if convention == "each" else logits[:, -1]

    return Strict().eval()


def _make_all_logits(folder: Path, lowered: Any, facts: dict[str, Any]) -> None:
    """A language model with a second method, which returns the logits of a whole window."""
    import torch

    class All(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = _language_model("each")
            self.inner.head.bias += 1.0  # no other probabilities, but other logits: how far the methods are apart

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.inner(tokens, torch.arange(CONTEXT))

    one = (torch.ones(1, 1, dtype=torch.int64), torch.tensor([0]))
    programs = {
        "forward": torch.export.export(_language_model("first"), one),
        "forward_all_logits": torch.export.export(All().eval(), (torch.ones(1, CONTEXT, dtype=torch.int64),)),
    }
    (folder / "lm_all.pte").write_bytes(lowered(programs, constants=facts).buffer)


def _write_expected(folder: Path) -> None:
    """Greedy tokens after a prompt, and the loss on a text, by torch on a sequence as a whole: no cache at all."""
    import numpy as np
    import torch

    random = np.random.default_rng(3)
    prompt, text = random.integers(0, VOCABULARY, 5), random.integers(0, VOCABULARY, 3 * CONTEXT + 1)
    model = _language_model("each")

    def logits(tokens: Any) -> Any:
        model.keys.zero_()
        return model(torch.as_tensor(tokens).reshape(1, -1), torch.arange(len(tokens)))[0].double()

    losses = []
    for window in range(3):
        span = torch.as_tensor(text[window * CONTEXT : (window + 1) * CONTEXT + 1])
        losses.append(float(torch.nn.functional.cross_entropy(logits(span[:-1]), span[1:])))
    np.savez(folder / "language.npz", text=text, loss=np.mean(losses), prompt=prompt, logits=logits(prompt)[-1].numpy())
