"""Files on a real disk: in memory nothing here means anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.flash.io.proof import check_storage


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder on a disk with O_DIRECT; `pytest --basetemp` names another where the usual one is none."""
    (tmp_path / "probe").touch()
    try:
        check_storage(tmp_path / "probe")
    except UsageError as error:
        pytest.skip(str(error))
    return tmp_path
