"""What a night and a rerun ask of a run, and the run itself, which must not take the night with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.errors import HarnessError, Interrupted
from harness.experiment.request import NamedModel, RunRequest
from harness.experiment.run import Failure, Outcome
from harness.nightly.config import NightlyConfig
from harness.nightly.verdict import Pair

Run = Callable[[RunRequest, Path], Outcome]
"""Measures a request and stores it in a folder: `harness.experiment.run.run` with a source of models."""


@dataclass(frozen=True)
class Measured:
    """How a run ended: its session, None where nothing was measured; whether a job failed, the `reason`, and by model
    the first failure of each.
    """

    session_id: str | None
    failed: bool = False
    reason: str | None = None
    failures: Mapping[str, Failure] = field(default_factory=dict)


def night_request(config: NightlyConfig) -> RunRequest:
    """The models of the configuration and its reference, interleaved."""
    reference = () if config.reference is None else (config.reference,)
    return replace(config.request, models=(*config.request.models, *reference))


def rerun_request(request: RunRequest, pair: Pair, new_pairs: int) -> RunRequest:
    """Two files again: under the one condition of the pair, in the one pass that decides, in so many processes each,
    whatever those of a night are.
    """
    where = pair.condition
    return request.with_options(
        models=tuple(NamedModel(str(file), name) for file, name in zip((pair.good, pair.bad), pair.names, strict=True)),
        data_files=(),
        scenario=where.scenario,
        threads=where.threads,
        batch=0 if where.batch is None else where.batch,
        prompt_tokens=where.prompt_tokens,
        new_tokens=where.new_tokens,
        cpus=() if where.cpus is None else where.cpus,
        precision=where.precision,
        processes=new_pairs,
        resolve=None,
        max_time_s=None,
        **passes_for(pair.measure),
    )


def passes_for(measure: str) -> dict[str, bool | None]:
    """Fields of a request that make the pass of a metric, and no other that takes time."""
    return {"quality": False, "memory": measure == "memory", "energy": measure == "energy", "energy_csv": None}


def measured(run: Run, request: RunRequest, results: Path) -> Measured:
    """A run to its end, whatever that is. Raises KeyboardInterrupt where the user stops it."""
    try:
        outcome = run(request, results)
    except Interrupted as stopped:
        raise KeyboardInterrupt from stopped
    except HarnessError as error:
        return Measured(None, failed=True, reason=str(error))
    except Exception as error:  # noqa: BLE001 - a night goes on, and says in its ledger what went wrong
        return Measured(None, failed=True, reason=f"harness could not go on ({type(error).__name__}: {error}).")
    reason = str(outcome.failures[-1]) if outcome.failures else None
    failures = {failure.model: failure for failure in reversed(outcome.failures)}
    return Measured(outcome.session_id if outcome.succeeded else None, bool(outcome.failures), reason, failures)
