"""What a shell offers for the values of options (see docs/getting-started.md)."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Installed targets."""
    from harness.target import target_names

    return [CompletionItem(name) for name in target_names() if name.startswith(incomplete)]


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files, and the models that harness can build."""
    from harness.models.zoo.recipes import packaged

    zoo = packaged()
    names = [name for name in (*zoo.aliases, *zoo.recipes, *zoo.compressed) if name.startswith(incomplete)]
    return [*map(CompletionItem, names), CompletionItem(incomplete, type="file")]


def columns(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Metrics, each with its label."""
    from harness.metrics import CATALOGUE

    return [
        CompletionItem(metric.name, help=metric.label) for metric in CATALOGUE if metric.name.startswith(incomplete)
    ]
