"""Data-parallel training on one machine: one process a core, each with its share of the batch, gradients averaged.

On a few cores, single-thread processes that meet once a step do more work than threads that meet in every operator.
The processes talk through gloo on the loopback interface; the calling process is rank 0, the others are its children
and end with it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import Optimizer

from harness.errors import ModelError


def rank() -> int:
    """Which of the processes this is; 0 is the one that writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def processes(count: int, helper: Callable[..., Any], arguments: tuple[Any, ...]) -> Iterator[None]:
    """Run the body as rank 0 of `count` processes, the others of which call `helper(*arguments)`.

    `helper` must be importable and take part in every collective operation of the body. Raises ModelError if one of
    the others dies while the body waits for it.
    """
    if count == 1:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/store"
        others = torch.multiprocessing.spawn(  # type: ignore[attr-defined, no-untyped-call]
            _help, args=(count, meeting, helper, arguments), nprocs=count - 1, join=False
        )
        try:
            _join(0, count, meeting)
            yield
            others.join()
        except RuntimeError as error:
            # The connection is seen to close before the process is seen to have ended.
            for process in others.processes:
                process.join(timeout=5)
            if any(process.exitcode for process in others.processes):
                raise ModelError(
                    "A training process died, and the others stopped with it.",
                    "The same command goes on from the last checkpoint; if memory is short, use one process.",
                ) from error
            raise
        finally:
            for process in others.processes:
                process.terminate()
                process.join()
            if dist.is_initialized():
                dist.destroy_process_group()


def _help(number: int, count: int, meeting: str, helper: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    _join(number + 1, count, meeting)
    helper(*arguments)


def _join(number: int, count: int, meeting: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=meeting, rank=number, world_size=count)


def average(values: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in one exchange."""
    if size() > 1:
        together = torch.cat([value.flatten() for value in values])
        dist.all_reduce(together)
        together /= size()
        for value, part in zip(values, torch.split(together, [value.numel() for value in values]), strict=True):
            value.copy_(part.view_as(value))


def total(value: float) -> float:
    """The sum of one number over the processes."""
    summed = torch.tensor(value, dtype=torch.float64)
    if size() > 1:
        dist.all_reduce(summed)
    return summed.item()


def gradients(model: nn.Module) -> list[Tensor]:
    """The gradients that `model`'s parameters have."""
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def shared_out(optimizer: type[Optimizer], parameters: list[nn.Parameter], **options: Any) -> Optimizer:
    """`optimizer` over `parameters`; several processes update a part each (Rajbhandari et al., arXiv 1910.02054)."""
    if size() == 1:
        return optimizer(parameters, **options)
    shared: Optimizer = ZeroRedundancyOptimizer(parameters, optimizer, **options)
    return shared


def gather(optimizers: Sequence[Optimizer]) -> None:
    """Bring the state of optimizers that were shared out together on rank 0, before a checkpoint."""
    for optimizer in optimizers:
        if isinstance(optimizer, ZeroRedundancyOptimizer):
            optimizer.consolidate_state_dict(to=0)
