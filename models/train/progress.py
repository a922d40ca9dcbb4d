"""What a training run shows on stderr: a bar on a terminal, and everywhere one line a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from harness.durations import in_words
from harness.models.train import parallel

Show = Callable[[int, Mapping[str, float]], None]
"""Takes the steps done and their figures by name; those of a checkpoint have a `validation_loss`."""


@contextmanager
def shown(steps: int, done: int) -> Iterator[Show]:
    """Yields the function that shows a step; of several processes the first speaks for all."""
    if parallel.rank():
        yield lambda step, figures: None
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    console = Console(stderr=True)
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=console) as bar:
        task = bar.add_task("training", total=steps, completed=done, figures="", left="")
        begun_s = time.monotonic()

        def show(step: int, figures: Mapping[str, float]) -> None:
            text = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            left_s = (time.monotonic() - begun_s) / max(1, step - done) * (steps - step)
            bar.update(task, completed=step, figures=text, left=f"about {in_words(left_s)} left")
            if "validation_loss" in figures:
                console.print(f"step {step} of {steps}: {text}", highlight=False, soft_wrap=True)

        yield show
