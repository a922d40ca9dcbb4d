from __future__ import annotations

from pathlib import Path

import pytest
from nightly.farm import Farm
from report.conftest import generated as generated


@pytest.fixture
def farm(tmp_path: Path, unsynced: None) -> Farm:
    return Farm(tmp_path)
