"""What `harness flash ablate` does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from harness.atomic_files import unwritable
from harness.cli._waiting import waiting
from harness.cli.flash.writing import parse_shape
from harness.durations import TaskClock
from harness.errors import UsageError
from harness.flash.ablation import trace as traces
from harness.flash.ablation.policies import POLICIES
from harness.flash.ablation.rounds import Conditions, Row, form_of
from harness.flash.ablation.rounds import ablate as replay
from harness.flash.ablation.trace import Trace
from harness.flash.io import layout
from harness.flash.io.fio import peer_sentence
from harness.flash.io.geometry import Geometry
from harness.flash.io.layout import Dtype, NeuronFile
from harness.flash.io.proof import check_storage
from harness.flash.io.reader import DIRECT, Kind
from harness.report import flash_ablation as tables

# With these a synthetic trace has the published aggregates of OPT 6.7B: 0.9 GB per token, 0.2 GB with a window of 5.
SYNTHETIC = {"active_fraction": 0.105, "zipf_exponent": 1.2, "persistence": 0.5, "seed": 0}


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
    """Replay which neurons are active, and read them under each policy of LLM in a flash, one step per row."""
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
