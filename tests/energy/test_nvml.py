"""NVML through a module that is none."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from energy.devices import pynvml

from harness.energy import nvml
from harness.energy.source import Missing, NoEnergy, Source


def find(monkeypatch: pytest.MonkeyPatch, module: Any, uuid: str | None = None) -> Source | Missing:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return nvml.find(uuid)


def test_the_counter_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pynvml()
    found = find(monkeypatch, module, "GPU-1")
    assert isinstance(found, Source)
    assert found.read is not None
    assert (found.tier, found.power, list(found.read())) == ("counter", False, [5.0])
    module.energy_mj = None
    with pytest.raises(NoEnergy, match="no reading"):
        found.read()


def test_without_a_counter_power_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find(monkeypatch, pynvml(energy_mj=None))
    assert isinstance(found, Source)
    assert found.read is not None
    assert (found.tier, found.power, list(found.read())) == ("sampled", True, [60.0])


@pytest.mark.parametrize(
    ("module", "uuid", "why"),
    [
        (None, None, "nvidia-ml-py is not installed"),
        (pynvml(gpus=2), None, "there are 2 GPUs"),
        (pynvml(gpus=0), None, "there are 0 GPUs"),
        (pynvml(), "GPU-9", "finds no such GPU"),
        (pynvml(energy_mj=None, power_mw=None), "GPU-1", "neither energy nor power"),
    ],
)
def test_where_there_is_none_it_says_so(
    monkeypatch: pytest.MonkeyPatch, module: Any, uuid: str | None, why: str
) -> None:
    found = find(monkeypatch, module, uuid)
    assert isinstance(found, Missing)
    assert why in found.reason
    assert found.todo.endswith(".")
