"""What this machine lacks to run models on an NVIDIA GPU: each want with what mends it. Nothing heavy is imported."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.targets.cuda.nvml import cuda_version

_LIBRARY = "libnvidia-ml.so.1"
Want = tuple[str, str]


def find_nvml() -> ModuleType | None:
    """`pynvml`, initialised, or None where it or the driver is not there."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    module: ModuleType = pynvml
    return module


def wants(nvml: Any | None, devices: int) -> list[Want]:
    """Everything that is missing; `devices` is how many GPUs NVML sees, `nvml` None where it cannot be asked."""
    missing: list[Want] = []
    built_for = torch_cuda()
    if built_for is None:
        missing.append(
            (
                "torch is a build without CUDA",
                "`pip uninstall torch`, then `pip install 'torch==2.13.*'`, which is built for CUDA on Linux.",
            )
        )
    if find_spec("pynvml") is None:
        missing.append(("nvidia-ml-py is not installed", "`pip install 'edge-harness[cuda]'`."))
    if nvml is None:
        missing += _driver()
        return missing
    if devices == 0:
        missing.append(("the driver sees no GPU", "`nvidia-smi -L` must list one."))
    speaks = cuda_version(nvml)
    if built_for is not None and speaks[0] < int(built_for.partition(".")[0]):
        missing.append(
            (
                f"driver {nvml.nvmlSystemGetDriverVersion()} speaks CUDA {speaks[0]}.{speaks[1]}, this torch was built "
                f"for {built_for}",
                "Update the driver, or install torch for that CUDA.",
            )
        )
    return missing


def torch_cuda() -> str | None:
    """The CUDA that torch was built for, such as "13.0", None for a build without. Only its file of versions is read:
    importing torch takes a second.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    version = spec_from_file_location("torch_version", Path(spec.origin).with_name("version.py"))
    assert version is not None
    assert version.loader is not None
    module = module_from_spec(version)
    version.loader.exec_module(module)
    return getattr(module, "cuda", None)


def _driver() -> list[Want]:
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return [("there is no NVIDIA driver", "Install NVIDIA's driver; a container needs `--gpus all`.")]
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return []
    except pynvml.NVMLError as error:
        todo = "Reboot" if "mismatch" in str(error).lower() else "`nvidia-smi` must work here"
        return [(f"the NVIDIA driver does not answer (NVML: {error})", f"{todo}.")]
    return []
