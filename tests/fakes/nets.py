"""Small networks with every kind of layer that compression methods meet, and a method of somebody else's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.models.compress.after_training.absmax import AbsmaxOptions
from harness.models.compress.method import Method, Weights


class Mixed(nn.Module):
    """Images [B, 3, 8, 8] to logits [B, 5]: convolutions, a norm with a bias, and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.transposed = nn.ConvTranspose2d(16, 16, 1)
        self.norm = nn.LayerNorm(64)
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64, bias=False)
        self.out = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transposed(torch.relu(self.conv(x))).flatten(2).mean(1)
        x = self.norm(x)
        x = torch.relu(self.first(x)) + self.second(x)
        logits: Tensor = self.out(x)
        return logits


class Tied(nn.Module):
    """Tokens [B, T] to logits [B, T, 20], the last layer's weight being the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 32)
        self.block = nn.Linear(32, 32)
        self.head = nn.Linear(32, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.block(self.embedding(tokens))))
        return logits


class Layer(nn.Module):
    """[..., width] to [..., width], with a norm and an activation before it is added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)
        self.back = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = self.back(torch.relu(self.linear(self.norm(x))))
        return x + update


class Deep(nn.Module):
    """Rows [B, width] to logits [B, 5], through alike layers."""

    def __init__(self, layers: int = 3, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))
        self.out = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.out(x)
        return logits


def mixed(seed: int = 0) -> Mixed:
    """A `Mixed` whose channels differ in size, so that scales and orders matter."""
    torch.manual_seed(seed)
    net = Mixed().eval()
    with torch.no_grad():
        net.norm.weight.copy_(torch.rand(64) * 3 + 0.2)
        net.norm.bias.normal_()
    return net


def tied(seed: int = 0) -> Tied:
    """A `Tied` with weights of its seed."""
    torch.manual_seed(seed)
    return Tied().eval()


def images(count: int = 24, seed: int = 1) -> Tensor:
    """Inputs of `Mixed`: float32 [count, 3, 8, 8]."""
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def _nothing(_: nn.Module, __: object, ___: AbsmaxOptions) -> Weights:
    return Weights({})


NOTHING = Method(
    name="nothing", family="theirs", options=AbsmaxOptions, run=_nothing, calibrated=False, source="this test"
)
