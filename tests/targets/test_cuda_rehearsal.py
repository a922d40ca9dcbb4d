"""The contract of all targets, kept by the cuda target with the processor in place of its GPU and NVML from a fixture:
the same code, but for the driver's own calls.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from contract import test_target_contract as contract
from fakes.nvml import FakeNvml
from models_on_disk import Models, make_models

from harness.target import Target
from harness.targets.cuda.target import Cuda


@pytest.fixture
def target() -> Target:
    rehearsed = Cuda("1", nvml=FakeNvml("a100"), kind="cpu")
    assert rehearsed.availability().available
    return rehearsed


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Models:
    return make_models(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))


def test_it_presents_itself_and_its_environment(target: Target) -> None:
    contract.test_it_presents_itself(target)
    contract.test_every_reading_of_the_environment_has_a_value_or_a_reason(target)


# Of all scenarios those whose way through the worker differs; each process imports torch.export, which takes seconds.
@pytest.mark.parametrize("scenario", ["generate", "cold-start"])
def test_a_scenario_has_the_samples_of_its_phases(
    target: Target, models: Models, scenario: str, tmp_path: Path
) -> None:
    contract.test_a_scenario_it_declares_gives_samples_of_its_phases(target, models, scenario, tmp_path)


def test_memory_is_measured(target: Target, models: Models, tmp_path: Path) -> None:
    contract.test_memory_is_measured_where_it_says_so(target, models, tmp_path)
