"""`harness flash ablate`: the ablation of LLM in a flash, measured on the device at hand or projected on another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.flash.write import DTYPES, parse_shape

if TYPE_CHECKING:
    from harness.durations import TaskClock
    from harness.flash.ablation.rounds import Conditions, Row
    from harness.flash.ablation.trace import Trace
    from harness.flash.io.geometry import Geometry
    from harness.flash.io.layout import Dtype, NeuronFile
    from harness.flash.io.reader import Kind

# Spelled out here too, so that --help imports no numpy.
READERS = ("threads", "uring", "pread", "buffered", "mmap", "mmap-random")
# With these a synthetic trace has the published aggregates of OPT 6.7B: 0.9 GB a token, 0.2 GB with a window of 5.
SYNTHETIC = {"active_fraction": 0.105, "zipf_exponent": 1.2, "persistence": 0.5, "seed": 0}
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_bytes(ctx: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """A number of bytes from 2000000, 2MB, or 1.5 GiB."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]i?|)b?", value.lower(), re.ASCII)
    if match is None:
        raise click.BadParameter(f"{value!r} is no number of bytes; write it as 2MB or 512KiB.", ctx, option)
    return int(float(match[1]) * _UNITS[match[2]])


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--shape", default="opt-6.7b-layer", show_default=True, help="Without FILES: as for `write`.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float16", show_default=True, help="Without FILES.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Without FILES: where they are written, to be removed at the end. [default: here]",
)
@click.option("--trace", "trace_file", type=click.Path(path_type=Path), help="An .npz trace. [default: synthetic]")
@click.option("--tokens", type=click.IntRange(min=2), default=12, show_default=True, help="Of a synthetic trace.")
@click.option("--window", type=int, default=5, show_default=True, help="Tokens whose neurons stay in DRAM.")
@click.option(
    "--dram-budget", callback=parse_bytes, metavar="SIZE", help="For neurons in DRAM, such as 2MB. [default: none]"
)
@click.option("--reader", type=click.Choice(READERS), default="threads", show_default=True, help="What reads.")
@click.option("--depth", type=click.IntRange(min=1), default=32, show_default=True, help="Reads at once.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Alternated rounds.")
@click.option(
    "--peer/--no-peer",
    default=True,
    show_default=True,
    help="Where fio is installed, let it read as much at once from the same file, and print the ratio.",
)
@click.option("--device-model", metavar="NAME|FILE", help="Measure nothing: project on this device profile.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ablate(
    files: tuple[Path, ...],
    shape: str,
    dtype: Dtype,
    folder: Path,
    trace_file: Path | None,
    tokens: int,
    window: int,
    dram_budget: int | None,
    reader: Kind,
    depth: int,
    rounds: int,
    peer: bool,
    device_model: str | None,
    as_json: bool,
) -> None:
    """Replay which neurons are active, and read them from flash under each policy of LLM in a flash, one step a row.

    FILES are a plain and a bundled neuron file of the same weights; with one of them, only the policies that read it
    are run. Without, both are written for --shape, with random weights.

    \b
    harness flash ablate --reader uring --rounds 7
    harness flash ablate plain.neurons bundled.neurons --trace recorded.npz --dram-budget 20MB
    harness flash ablate --shape 4096x16384x32 --device-model ufs4
    """
    from harness.cli._waiting import waiting
    from harness.flash.ablation import trace as traces
    from harness.flash.ablation.rounds import Conditions
    from harness.flash.io.fio import peer_sentence
    from harness.flash.io.geometry import Geometry
    from harness.flash.io.layout import NeuronFile
    from harness.flash.io.reader import DIRECT
    from harness.report import flash_ablation as tables

    opened: list[Geometry] = [NeuronFile.open(file) for file in files]
    geometry = opened[0] if opened else Geometry(parse_shape(shape, dtype), "plain", dtype, 512)
    if trace_file is None:
        traces.require_window(window, tokens)
        trace = traces.synthetic(geometry.shape.neurons, tokens, **SYNTHETIC)  # type: ignore[arg-type]
    else:
        trace = traces.load(trace_file)
        traces.require_sparsity(trace)
        traces.require_window(window, len(trace.active))
    if device_model is not None:
        click.echo(tables.projected(geometry, trace, window, depth, device_model, as_json), nl=False)
        return
    conditions = Conditions(window, reader, depth, dram_budget)
    size = f"{geometry.file_bytes} {reader} {rounds} {len(trace.active)}"
    with (
        waiting(f"flash ablate {size}", "ablation") as clock,
        _both_forms(files, geometry, folder, clock) as neuron_files,
    ):
        clock.begin("replaying the trace")
        rows = list(_measured(neuron_files, trace, conditions, rounds, clock))
        # Reads are as long as the records of the last file: bundles, where there are some.
        file, kind = neuron_files[-1], rows[0].kind
        peers = []
        if peer and kind in DIRECT:
            clock.begin("reading by turns with fio")
            peers = [peer_sentence(file.path, kind, file.record_bytes, depth, rounds)]
    click.echo(tables.measured(rows, trace, conditions, peers, as_json), nl=False)


@contextmanager
def _both_forms(
    files: tuple[Path, ...], geometry: Geometry, folder: Path, clock: TaskClock
) -> Iterator[list[NeuronFile]]:
    """The neuron files as given, or random weights in both forms for the time of the block."""
    import tempfile

    from harness.atomic_files import unwritable
    from harness.errors import UsageError
    from harness.flash.io import layout
    from harness.flash.io.proof import check_storage

    if files:
        yield [layout.NeuronFile.open(file) for file in files]
        return
    check_storage(folder / "neurons")
    try:
        scratch = tempfile.TemporaryDirectory(prefix=".harness-flash-", dir=folder)
    except OSError as error:
        raise unwritable(folder, error, "Name a folder you may write to with --folder.", UsageError) from error
    with scratch as name:
        written = []
        for form in ("plain", "bundled"):
            path = Path(name) / f"{form}.neurons"
            clock.begin(f"writing {geometry.file_bytes / 1e6:,.0f} MB of random weights, {form}")
            layout.write(path, geometry.shape, form, geometry.dtype, layout.random_rows(geometry.shape, seed=0))
            written.append(layout.NeuronFile.open(path))
        yield written


def _measured(
    files: list[NeuronFile], trace: Trace, conditions: Conditions, rounds: int, clock: TaskClock
) -> Iterator[Row]:
    """The rows of the policies that read these files; the clock hears how many there are."""
    from harness.errors import UsageError
    from harness.flash.ablation.policies import POLICIES
    from harness.flash.ablation.rounds import ablate as replay
    from harness.flash.ablation.rounds import form_of

    forms = {file.form: file for file in files}
    if len(forms) < len(files):
        raise UsageError(
            f"{files[-1].path} is another {files[-1].form} neuron file.", "Give one plain and one bundled file."
        )
    policies = [policy for policy in POLICIES if form_of(policy) in forms]
    total = rounds * len(policies) * len(trace.active)
    for number, row in enumerate(replay(forms, trace, conditions, rounds, policies), start=1):
        clock.within(number, total)
        yield row
