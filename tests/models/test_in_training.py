"""What every method that is learned in training does with a module of the user's, in a loop of the user's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.nets import images, mixed, tied
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import harness.models
from harness.errors import UsageError
from harness.models.compress import packed
from harness.models.compress.method import method_names
from harness.models.compress.training import Prepared

NEEDED: dict[str, dict[str, Any]] = {"lorahub": {"steps": 7, "l1": 0.0}}
"""Options that a method must have."""
NETS: dict[str, tuple[nn.Module, Tensor]] = {"lorahub": (tied(), torch.arange(160).view(8, 20) % 20)}
"""A model and its inputs where a method needs another than `mixed`."""


def net_for(method: str) -> tuple[nn.Module, Tensor]:
    """A small model that the method can treat, and a batch of its inputs."""
    return NETS.get(method, (mixed(), images()))


def train(prepared: Prepared, inputs: Tensor, steps: int = 3) -> list[float]:
    """A loop as a user has one; returns its losses."""
    groups = prepared.training.parameter_groups()
    taken = {id(parameter) for group in groups for parameter in group["params"]}
    rest = [parameter for parameter in prepared.module.parameters() if id(parameter) not in taken]
    optimizer = torch.optim.AdamW([{"params": rest, "lr": 1e-2}, *groups], weight_decay=0.0)
    losses = []
    with torch.no_grad():
        wanted = prepared.original(inputs).flatten(0, -2).roll(1, 0)
    for step in range(steps):
        outputs = prepared.module(inputs)
        loss = F.mse_loss(outputs.flatten(0, -2), wanted)
        (loss + prepared.training.output_loss(inputs, outputs) + prepared.training.penalty()).backward()
        optimizer.step()
        optimizer.zero_grad()
        prepared.training.after_update(step)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("method", method_names(trained=True))
def test_a_module_is_trained_and_stored(method: str, tmp_path: Path) -> None:
    net, inputs = net_for(method)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(0)
    prepared = harness.models.prepare(net, method, **NEEDED.get(method, {}))
    losses = train(prepared, inputs, steps=20)
    assert losses[-1] < losses[0]
    small = prepared.finish()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert small.record.layers
    path = tmp_path / "small.safetensors"
    path.write_bytes(packed.encoded(small, net, whole=False))
    again, record = packed.decoded(path, net)
    with torch.no_grad():
        outputs = small.module(inputs)
        assert torch.equal(again.eval()(inputs), outputs)
        assert not torch.equal(outputs, net.eval()(inputs))
    assert record == json.loads(json.dumps(small.record.as_json()))


@pytest.mark.parametrize("method", method_names(trained=True))
def test_it_is_refused_without_training(method: str) -> None:
    with pytest.raises(UsageError, match=f"{method} is learned in training"):
        harness.models.compress(mixed(), method=method, calibration=images())


def test_a_method_after_training_has_nothing_to_prepare() -> None:
    with pytest.raises(UsageError, match="gptq acts on a trained model"):
        harness.models.prepare(mixed(), "gptq")


def test_rounded_weights_are_those_that_were_trained_with() -> None:
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    prepared = harness.models.prepare(net, "qat", bits=3, activation_bits=None)
    inputs = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    train(prepared, inputs)
    small = prepared.finish()
    with torch.no_grad():
        small.module[0].bias.copy_(prepared.module[0].bias)  # type: ignore[index, union-attr]
        small.module[2].bias.copy_(prepared.module[2].bias)  # type: ignore[index, union-attr]
        torch.testing.assert_close(small.module(inputs), prepared.module(inputs), rtol=1e-5, atol=1e-6)
    assert small.record.bits_per_weight == pytest.approx(3 + 32 * 40 / (64 * 32 + 32 * 8))


def linears(seed: int = 1) -> tuple[nn.Module, Tensor]:
    """Two linear layers, and inputs for them."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)), torch.randn(16, 64)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_noise_of_no_weight_is_float32_and_of_all_is_qat(share: float) -> None:
    net, inputs = linears()
    noisy = harness.models.prepare(net, "quantisation-noise", bits=2, group=32, activation_bits=None, share=share)
    qat = harness.models.prepare(net, "qat", bits=2, group=32, activation_bits=None).module
    assert torch.equal(noisy.module.train()(inputs), net(inputs) if share == 0 else qat(inputs))
    assert torch.equal(noisy.module.eval()(inputs), qat(inputs))


@given(share=st.floats(0.0, 1.0), seed=st.integers(0, 1000))
def test_noise_rounds_about_its_share_of_the_weights_and_leaves_the_others(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(64, 64)
    rounded = harness.models.prepare(layer, "quantisation-noise", share=share).module
    weight, noisy, nearest = layer.weight, rounded.train().weight, rounded.eval().weight
    assert ((noisy == weight) | (noisy == nearest)).all()
    assert (noisy != weight).float().mean().item() == pytest.approx(share, abs=0.05)  # 6 standard deviations
