"""Published times of boards beside what the npu and dsp targets estimate for the same networks.

The networks have random weights (Vela's cycles depend on weights only by how well they compress) and are calibrated on
random inputs. Lowering them takes minutes; nothing is asserted. Needs the extras `npu` and `dsp`.

    python tests/bench/anchors.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pandas as pd
import torch
from torch import nn


@dataclass(frozen=True)
class Anchor:
    """`measured_ms` of one inference on a board, as `source` gives it, and in what ours is not the same. The publisher
    had no operators whose names contain `left_out`.
    """

    network: str
    make: Callable[[], nn.Module]
    target: str
    configuration: str
    measured_ms: float
    source: str
    differs: str
    left_out: str | None = None


def mobilenet_v2() -> nn.Module:
    """Of width 1.0 (Sandler et al., arXiv 1801.04381, table 2)."""
    layers: list[nn.Module] = [_convolution(3, 32, 3, stride=2)]
    channels = 32
    for expand, out, repeats, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for repeat in range(repeats):
            layers.append(InvertedResidual(channels, out, expand, stride if repeat == 0 else 1))
            channels = out
    layers += [_convolution(channels, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project; added to its input where the sizes allow."""

    def __init__(self, channels: int, out: int, expand: int, stride: int) -> None:
        super().__init__()
        inner = channels * expand
        parts = [_convolution(channels, inner, 1)] if expand > 1 else []
        parts.append(_convolution(inner, inner, 3, stride=stride, groups=inner))
        self.parts = nn.Sequential(*parts, nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out))
        self.added = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.parts(x)
        return x + y if self.added else y


def _convolution(channels: int, out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU6())


class DeitTiny(nn.Module):
    """Twelve blocks of 192 with three heads, patches of 16 (Touvron et al., arXiv 2012.12877, table 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 192, 16, 16)
        self.first = nn.Parameter(torch.zeros(1, 1, 192))
        self.positions = nn.Parameter(torch.randn(1, 197, 192) * 0.02)
        self.blocks = nn.Sequential(*(Block(192, 3) for _ in range(12)))
        self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 1000)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.first, self.patches(image).flatten(2).transpose(1, 2)], 1) + self.positions
        scores: torch.Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return scores


class Block(nn.Module):
    """Attention and a feed-forward network of four times the width, each after a norm and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ffn = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, width = x.shape[1:]
        q, k, v = (
            part.view(1, count, self.heads, -1).transpose(1, 2) for part in self.qkv(self.before(x)).split(width, 2)
        )
        scores = (q @ k.transpose(2, 3) * (width // self.heads) ** -0.5).softmax(-1)
        x = x + self.out((scores @ v).transpose(1, 2).reshape(1, count, width))
        return x + self.ffn(self.between(x))


_BOARD = "Alif Ensemble E8"
_LAYERS = 22  # modules up to the ReLU6 of the eighth convolution, where its block adds nothing yet
ANCHORS = (
    Anchor(
        "MobileNetV2 224x224",
        mobilenet_v2,
        "npu",
        "u55-256-flash",
        19.0,
        f"{_BOARD}, github.com/pytorch/executorch/pull/19131",
        "the board's clock and memories; trained weights",
    ),
    Anchor(
        "DeiT-Tiny 224x224",
        DeitTiny,
        "npu",
        "u85-256-flash",
        81.59,
        f"{_BOARD}, huggingface.co/Arm/deit-tiny-int8-ethos-u-executorch",
        "the board's clock and memories; trained weights; some of its layers have int16 activations",
    ),
    Anchor(
        "DeiT-Tiny 224x224",
        DeitTiny,
        "npu",
        "u85-256-dram",
        81.59,
        f"{_BOARD}, huggingface.co/Arm/deit-tiny-int8-ethos-u-executorch",
        "the board's clock and memories; trained weights; some of its layers have int16 activations",
    ),
    Anchor(
        "MobileNetV2 224x224, its first eight layers",
        lambda: nn.Sequential(*[layer for layer in mobilenet_v2().modules() if not list(layer.children())][:_LAYERS]),
        "dsp",
        "cortex-m55",
        96_728_108 / 400e6 * 1e3,
        f"{_BOARD}, github.com/pytorch/executorch/issues/17651, rows 2 to 10, cycles at 400 MHz",
        "rates of five of the nine operators were fitted to these rows; rounding the output; trained weights",
        "dequantize",
    ),
)


@click.command()
@click.option("--network", help="Only networks whose name contains this.")
def main(network: str | None) -> None:
    """Print published and estimated milliseconds of each anchor, and their ratio."""
    rows = []
    for anchor in ANCHORS:
        if network is None or network.lower() in anchor.network.lower():
            estimated_ms = _estimate(anchor)
            rows.append(
                {
                    "network": anchor.network,
                    "configuration": f"{anchor.target} {anchor.configuration}",
                    "published (ms)": round(anchor.measured_ms, 2),
                    "estimate (ms)": round(estimated_ms, 2),
                    "published / estimate": round(anchor.measured_ms / estimated_ms, 2),
                    "source": anchor.source,
                    "not matched": anchor.differs,
                }
            )
    click.echo(pd.DataFrame(rows).T.to_string(header=False))


def _estimate(anchor: Anchor) -> float:
    """Milliseconds of one inference, by the command that a user would give."""
    torch.manual_seed(0)
    image = torch.randn(1, 3, 224, 224)
    if anchor.target == "dsp":  # CMSIS-NN takes images in no other order
        image = image.contiguous(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        model, results = Path(folder) / "network.pt2", Path(folder) / "results"
        torch.export.save(torch.export.export(anchor.make().eval(), (image,)), model)
        device = ["-t", anchor.target, "--device", anchor.configuration, "--no-quality", "--timeout", "7200"]
        command = [sys.executable, "-m", "harness", "run", *device, "-m", str(model), "--results", str(results)]
        subprocess.run(command, check=True)
        samples, ops = pd.read_parquet(results / "samples"), pd.read_parquet(results / "ops")
    total_ns = samples.loc[samples["phase"] == "steady", "duration_ns"].iloc[0]
    if anchor.left_out is not None:
        total_ns -= ops.loc[ops["operator"].str.contains(anchor.left_out), "total_ns"].sum()
    return float(total_ns) / 1e6


if __name__ == "__main__":
    main()
