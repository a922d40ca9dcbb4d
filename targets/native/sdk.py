"""ExecuTorch's headers and libraries for a machine: those of the installed wheel, or of the same version's wheel for
another.
"""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

from harness.atomic_files import replacing_folder
from harness.errors import HarnessError
from harness.folders import cache_folder

_PLATFORM = "manylinux_2_28"
_LIMIT_S = 600


def executorch_version() -> str:
    """The version that is installed, which is also the one on the device."""
    return version("executorch")


def sdk(machine: str) -> Path:
    """The folder with `include/` and `lib/` of `executorch` for `machine` (x86_64, aarch64); downloaded once where it
    is not this one. Raises HarnessError.
    """
    if machine == platform.machine():
        return _installed()
    folder = cache_folder() / "native" / f"executorch-{executorch_version()}-{machine}"
    if not folder.exists():
        _download(machine, folder)
    return folder / "executorch"


def _installed() -> Path:
    spec = importlib.util.find_spec("executorch")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "lib" / "libexecutorch.so").exists():
            return Path(place)
    raise HarnessError(
        "The installed executorch brings no C++ libraries.",
        f"Install its wheel: `pip install --force-reinstall executorch=={executorch_version()}`.",
    )


def _download(machine: str, folder: Path) -> None:
    """Fetch the wheel with pip, which checks its hash, and keep headers and libraries."""
    with replacing_folder(folder) as fresh:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--only-binary=:all:", "--platform", f"{_PLATFORM}_{machine}", "--implementation", "cp"),
            *("--python-version", f"{sys.version_info.major}.{sys.version_info.minor}", "--dest", str(fresh)),
            f"executorch=={executorch_version()}",
        ]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_LIMIT_S)
        except (OSError, subprocess.SubprocessError) as error:
            printed = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise HarnessError(
                f"The {machine} wheel of executorch {executorch_version()} cannot be downloaded "
                f"({printed[-1].removeprefix('ERROR: ').rstrip('.') if printed else 'pip failed'}).",
                f"Check the network, then `{' '.join(['pip', *command[3:-2], '.', command[-1]])}` shows more.",
            ) from error
        (wheel,) = fresh.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            wanted = [n for n in archive.namelist() if n.startswith(("executorch/include/", "executorch/lib/"))]
            archive.extractall(fresh, wanted)
        wheel.unlink()
