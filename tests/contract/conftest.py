"""The targets, and the models, which are made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from models_on_disk import Models, make_models
from native_bundles import shared_folder

from harness.target import Target, find_target, target_names


@pytest.fixture(scope="module", params=target_names())
def target(request: pytest.FixtureRequest) -> Target:
    """Each installed target that is available here."""
    found = find_target(request.param)
    state = found.availability()
    if not state.available:
        assert state.reason, "a target that is not available says why"
        assert state.todo, "and what to do about it"
        pytest.skip(f"{found.name}: {state.reason}")
    return found


@pytest.fixture(autouse=True)
def bundles(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets that build a worker build it once."""
    return shared_folder(cache, tmp_path_factory)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Models:
    return make_models(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))
