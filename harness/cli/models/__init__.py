"""`harness models`: the models that harness can make, making them, and training them again."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.models.figures import figures
from harness.cli.models.inspect import inspect
from harness.cli.models.pack import pack
from harness.cli.models.price import price
from harness.cli.models.verify import verify
from harness.models.recipe import INT4, PLAIN_INT4, PRECISIONS

FORMATS = ("pte", "pt2", "cached", "static")
CHANNELS = ("padded", "exact", "masked")


@click.group()
def models() -> None:
    """List, build, inspect and train models."""


models.add_command(inspect)
models.add_command(verify)
models.add_command(figures)
models.add_command(price)
models.add_command(pack)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """List the models: method, bits a weight, recorded loss, and whether they are built.

    \b
    harness models list
    """
    from harness.models.zoo.listing import rows, table
    from harness.report.machine import dump_json

    if as_json:
        click.echo(dump_json("models", rows()), nl=False)
    else:
        from rich.console import Console

        Console().print(table(rows()))


@models.command()
@click.argument("name")
@click.option(
    "--precision",
    type=click.Choice((*PRECISIONS, INT4)),
    help="Of the weights; default: the model's own (see `list`). int4-channel has a step for each output channel, "
    "int4-group32 for each 32 weights of one; int4 is the kind that the model was trained in, and "
    f"{PLAIN_INT4} for any other model.",
)
@click.option(
    "--format",
    "fmt",
    type=click.Choice(FORMATS),
    help="Kind of file: pt2 takes whole windows, cached (a .pt2 too) generates.  [default: pte]",
)
@click.option("--target", "-t", "target_name", help="Build what this target takes, in place of --format.")
@click.option(
    "--channels",
    type=click.Choice(CHANNELS),
    help="Of --format static: dead channels cut and the others filled up to 16 (default), not filled up, or not cut.",
)
@click.option("--weights", type=click.Path(path_type=Path, file_okay=False), help="Folder of your own `train` run.")
@click.option("--output", type=click.Path(path_type=Path), help="Copy the file (and its manifest) here.")
@click.option("--force", is_flag=True, help="Build even if the cached file is current.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def build(
    name: str,
    precision: str | None,
    fmt: str | None,
    target_name: str | None,
    channels: str | None,
    weights: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Build the file of model NAME from its trained weights, or find it in the cache, and print its path.

    \b
    harness models build baseline --precision int4-channel --output int4.pte
    harness models build selfcomp --target npu --channels masked --output masked.pt2
    """
    from harness.errors import UsageError
    from harness.report.machine import dump_json

    if target_name is not None:
        from harness.api.zoo import zoo_format
        from harness.target import find_target

        if fmt is not None:
            raise UsageError("A target decides which kind of file it takes.", "Leave out --format, or --target.")
        name, fmt = zoo_format(Path(name), find_target(target_name))
    fmt = fmt or "pte"
    if channels is not None and fmt != "static":
        raise UsageError("Only a static file leaves a choice of channels.", "Add --target npu.")
    if precision is not None and fmt in ("cached", "static"):
        raise UsageError(f"A {fmt} file is rounded by who loads it.", "Leave out --precision.")

    from harness.cli._waiting import waiting
    from harness.manifest import sha256_file
    from harness.models.zoo.artifacts import artifact, cached, static
    from harness.models.zoo.copying import copy_artifact

    form = " ".join(part for part in (fmt, precision, channels) if part)
    with waiting(f"models build {fmt}", f"building {name} ({form})") as clock:
        if fmt == "static":
            path = static(name, channels or "padded", force=force, folder=weights, on_step=clock.begin)
        elif fmt == "cached":
            path = cached(name, force=force, folder=weights, on_step=clock.begin)
        else:
            path = artifact(name, precision, fmt, force=force, folder=weights, on_step=clock.begin)
    if output is not None:
        path = copy_artifact(path, output)
    if as_json:
        click.echo(
            dump_json("model", {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256_file(path)}), nl=False
        )
    else:
        click.echo(path)


@models.command()
@click.argument("name")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Tiny Shakespeare; default: $HARNESS_DATA, or the copy that comes with harness.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for weights, log and checkpoints."
)
@click.option(
    "--resume/--fresh", default=True, show_default=True, help="Go on from a checkpoint in the folder, or not."
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Share each batch among so many processes of one thread: one a core is fastest.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of a sole process.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def train(
    name: str, data: Path | None, output: Path | None, resume: bool, processes: int, threads: int, as_json: bool
) -> None:
    """Train model NAME by its recipe in zoo.toml; stopped with Ctrl-C, it can go on from its last checkpoint.

    \b
    harness models train baseline --output runs/baseline --processes 2
    """
    import torch

    from harness.errors import UsageError
    from harness.folders import cache_folder
    from harness.models.zoo.recipes import packaged
    from harness.models.zoo.train_recipe import make
    from harness.report.machine import dump_json

    if processes > 1 and threads > 1:
        raise UsageError("Several processes have one thread each.", "Give --processes or --threads, not both.")
    torch.set_num_threads(threads)
    zoo = packaged()
    recipe = zoo.find(name)
    folder = output or cache_folder() / "training" / recipe.name
    try:
        record = make(zoo, recipe, folder, data, fresh=not resume, processes=processes)
    except KeyboardInterrupt:
        click.echo(f"Stopped. The same command goes on from the last checkpoint in {folder}.", err=True)
        click.get_current_context().exit(130)
    if as_json:
        figures = {"validation_loss": record.validation_loss, "bits_stored": record.bits_stored}
        click.echo(
            dump_json("training", {"folder": str(folder), "weights_sha256": record.weights_sha256, **figures}), nl=False
        )
    else:
        click.echo(f"{recipe.name}: {record.validation_loss:.4f} nats a token over the validation split.")
        click.echo(f"Export it with: harness models build {recipe.name} --weights {folder}")
