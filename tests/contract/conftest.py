"""The models are made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from models_on_disk import Models, make_models
from native_bundles import shared_folder


@pytest.fixture(autouse=True)
def bundles(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets that build a worker build it once."""
    return shared_folder(cache, tmp_path_factory)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Models:
    return make_models(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))
