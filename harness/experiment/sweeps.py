"""From a request and what its target can do to the values of the jobs: those that sweep, and those that all share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from harness.errors import UsageError
from harness.experiment.request import RunRequest
from harness.experiment.values import parse_seconds, parse_sweep
from harness.flash.names import POLICIES
from harness.scenarios.catalogue import SCENARIOS
from harness.statistics.early_stopping import FEWEST_QUERIES
from harness.statistics.looks import FEWEST_BLOCKS
from harness.target import Conditioned, Target

EMULATED_QUERIES, EMULATED_TOKENS = 3, 512


@dataclass(frozen=True)
class Sweeps:
    """Fields of jobs: `swept` with all values of each, whose every combination is measured, and `shared` by all."""

    swept: dict[str, list[Any]]
    shared: dict[str, Any]


def filled_in(request: RunRequest, target: Target) -> RunRequest:
    """The request with what depends on the target alone: a count needs neither many queries nor a second, and an
    emulator takes a hundred times as long for each.
    """
    unset = [
        name
        for name in ("processes", "min_iterations", "min_duration_s", "max_eval_tokens")
        if getattr(request, name) is None
    ]
    counted = target.capabilities.latency is None
    varies = target.capabilities.latency not in (None, "estimated")
    usual = SCENARIOS[request.scenario or "single-stream"].processes
    values: dict[str, Any] = {"processes": usual if varies else 1, "min_duration_s": 0.0 if counted else 1.0}
    if counted:
        values |= {"min_iterations": EMULATED_QUERIES, "max_eval_tokens": EMULATED_TOKENS}
    return replace(request, **{name: value for name, value in values.items() if name in unset})


def sweeps_of(request: RunRequest, target: Target) -> Sweeps:
    """The values of the jobs. Raises UsageError for what this target cannot do."""
    capabilities, scenario = target.capabilities, request.scenario
    if request.profile and not capabilities.per_operator:
        raise UsageError(
            f"Target {target.name} cannot time operators here: {target.device()} has no clock.",
            "Leave out --profile, or give a real device.",
        )
    if request.cpus and not capabilities.pinning:
        raise UsageError(f"Target {target.name} cannot pin processors.", "Leave out --cpus.")
    if request.pythons and not capabilities.python_worker:
        raise UsageError(f"The worker of target {target.name} here runs in no Python.", "Leave out --python.")
    _check_processors(request, target)
    if scenario is not None and SCENARIOS[scenario].options and scenario not in capabilities.scenarios:
        raise UsageError(
            f"Target {target.name} has no scenario {scenario} here.", "`harness targets` shows what each has."
        )
    swept: dict[str, list[Any]] = {"threads": list(request.threads), "batch": list(request.batch)}
    for name in ("prompt_tokens", "new_tokens"):
        if (values := getattr(request, name)) is not None:
            swept[name] = list(values)
    if request.precision is not None:
        swept["precision"] = _precisions(request.precision, target)
    wanted = target.cpus if isinstance(target, Conditioned) else None
    swept["cpus"] = list(request.cpus) or [wanted]
    shared: dict[str, Any] = {}
    if scenario == "multi-stream":
        swept["streams"] = list(request.streams or (int(SCENARIOS[scenario].default("streams")),))
    elif scenario == "server":
        swept |= _arrivals(request)
    elif scenario == "sustained":
        seconds = request.duration_s or parse_seconds(SCENARIOS[scenario].default("duration"))
        shared = {"min_duration_s": seconds, "max_duration_s": seconds}
    elif scenario == "flash":
        swept |= _flash(request)
    if request.ablate and any(len(values) > 1 for values in swept.values()):
        raise UsageError("An ablation has one condition, and its policies differ.", "Give each option one value.")
    return Sweeps(swept, shared)


def waiting_threads(request: RunRequest, target: Target) -> str | None:
    """A sentence where more threads are asked for than there are processors for them; None where there are enough, or
    nobody knows.
    """
    if (online := _online(target)) is None:
        return None
    fewest = min(map(len, request.cpus or (parse_sweep(online),)))
    if max(request.threads) <= fewest:
        return None
    return (
        f"{max(request.threads)} threads on {fewest} processor{'s' if fewest > 1 else ''} wait for each other: such "
        "processes have the flag threads_beyond_cpus"
    )


def check_resolve(request: RunRequest, target: Target) -> None:
    """Raises UsageError where there is nothing to resolve, or no block can be added; before it is filled in."""
    if request.resolve is None:
        return
    leave_out = "Leave out --resolve."
    if target.capabilities.latency in (None, "estimated"):
        raise UsageError(
            f"What target {target.name} counts or estimates does not vary, so one process resolves all.", leave_out
        )
    if request.scenario is not None and SCENARIOS[request.scenario].on_end:
        raise UsageError("A sustained process runs its minutes on end, so there are no blocks to add.", leave_out)
    if request.scenario == "server" and request.rate_queries_per_s is None:
        raise UsageError(
            "Each model is measured at its own highest rate, so their latencies are not compared.",
            "Give all of them one --rate, or leave out --resolve.",
        )
    if request.ablate:
        raise UsageError("An ablation has a table of its own, which resolves no difference.", leave_out)
    if len(request.models) * max(1, len(request.methods)) * max(1, len(request.pythons)) < 2:
        raise UsageError("A difference is between two models, and there is one.", "Give a second --model.")
    if request.processes is not None and request.processes < FEWEST_BLOCKS:
        raise UsageError(
            f"The spread of {request.processes} processes says too little to stop by.",
            f"Give --processes {FEWEST_BLOCKS} or more, or leave it out.",
        )


def _check_processors(request: RunRequest, target: Target) -> None:
    """Raises UsageError for a processor that the device is known not to have."""
    if not request.cpus or (online := _online(target)) is None:
        return
    if missing := sorted({cpu for cpus in request.cpus for cpu in cpus}.difference(parse_sweep(online))):
        raise UsageError(
            f"Target {target.name} has no processor {', '.join(map(str, missing))} here; its processors are {online}.",
            "Give some of these with --cpus.",
        )


def _online(target: Target) -> str | None:
    """The numbers of the processors that are switched on, such as `0-3,6`; None of a device that does not say."""
    return next((reading.value for reading in target.environment() if reading.name == "online_cpus"), None)


def _precisions(wanted: tuple[str, ...], target: Target) -> list[str]:
    known = target.capabilities.precisions
    if not known:
        raise UsageError(f"Target {target.name} computes in the file's own precision.", "Leave out --precision.")
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(f"There is no precision {unknown[0]!r}.", f"Choose from: {', '.join(known)}.")
    return list(wanted)


def _arrivals(request: RunRequest) -> dict[str, list[Any]]:
    if request.rate_queries_per_s is None and (request.min_iterations or FEWEST_QUERIES) < FEWEST_QUERIES:
        raise UsageError(
            f"{request.min_iterations} queries cannot tell p99.", f"Give --min-iterations {FEWEST_QUERIES} or more."
        )
    return {
        "rate_queries_per_s": list(request.rate_queries_per_s or (None,)),
        "latency_bound_ns": list(request.latency_bound_ns or (None,)),
    }


def _flash(request: RunRequest) -> dict[str, list[Any]]:
    usual = SCENARIOS["flash"].default
    return {
        "window": list(request.window or (int(usual("window")),)),
        "depth": list(request.depth or (int(usual("depth")),)),
        "policy": list(request.policy or (usual("policy"),)),
        "reader": list(request.reader or (usual("reader"),)),
        # Predictors that miss neurons make another model of it, with a quality of its own: they do not sweep.
        "predictor": [request.predictor or usual("predictor")],
        "dram_budget_bytes": list(request.dram_budget_bytes or (None,)),
        "peer": [None if request.peer is False else True],
    }


LAST_POLICY = POLICIES[-1]
"""The step of the ablation that has all others in it."""
