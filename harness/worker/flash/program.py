"""The program of a model whose feed-forward weights lie in flash, as the engine asks it: numpy in, numpy out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError, UsageError
from harness.flash.language_model.engine import Stages
from harness.flash.language_model.files import BUILD
from harness.model_description import lies_in_flash
from harness.protocol import Describe, Loaded
from harness.worker.runtimes import executorch as executorch_runtime

if TYPE_CHECKING:
    from harness.flash.io.encoding import Floats


def load(path: Path, threads: int) -> tuple[Describe, Loaded, Stages]:
    """Load every stage. Raises UsageError for a program whose weights do not lie in flash, ModelError for one that is
    damaged or lacks a stage.
    """
    if path.suffix != ".pte":
        raise UsageError(f"{path.name} is no ExecuTorch program, so its weights cannot lie in flash.", BUILD)
    description, loaded, methods = executorch_runtime.load_stages(path, threads)
    if not lies_in_flash(description):
        raise UsageError(f"The feed-forward weights of {path.name} do not lie in flash.", BUILD)
    layers = int(description.metadata["get_flash_layers"])
    by_name = {method["name"]: execute for method, execute in zip(description.methods, methods, strict=True)}
    wanted = [f"stage_{number}" for number in range(layers + 1)]
    if missing := [name for name in wanted if name not in by_name]:
        raise ModelError(f"{path.name} lacks the method {missing[0]}.", BUILD)
    return description, loaded, stages([by_name[name] for name in wanted])


def stages(methods: Sequence[Any]) -> Stages:
    """The methods `stage_0`, `stage_1`, ... as the engine calls them."""
    import torch

    def wide(vector: Floats) -> Any:
        return torch.from_numpy(vector).view(1, 1, -1)

    def vectors(outputs: Sequence[Any]) -> tuple[Floats, Floats]:
        residual, x = (output.numpy().reshape(-1) for output in outputs)
        return residual, x

    def first(token: int, position: int) -> tuple[Floats, Floats]:
        return vectors(methods[0]((torch.tensor([[token]]), torch.tensor([position]))))

    def between(index: int, residual: Floats, y: Floats, position: int) -> tuple[Floats, Floats]:
        return vectors(methods[index]((wide(residual), wide(y), torch.tensor([position]))))

    def last(residual: Floats, y: Floats, position: int) -> Floats:
        logits: Floats = methods[-1]((wide(residual), wide(y), torch.tensor([position])))[0].numpy().reshape(-1)
        return logits

    return Stages(len(methods) - 1, first, between, last)
