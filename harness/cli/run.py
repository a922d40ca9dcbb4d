"""`harness run`: measure models on a target and print the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli._flash_run import POLICIES, flash_job, flash_options, flash_sweeps
from harness.cli._load_run import load_job, load_options, min_iterations
from harness.cli._options import energy_options, format_option, json_option, results_option, skip_existing_option

if TYPE_CHECKING:
    from harness.cli._progress import Reporter
    from harness.plan import Subject
    from harness.report import Format
    from harness.session import Session
    from harness.target import Target

SCENARIO_NAMES = ("generate", "single-stream", "multi-stream", "offline", "server", "sustained", "cold-start", "flash")


@click.command()
@click.option("--target", "-t", "target_name", required=True, help="Where to measure; `harness targets` lists them.")
@click.option(
    "--model",
    "-m",
    "models",
    multiple=True,
    required=True,
    metavar="FILE|NAME",
    help="A .pte or .pt2 file, or a name from `harness models list`. Repeat it to compare; the first is the baseline.",
)
@click.option(
    "--device",
    metavar="DEVICE",
    help="Which device of the target; of arm64: adb[:SERIAL], ssh:HOST, local, qemu[:CPU], or a name in the devices "
    "file; of cuda: a number or UUID of `nvidia-smi -L`. Default: the one at hand.",
)
@click.option(
    "--devices",
    type=click.Path(path_type=str, exists=True, dir_okay=False),
    help="The file that names devices; see `harness devices --help`.",
)
@click.option(
    "--runtime", metavar="NAME", help="Which runtime of the target: python or native on x86, eager or graphs on cuda."
)
@click.option("--clock", metavar="MHZ", help="Hold a GPU's clock there for the session (needs root); put back after.")
@click.option(
    "--scenario", type=click.Choice(SCENARIO_NAMES), help="Default: generate for language models, else single-stream."
)
@click.option(
    "--processes",
    "-n",
    type=click.IntRange(1),
    help="Worker processes a model, interleaved. Default: 5; 1 of sustained, and where instructions are counted or "
    "cycles estimated: these are exact.",
)
@click.option(
    "--threads", default="1", show_default=True, metavar="LIST", help="Threads; a list or range (1,2,4 or 1-4) sweeps."
)
@click.option("--batch", default="0", metavar="LIST", help="Batch size; 0, the default, is the file's own. Sweeps.")
@click.option(
    "--prompt-tokens", metavar="LIST", help="Length of the prompt. Default: half the context, at most 128. Sweeps."
)
@click.option(
    "--new-tokens", metavar="LIST", help="Tokens to generate. Default: the rest of the context, at most 128. Sweeps."
)
@click.option(
    "--cpus", multiple=True, metavar="LIST", help="Pin the worker to these processors (0,2-3). Repeat it to sweep."
)
@click.option("--compile", "compiled", is_flag=True, help="torch.compile the model (.pt2 only).")
@click.option(
    "--precision",
    metavar="LIST",
    help="What a GPU computes in: fp32, tf32, fp16, bf16, int8 (bf16 with the weights of linear layers in int8). "
    "Default: the file's own, products in float32. Sweeps.",
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Inputs as .npz, in the model's order.",
)
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The evaluation text.")
@click.option(
    "--tokens",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The evaluation text in a model's own tokens, int64 .npy; for models without a tokenizer in a manifest.",
)
@click.option(
    "--max-eval-tokens",
    type=click.IntRange(1),
    help="Evaluate on at most so many tokens. Default: all; 512 under an emulator.",
)
@click.option("--no-quality", is_flag=True, help="Leave out the quality pass.")
@click.option("--profile", is_flag=True, help="Record operators too, in a pass of its own, and print the heaviest.")
@click.option("--no-memory", is_flag=True, help="Leave out the memory pass.")
@click.option(
    "--min-iterations",
    type=click.IntRange(1),
    help="Queries a process, at least. Default: 30; 1000 of a server, 662 of multi-stream, 5 from flash, 3 where "
    "instructions are counted.",
)
@click.option(
    "--min-duration",
    type=click.FloatRange(0),
    help="Seconds measured a process, at least. Default: 1; 0 where instructions are counted.",
)
@click.option(
    "--max-duration",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds measured a process, at most.",
)
@click.option(
    "--max-warmup",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    help="Seconds of warm-up at most; it ends earlier when durations are steady.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds a worker may take, beside --duration.",
)
@click.option(
    "--lease-timeout",
    type=click.FloatRange(0),
    default=3600.0,
    show_default=True,
    help="Seconds to wait while another run holds the device.",
)
@skip_existing_option
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
    **options: Any,
) -> None:
    """Measure models on a target, interleaved, and print the comparison.

    Every model runs in worker processes of its own: first for memory, then for latency in interleaved blocks, then for
    quality. Every sample is kept in Parquet; `harness compare` prints the table again.

    \b
    harness run --target x86 --model baseline.pte --model selfcomp.pte
    harness run -t x86 -m mlp.pte --scenario offline --threads 1,2 --batch 1,8
    harness run -t x86 -m mlp.pte --scenario server --latency-bound 15ms
    harness run -t x86 -m baseline -m selfcomp --scenario sustained --duration 30m
    """
    import contextlib
    import functools
    import importlib
    import threading

    from harness.cli._progress import Reporter
    from harness.cli._subjects import describe_all, find_artifacts
    from harness.errors import UsageError
    from harness.lease import lease
    from harness.session import open_session
    from harness.store.writer import prepare
    from harness.target import Adjustable, find_target

    flash, ablate = flash_job(options), bool(options["ablate"])
    chosen = {"device": device, "devices": devices, "runtime": options["runtime"], "clock": options["clock"]}
    target = find_target(target_name, **{name: value for name, value in chosen.items() if value is not None})
    state = target.availability()
    if not state.available:
        raise UsageError(f"Target {target_name} is not available here: {state.reason}.", state.todo)
    prepare(results)
    reporter = Reporter(quiet=quiet)
    if target.capabilities.latency is None:
        reporter.note(f"{target.name}: {target.summary}")
    load_sweeps, load = load_job(options, target)
    load_sweeps |= flash_sweeps(options)
    options = _defaults(target, options["scenario"]) | {k: value for k, value in options.items() if value is not None}
    sweeps = _sweeps(options, target) | load_sweeps
    if ablate and any(len(values) > 1 for values in sweeps.values()):
        raise UsageError("An ablation has one condition, and its policies differ.", "Give each option one value.")
    if flash:
        from harness.cli._flash_run import ablation_of, by_policy, find_in_flash

        models = find_in_flash(models, target, reporter)
    artifacts = find_artifacts(models, target, reporter)
    # pandas takes a second to import: let it, while workers describe the models and nothing is timed.
    reports = threading.Thread(target=importlib.import_module, args=("harness.report",))
    reports.start()
    with (
        lease(f"{target.name}-{target.device()}", lease_timeout, functools.partial(reporter.waiting, target.device())),
        target.adjusted() if isinstance(target, Adjustable) else contextlib.nullcontext(),
        open_session(target, results, timeout + load.get("min_duration_s", 0.0)) as session,
    ):
        # The text is asked for even without a quality pass: prompts come from it.
        no_quality = options["no_quality"] and not flash
        subjects = describe_all(session, artifacts, options | {"no_quality": no_quality}, reporter)
        reports.join()
        if ablate:
            subjects = by_policy(subjects)
        if subjects:
            processes = processes or _processes(target, options["scenario"])
            _measure(session, subjects, sweeps, processes, options | {"fields": flash | load}, reporter)
    if session.succeeded and ablate:
        click.echo(ablation_of(results, session.session_id, as_json or fmt == "json"), nl=False)
    elif session.succeeded:
        from harness.report import compare_tables, render
        from harness.store.dataset import read_tables

        comparisons = compare_tables(read_tables(results, session.session_id))
        click.echo(render(comparisons, "json" if as_json else fmt), nl=False)
        if options["profile"] and not as_json:
            from harness.report import read_record, render_operators

            click.echo("\n" + render_operators(read_record(results, session.session_id), fmt), nl=False)
    reporter.summary(session, results)
    if session.failed:
        raise click.exceptions.Exit(1)


def _processes(target: Target, scenario: str | None) -> int:
    return 1 if scenario == "sustained" or target.capabilities.latency in (None, "estimated") else 5


def _defaults(target: Target, scenario: str | None) -> dict[str, Any]:
    """Of the options that have no one default: a count needs neither many queries nor a second, and an emulator takes a
    hundred times as long for each.
    """
    unset = dict.fromkeys(
        (
            *("scenario", "runtime", "precision", "prompt_tokens", "new_tokens", "inputs", "data", "tokens"),
            "max_eval_tokens",
        )
    )
    if target.capabilities.latency is None:
        return unset | {"min_iterations": 3, "min_duration": 0.0, "max_eval_tokens": 512}
    # From flash a token takes milliseconds, and the query is a whole text: a few have hundreds of tokens.
    return unset | {"min_iterations": 5 if scenario == "flash" else 30, "min_duration": 1.0} | min_iterations(scenario)


def _sweeps(options: dict[str, Any], target: Target) -> dict[str, list[Any]]:
    """The values of every option that sweeps. Raises UsageError for one that cannot be read."""
    from harness.errors import UsageError
    from harness.plan import parse_sweep
    from harness.target import Conditioned

    if options["profile"] and not target.capabilities.per_operator:
        raise UsageError(
            f"Target {target.name} cannot time operators here: {target.device()} has no clock.",
            "Leave out --profile, or give a real device.",
        )
    if options["cpus"] and not target.capabilities.pinning:
        raise UsageError(f"Target {target.name} cannot pin processors.", "Leave out --cpus.")
    sweeps: dict[str, list[Any]] = {
        name: parse_sweep(options[name])
        for name in ("threads", "batch", "prompt_tokens", "new_tokens")
        if options[name] is not None
    }
    wanted = target.cpus if isinstance(target, Conditioned) else None
    if options["precision"] is not None:
        sweeps["precision"] = _precisions(options["precision"], target)
    sweeps["cpus"] = [tuple(sorted(parse_sweep(cpus))) for cpus in options["cpus"]] or [wanted]
    return sweeps


def _precisions(text: str, target: Target) -> list[str]:
    """The precisions in a list. Raises UsageError for one that the target cannot be asked to compute in."""
    from harness.errors import UsageError

    known = target.capabilities.precisions
    if not known:
        raise UsageError(f"Target {target.name} computes in the file's own precision.", "Leave out --precision.")
    wanted = list(dict.fromkeys(text.split(",")))
    if unknown := [each for each in wanted if each not in known]:
        raise UsageError(f"There is no precision {unknown[0]!r}.", f"Choose from: {', '.join(known)}.")
    return wanted


def _measure(
    session: Session,
    subjects: dict[str, Subject],
    sweeps: dict[str, list[Any]],
    processes: int,
    options: dict[str, Any],
    reporter: Reporter,
) -> None:
    from dataclasses import replace

    from harness.cli._energy import energy_pass, settled
    from harness.manifest import sha256_file
    from harness.plan import configurations, passes

    target, inputs = session.target, options["inputs"]
    fixed = {
        "runtime": options["runtime"],
        "compile": options["compiled"],
        "min_iterations": options["min_iterations"],
        "min_duration_s": options["min_duration"],
        "max_duration_s": options["max_duration"],
        "max_warmup_s": options["max_warmup"],
        "max_tokens": options["max_eval_tokens"],
        "inputs_sha256": sha256_file(inputs) if inputs else None,
    }
    latency = [
        job
        for subject in subjects.values()
        for job in configurations(
            subject, target.name, options["scenario"], sweeps, fixed | options["fields"] | subject.fields
        )
    ]
    memory = target.capabilities.memory and not options["no_memory"]
    jobs = passes(latency, processes, subjects, memory=memory, quality=not options["no_quality"])
    if options.get("ablate"):  # policies read the same neurons in other ways: the last one's quality is that of all
        jobs = [job for job in jobs if job.measure != "quality" or job.policy == POLICIES[-1]]
    energy, file = None, options.get("energy_csv")
    if options["energy"] or file is not None:
        energy, metered = energy_pass(target, file, latency, processes, reporter)
        jobs += metered
    if options["profile"]:
        first_of_model = {job.model: job for job in reversed(latency)}
        jobs += [replace(first_of_model[name], measure="profile") for name in subjects]
    if options["skip_existing"]:
        from harness.resume import resume

        whole, jobs = len(jobs), resume(session, session.results, jobs)
        reporter.note(f"session {session.session_id}: {whole - len(jobs)} of {whole} jobs are there")
    with reporter.jobs(jobs) as advance, settled(session, file, reporter):
        for outcome in session.run_all(jobs, subjects, inputs, reporter.within, energy):
            advance(outcome)
