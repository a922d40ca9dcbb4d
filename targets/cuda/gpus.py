"""Which GPUs there are, which of them are visible, and which one is meant.

A GPU that is divided (MIG) is no device for CUDA: its instances are, each with a UUID of its own. Numbers are those of
`nvidia-smi -L`, an instance's is GPU:INSTANCE, and workers are given UUIDs alone, which mean the same to everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError

VARIABLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"


@dataclass(frozen=True)
class Gpu:
    """`handle` is NVML's, `board` that of the whole GPU, which has the sensors. `instance` is None for a whole one."""

    number: int
    instance: int | None
    uuid: str
    name: str
    handle: Any
    board: Any
    board_uuid: str

    @property
    def index(self) -> str:
        """As a user writes it."""
        return str(self.number) if self.instance is None else f"{self.number}:{self.instance}"


def list_gpus(nvml: Any) -> list[Gpu]:
    """Every device that CUDA could use, in the order of `nvidia-smi -L`. Raises NVMLError."""
    gpus: list[Gpu] = []
    for number in range(nvml.nvmlDeviceGetCount()):
        board = nvml.nvmlDeviceGetHandleByIndex(number)
        uuid, name = _text(nvml.nvmlDeviceGetUUID(board)), _text(nvml.nvmlDeviceGetName(board))
        if not _divided(nvml, board):
            gpus.append(Gpu(number, None, uuid, name, board, board, uuid))
            continue
        for instance in range(nvml.nvmlDeviceGetMaxMigDeviceCount(board)):
            try:
                part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(board, instance)
            except nvml.NVMLError:  # no such instance: numbers may have gaps
                continue
            own, what = _text(nvml.nvmlDeviceGetUUID(part)), _text(nvml.nvmlDeviceGetName(part))
            gpus.append(Gpu(number, instance, own, what, part, board, uuid))
    return gpus


def visible(gpus: Sequence[Gpu], variable: str | None, order: str | None) -> list[Gpu]:
    """Of all GPUs those that the values of CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER (None: unset) leave, in its
    order; as in CUDA, the first entry that names none ends the list.

    Raises UsageError where an entry is a number that may mean another GPU to CUDA than to NVML.
    """
    if variable is None:
        return list(gpus)
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in variable.split(",")):
        if entry.isdigit():
            if order != "PCI_BUS_ID" and len({gpu.name for gpu in gpus if gpu.instance is None}) > 1:
                raise UsageError(
                    f"{VARIABLE}={variable} numbers GPUs that are not alike, and which number is which depends on "
                    f"{ORDER}.",
                    f"Set {ORDER}=PCI_BUS_ID, or write UUIDs (`nvidia-smi -L`).",
                )
            named = [gpu for gpu in gpus if gpu.number == int(entry)][:1]
        else:
            named = [gpu for gpu in gpus if _is_prefix(entry, gpu.uuid)]
            named = named or [gpu for gpu in gpus if _is_prefix(entry, gpu.board_uuid)][:1]
        if len(named) != 1:
            break
        if named[0] not in chosen:
            chosen.append(named[0])
    return chosen


def choose(gpus: Sequence[Gpu], wanted: str | None, variable: str | None, order: str | None) -> Gpu | None:
    """The GPU of that number or UUID (or the beginning of one), the first visible one for None; None where there is
    none at all.

    Raises UsageError, listing those that can be had, for another, and as `visible`.
    """
    here = visible(gpus, variable, order)
    if wanted is None and (here or not gpus):
        return here[0] if here else None
    known = ", ".join(f"{gpu.index} ({gpu.uuid}, {gpu.name})" for gpu in here) or "none"
    hidden = f" {VARIABLE}={variable} hides the others." if len(here) < len(gpus) else ""
    if wanted is None:
        raise UsageError(f"No GPU is visible: {VARIABLE}={variable}.", f"Unset it; `nvidia-smi -L` lists {len(gpus)}.")
    matching = [gpu for gpu in here if wanted == gpu.index] or [gpu for gpu in here if _is_prefix(wanted, gpu.uuid)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise UsageError(f"{wanted!r} begins the UUIDs of several GPUs.", f"Write more of one of: {known}.")
    raise UsageError(f"There is no GPU {wanted!r} here.", f"Choose one of: {known}.{hidden}")


def _divided(nvml: Any, board: Any) -> bool:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(board)
    except nvml.NVMLError:  # a GPU that cannot be divided
        return False
    return bool(current == nvml.NVML_DEVICE_MIG_ENABLE)


def _is_prefix(text: str, uuid: str) -> bool:
    """CUDA takes the beginning of a UUID too, as far as it tells more than the kind of device."""
    return text.startswith(("GPU-", "MIG-")) and len(text) > len("GPU-") and uuid.startswith(text)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
