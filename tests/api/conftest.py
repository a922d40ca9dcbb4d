"""The models are made once a session."""

from __future__ import annotations

import pytest
from models_on_disk import Models, make_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Models:
    return make_models(tmp_path_factory, getattr(request.config, "workerinput", {}).get("workerid"))
