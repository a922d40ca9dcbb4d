"""`python tests/contract/verify.py TARGET [FILE]`: whether a target keeps its contract here, as a file to send back.

FILE (default TARGET-verification.json) has the device and its readings, the versions, and the outcome of every test.
Exit code 0: all that could be run went well; 1: a test failed; 2: the target is not available here.
"""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from harness import __version__
from harness.errors import HarnessError
from harness.target import Target, find_target

HERE = Path(__file__).parent
_PACKAGES = ("torch", "torchao", "executorch", "triton", "nvidia-ml-py", "numpy", "pandas", "pytest")
_REASON = 2000


class Recorder:
    """Keeps of the collected tests those of one target, and what became of each."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        def other(item: pytest.Item) -> bool:
            spec = getattr(item, "callspec", None)
            return spec is not None and spec.params.get("target", self._name) != self._name

        config.hook.pytest_deselected(items=[item for item in items if other(item)])
        items[:] = [item for item in items if not other(item)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has three parts; the worst of them is its outcome."""
        row = self.tests.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0, "reason": None})
        row["seconds"] = round(row["seconds"] + report.duration, 3)
        if report.outcome != "passed":
            said = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            row |= {"outcome": report.outcome, "reason": said[-_REASON:]}


def main(name: str, output: Path) -> int:
    """Run the tests, write the file, return the exit code."""
    target = find_target(name)
    state, recorder = target.availability(), Recorder(name)
    if state.available:
        own = sorted((HERE.parent / "targets").glob(f"test_{name}_hardware.py"))
        pytest.main(["-p", "no:cacheprovider", "-rs", str(HERE), *map(str, own)], plugins=[recorder])
    outcomes = [row["outcome"] for row in recorder.tests.values()]
    facts = _facts(target) | {
        "available": state.available,
        "reason": state.reason or None,
        "todo": state.todo or None,
        "counts": {outcome: outcomes.count(outcome) for outcome in ("passed", "failed", "skipped")},
        "tests": recorder.tests,
    }
    output.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"{name}: {facts['counts']}, written to {output}" if state.available else f"{name}: {state.reason}")
    if not state.available:
        return 2
    return 0 if "passed" in outcomes and "failed" not in outcomes else 1


def _facts(target: Target) -> dict[str, Any]:
    return {
        "target": target.name,
        "device": target.device(),
        "harness": __version__,
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "readings": {reading.name: reading.value or f"null: {reading.reason}" for reading in target.environment()},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else f"{sys.argv[1]}-verification.json")))
    except (HarnessError, IndexError) as problem:
        sys.exit(f"{problem}\n{__doc__}")
