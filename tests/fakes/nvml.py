"""NVML as it answers for GPUs that are not here: the real names, constants and errors of pynvml, answers from a file.

The files beside (`nvml_*.json`) are FIXTURES in the form of a recording: written by hand after NVML's documentation,
and read from no device. They say so themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml

FOLDER = Path(__file__).parent
_ERRORS = {"Not Supported": pynvml.NVML_ERROR_NOT_SUPPORTED, "No Permission": pynvml.NVML_ERROR_NO_PERMISSION}


class FakeNvml:
    """Stands in for the module `pynvml`. A handle is the dictionary of a device; `calls` remembers what was set.

    An answer that is an object `{"error": WORDS}` raises that error; a function that no device answers is an
    AttributeError, as it would be of the module.
    """

    def __init__(self, name: str = "a100", *, root: bool = True) -> None:
        recorded = json.loads((FOLDER / f"nvml_{name}.json").read_text())
        assert recorded["fixture"].startswith("written by hand"), "a fixture says that it is one"
        self.system: dict[str, Any] = recorded["system"]
        self.devices: list[dict[str, Any]] = recorded["devices"]
        self.root = root
        self.calls: list[tuple[Any, ...]] = []

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self.devices[index]

    def nvmlSystemGetDriverVersion(self) -> str:
        return str(self.system["nvmlSystemGetDriverVersion"])

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return int(self.system["nvmlSystemGetCudaDriverVersion_v2"])

    def nvmlDeviceGetMigDeviceHandleByIndex(self, board: dict[str, Any], index: int) -> dict[str, Any]:
        instance = board["instances"][index]
        if instance is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return dict(instance)

    def nvmlDeviceSetPersistenceMode(self, board: dict[str, Any], mode: int) -> None:
        self._set("persistence", board, mode)
        board["nvmlDeviceGetPersistenceMode"] = mode

    def nvmlDeviceSetGpuLockedClocks(self, board: dict[str, Any], low: int, high: int) -> None:
        self._set("lock", board, low, high)

    def nvmlDeviceResetGpuLockedClocks(self, board: dict[str, Any]) -> None:
        self._set("unlock", board)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDeviceGet"):
            return getattr(pynvml, name)
        assert hasattr(pynvml, name), f"pynvml has no {name}"

        def answer(device: dict[str, Any], *arguments: int) -> Any:
            value = device[name]
            if arguments and isinstance(value, dict) and "error" not in value:
                value = value[",".join(map(str, arguments))]
            if isinstance(value, dict) and "error" in value:
                raise pynvml.NVMLError(_ERRORS[value["error"]])
            return SimpleNamespace(**value) if isinstance(value, dict) else value

        return answer

    def _set(self, *call: Any) -> None:
        if not self.root:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
        what, board, *values = call
        self.calls.append((what, board["nvmlDeviceGetUUID"], *values))
