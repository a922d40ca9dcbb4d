"""Load that looks like use, in the worker: a server's trials, and minutes on end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from harness.conditions.host import read_host
from harness.job import Job
from harness.protocol import Environment, Event, Progress, Scalar
from harness.scenarios.closed_loop import MINUTE_NS, sustain
from harness.scenarios.queries import EveryNth, Query
from harness.scenarios.server import Trial, giving_up, queries_at, schedule, search, serve
from harness.statistics.change_points import SEGMENT
from harness.statistics.early_stopping import FEWEST_QUERIES, holds

Emit = Callable[[Event], None]

# Samples of one minute that are kept, about: a model of a few microseconds would fill the disk and show nothing more.
_KEPT_A_MINUTE = 100_000


def measure_server(job: Job, query: Query, service_ns: float, emit: Emit) -> None:
    """One trial at the job's rate, phase `server`, or a search for the highest that holds the bound, phases `server_1`
    and on. The rate of each is a scalar of its phase. `service_ns` is what a query takes when it need not wait.
    """
    if job.rate_queries_per_s is not None:
        trial = _trial(job, job.rate_queries_per_s, query, service_ns)
        _emit_trial("server", trial, emit)
        emit(Scalar(name="queries", value=len(trial.latency.start_ns)))
        if (why := _why_late(job, trial)) is not None:
            emit(Scalar(name="server_queries_per_s", value=None, reason=why))
        return
    _search(job, query, service_ns, emit)


def _search(job: Job, query: Query, service_ns: float, emit: Emit) -> None:
    bound_ns = job.latency_bound_ns or 0
    if service_ns > bound_ns:
        why = f"a query alone takes {service_ns / 1e6:.4g} ms, longer than the bound of {bound_ns / 1e6:g} ms"
        emit(Scalar(name="server_queries_per_s", value=None, reason=why))
        return
    trials: list[Trial] = []

    def trial_holds(rate_queries_per_s: float) -> bool:
        trials.append(_trial(job, rate_queries_per_s, query, service_ns))
        _emit_trial(f"server_{len(trials)}", trials[-1], emit)
        return _why_late(job, trials[-1]) is None

    highest = search(trial_holds, 1e9 / service_ns)
    decisive = next((trial for trial in trials if trial.rate_queries_per_s == highest), trials[-1])
    emit(Scalar(name="queries", value=queries_at(job, decisive.rate_queries_per_s, service_ns)))
    if highest is None:
        emit(Scalar(name="server_queries_per_s", value=None, reason=_why_late(job, decisive)))


def _trial(job: Job, rate_queries_per_s: float, query: Query, service_ns: float) -> Trial:
    queries = queries_at(job, rate_queries_per_s, service_ns)
    arrivals = schedule(job, rate_queries_per_s, queries)
    if job.rate_queries_per_s is None and job.latency_bound_ns is not None:
        # One of many: what follows cannot save it.
        give_up = giving_up(job.latency_bound_ns, queries)
        return serve(query, rate_queries_per_s, arrivals, time.perf_counter_ns, give_up=give_up)
    return serve(query, rate_queries_per_s, arrivals, time.perf_counter_ns)


def _emit_trial(phase: str, trial: Trial, emit: Emit) -> None:
    emit(Scalar(name="rate_queries_per_s", value=trial.rate_queries_per_s, phase=phase))
    emit(trial.latency.event(phase))
    emit(trial.service.event(f"{phase}_service"))


def _why_late(job: Job, trial: Trial) -> str | None:
    """Why a trial did not hold the bound; None where it did, or where there is none."""
    if job.latency_bound_ns is None:
        return None
    queries, late = len(trial.latency.start_ns), trial.late(job.latency_bound_ns)
    if holds(queries, late):
        return None
    rate, bound = trial.rate_queries_per_s, f"{job.latency_bound_ns / 1e6:g} ms"
    at = f"{rate:,.0f} queries/s" if rate >= 1000 else f"{rate:.4g} queries/s"
    if queries < FEWEST_QUERIES and not late:
        return f"{queries} queries at {at} are too few to tell p99: it takes {FEWEST_QUERIES} within --max-duration"
    return f"{at} did not hold p99 within {bound}: {late} of {queries} queries took longer"


def measure_sustained(job: Job, query: Query, service_ns: float, emit: Emit) -> None:
    """Minutes of queries, phase `sustained`, and for a language model the phases of its generation. After each minute
    its samples are sent, and the state of the device is read: outside the timed region, between two queries.

    Where a query is so short that a minute has too many samples, those of one query in `queries_per_sample` are kept.
    """
    minutes = int(job.min_duration_s * 1e9) // MINUTE_NS
    coming = job.min_duration_s * 1e9 / service_ns * (job.new_tokens or 1)
    stride = max(1, math.ceil(coming / (_KEPT_A_MINUTE * max(1, minutes))))
    emit(Scalar(name="queries_per_sample", value=stride))
    if stride > 1:
        query = EveryNth(query, stride)

    def emit_minute() -> None:
        for phase, series in query.phases.items():
            emit(series.event("sustained" if phase == "generate" else phase))
            series.clear()

    def at_minute(minute: int) -> None:
        emit_minute()
        emit(_state(minute))
        emit(Progress(done=minute, total=max(minute, minutes)))

    emit(_state(0))
    queries = sustain(query, job, time.perf_counter_ns, at_minute)
    emit_minute()
    emit(Scalar(name="queries", value=queries))
    if minutes < 2 * SEGMENT:
        why = f"{minutes} minutes are too few to see a change of level: it takes {2 * SEGMENT}"
        for name in ("sustained_plateau_latency_ns_p50", "time_to_plateau_ns"):
            emit(Scalar(name=name, value=None, reason=why))


def _state(minute: int) -> Environment:
    """What may change while the device is at work: its clock, its temperature, what else it does."""
    readings = [
        {"name": reading.name, "value": reading.value, "reason": reading.reason}
        for reading in read_host()
        if not reading.identity
    ]
    return Environment(moment=f"minute {minute}", readings=readings)
