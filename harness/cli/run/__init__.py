"""`harness run`: measure models on a target and print the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli._dry_run import dry_run_option
from harness.cli._options import energy_options, format_option, json_option, results_option, skip_existing_option
from harness.cli._resolve import check_resolve, resolve_options
from harness.cli.run.flash_options import flash_options, flash_sweeps
from harness.cli.run.options import run_options
from harness.cli.run.server_options import load_job, load_options

if TYPE_CHECKING:
    from harness.experiment.session import Session
    from harness.report.rendering import Format


@click.command()
@run_options
@skip_existing_option
@resolve_options
@dry_run_option
@load_options
@flash_options
@energy_options
@results_option
@format_option
@json_option
@click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")
def run(
    target_name: str,
    models: tuple[str, ...],
    results: Path,
    fmt: Format,
    as_json: bool,
    quiet: bool,
    lease_timeout: float,
    timeout: float,
    processes: int | None,
    device: str | None,
    devices: str | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Measure models on a target, interleaved, and print the comparison.

    Every model runs in worker processes of its own: first for memory, then for latency in interleaved blocks, then for
    quality. Every sample is kept in Parquet; `harness compare` prints the table again.

    \b
    harness run --target x86 --model baseline.pte --model selfcomp.pte
    harness run -t x86 -m mlp.pte --scenario offline --threads 1,2 --batch 1,8
    harness run -t x86 -m baseline -m selfcomp --resolve 5% --max-time 10m
    harness run -t x86 -m mlp.pte --scenario server --latency-bound 15ms
    harness run -t x86 -m baseline -m selfcomp --scenario sustained --duration 30m
    """
    import contextlib
    import functools
    import importlib
    import threading

    from harness.cli._dry_run import say
    from harness.cli._progress import Reporter
    from harness.cli._run_jobs import defaults, measure, plan, processes_of, sweeps_of
    from harness.cli._subjects import describe_all, find_artifacts
    from harness.errors import UsageError
    from harness.experiment.session import open_session
    from harness.lease import lease
    from harness.scratch import ScratchFolder
    from harness.store.unfinished import delete_unfinished
    from harness.store.writer import prepare
    from harness.target import Adjustable, find_target

    flash, ablate = flash_sweeps(options), bool(options["ablate"])
    chosen = {"device": device, "devices": devices, "runtime": options["runtime"], "clock": options["clock"]}
    target = find_target(target_name, **{name: value for name, value in chosen.items() if value is not None})
    state = target.availability()
    if not state.available:
        raise UsageError(f"Target {target_name} is not available here: {state.reason}.", state.todo)
    reporter = Reporter(quiet=quiet)
    if not dry_run:
        prepare(results)
        if deleted := delete_unfinished(results).deleted:
            reporter.note(f"deleted {len(deleted)} files that killed processes had not finished in {results}")
    if target.capabilities.latency is None:
        reporter.note(f"{target.name}: {target.summary}")
    load_sweeps, load = load_job(options, target)
    unset = {name: value for name, value in defaults(target).items() if options[name] is None}
    options = options | unset
    sweeps = sweeps_of(options, target) | load_sweeps | flash
    check_resolve(options, target, models, processes)
    if ablate and any(len(values) > 1 for values in sweeps.values()):
        raise UsageError("An ablation has one condition, and its policies differ.", "Give each option one value.")
    if flash:
        from harness.cli.run.flash_options import by_policy, find_in_flash

        models = find_in_flash(models, target, options, reporter)
    artifacts = find_artifacts(models, target, reporter)
    # pandas takes a second to import: let it, while workers describe the models and nothing is timed.
    reports = threading.Thread(target=importlib.import_module, args=("harness.report.rendering",))
    reports.start()
    # Of a dry run, too: a worker describes the models, which would disturb another run on the device.
    leased = lease(
        f"{target.name}-{target.device()}", lease_timeout, functools.partial(reporter.waiting, target.device())
    )
    if dry_run:
        with leased, ScratchFolder() as nowhere, open_session(target, Path(nowhere), timeout) as session:
            subjects = describe_all(session, artifacts, options, reporter)
            subjects = by_policy(subjects) if ablate else subjects
            if not subjects:
                raise click.exceptions.Exit(1)
            processes = processes or processes_of(target, options["scenario"])
            planned = plan(target, subjects, sweeps, processes, options | {"fields": load}, reporter)
        wanted = as_json or fmt == "json"
        click.echo(say(planned, target, results, processes, options["resolve"], as_json=wanted), nl=False)
        return
    with (
        leased,
        target.adjusted() if isinstance(target, Adjustable) else contextlib.nullcontext(),
        open_session(target, results, timeout + load.get("min_duration_s", 0.0)) as session,
        reporter.interruptible(session, results),
    ):
        # The text is asked for even without a quality pass: prompts come from it.
        no_quality = options["no_quality"] and not flash
        subjects = describe_all(session, artifacts, options | {"no_quality": no_quality}, reporter)
        reports.join()
        if ablate:
            subjects = by_policy(subjects)
        if subjects:
            processes = processes or processes_of(target, options["scenario"])
            measure(session, subjects, sweeps, processes, options | {"fields": load}, reporter)
    try:
        _print(session, results, ablate, "json" if as_json else fmt, profile=options["profile"] and not as_json)
    finally:  # where the table cannot be printed, it can be again
        reporter.summary(session, results)
    if session.failed:
        raise click.exceptions.Exit(1)


def _print(session: Session, results: Path, ablate: bool, fmt: Format, *, profile: bool) -> None:
    """The table of what was measured, of all that was."""
    if session.succeeded and ablate:
        from harness.cli.run.flash_options import ablation_of

        click.echo(ablation_of(results, session.session_id, fmt == "json"), nl=False)
    elif session.succeeded:
        from harness.analysis.comparison import compare_tables
        from harness.report.rendering import render
        from harness.store.dataset import read_tables

        comparisons = compare_tables(read_tables(results, session.session_id))
        click.echo(render(comparisons, fmt), nl=False)
        if profile:
            from harness.report.record import read_record, render_operators

            click.echo("\n" + render_operators(read_record(results, session.session_id), fmt), nl=False)
