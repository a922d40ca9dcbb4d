"""One job: read the conditions, launch the worker, collect its events, read the conditions again, make the rows.

Whatever a worker does (crash, hang, print rubbish), the result is an `Attempt` with a status; only Ctrl-C passes
through, after its row has been made too.
"""

from __future__ import annotations

import json
import signal
import subprocess
import traceback
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from harness import __version__, protocol
from harness.conditions.flags import flags, range_flags
from harness.conditions.readings import environment_rows, fingerprint
from harness.energy.meter import Meter
from harness.errors import HarnessError, ModelError, UsageError, WorkerError
from harness.job import Files, Job
from harness.manifest import Manifest
from harness.measurement import Measurement, run_table, tables
from harness.protocol import Done, Error, Progress
from harness.target import Conditioned, Target, WorkerProcess

if TYPE_CHECKING:
    import pyarrow as pa

OnProgress = Callable[[int, int], None]
_KINDS: dict[type[HarnessError], str] = {ModelError: "model", UsageError: "usage"}
_TAIL = 4096


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of one job. `error` is None when it went well; `tables` are its rows, ready for the store."""

    job: Job
    attempt_id: str
    date: str
    measurement: Measurement
    error: WorkerError | None
    interrupted: bool
    tables: dict[str, pa.Table]

    @property
    def status(self) -> str:
        """ok, failed or interrupted."""
        if self.interrupted:
            return "interrupted"
        return "ok" if self.error is None else "failed"


def run_job(
    target: Target,
    job: Job,
    files: Files,
    *,
    session_id: str,
    position: int,
    timeout_s: float,
    model_bytes: int,
    manifest: Manifest | None = None,
    on_progress: OnProgress | None = None,
    derive: Callable[[Measurement], Iterable[protocol.Scalar]] | None = None,
    meter: Meter | None = None,
    refused: WorkerError | None = None,
) -> Attempt:
    """Run `job` and make its rows. `derive` adds scalars that only the harness can know, from what the worker left
    behind; `meter` reads the device's energy meanwhile. With `refused`, what is wrong is known and no worker starts.
    """
    if isinstance(target, Conditioned):
        target.prepare(on_progress)
    started, before = datetime.now(UTC), target.environment()
    measurement, error, interrupted, tail, own = Measurement(), None, False, "", ""
    process: WorkerProcess | None = None
    try:
        if refused is not None:
            raise refused
        if meter is not None:
            meter.begin(job.min_duration_s)
        process = target.launch(job, files)
        _collect(process, measurement, timeout_s, on_progress, meter)
        measurement.scalars += [(None, scalar) for scalar in (derive(measurement) if derive else ())]
        if meter is not None:
            meter.end()
            measurement.scalars += [(scalar.phase, scalar) for scalar in meter.scalars(measurement, job)]
    except WorkerError as caught:
        error = caught
    except HarnessError as caught:
        error = WorkerError(_KINDS.get(type(caught), "harness"), caught.message, caught.hint)
    except Exception as caught:  # noqa: BLE001 - whatever it is, no other model's rows must be lost for it
        what = f"harness could not go on with this job ({type(caught).__name__}: {caught})."
        error = WorkerError("harness", what, "`harness report` shows where; report it.")
        own = traceback.format_exc()[-_TAIL:]
    except KeyboardInterrupt:
        interrupted = True
        error = WorkerError("interrupted", "Interrupted by the user.")
    finally:
        if process is not None:
            try:
                code = (
                    process.kill()
                    if error is not None and error.kind in ("timeout", "protocol", "interrupted", "harness")
                    else process.close()
                )
                tail = process.stderr_tail()
            except KeyboardInterrupt:  # while a worker lingered after its last word
                interrupted, error = True, WorkerError("interrupted", "Interrupted by the user.")
                code, tail = process.kill(), process.stderr_tail()
            error = _explain_end(error, code)
        if meter is not None:
            meter.end()
    after = [*target.environment(), *(meter.readings(measurement) if meter is not None else ())]
    row = (
        _identity(job, manifest)
        | _outcome(error, interrupted, own or tail)
        | {
            "attempt_id": (attempt_id := uuid.uuid4().hex),
            "session_id": session_id,
            "position": position,
            "started_at": started,
            "finished_at": datetime.now(UTC),
            "model_bytes": model_bytes,
            "latency_kind": target.capabilities.latency,
            "device": target.device(),
            "worker": measurement.hello.worker if measurement.hello else None,
            "settings_json": json.dumps(measurement.settings) if measurement.settings else None,
            # They are about clocks and load, which touch neither a count nor an estimate.
            "flags": flags(before, after, job, measurement)
            if target.capabilities.latency not in (None, "estimated")
            else range_flags(measurement),
        }
    )
    row["fingerprint"], row["fingerprint_json"] = fingerprint(
        after, measurement.hello.versions if measurement.hello else {}
    )
    during = [
        {"moment": event.moment, **{key: reading.get(key) for key in ("name", "value", "reason")}}
        for event in measurement.environment
        for reading in event.readings
    ]
    environment = [*environment_rows("before", before), *during, *environment_rows("after", after)]
    rows = tables(attempt_id, measurement, environment)
    rows["runs"] = run_table(row)
    return Attempt(
        job=job,
        attempt_id=attempt_id,
        date=started.date().isoformat(),
        measurement=measurement,
        error=error,
        interrupted=interrupted,
        tables=rows,
    )


def _collect(
    process: WorkerProcess,
    measurement: Measurement,
    timeout_s: float,
    on_progress: OnProgress | None,
    meter: Meter | None,
) -> None:
    """Take in events until the last one. Raises WorkerError when the worker says `error`, or ends without its last
    word.
    """
    for line in process.lines(timeout_s):
        event = protocol.decode(line)
        if isinstance(event, Done):
            return
        if isinstance(event, Error):
            raise WorkerError(event.kind, event.message, event.todo)
        if isinstance(event, Progress) and on_progress is not None:
            on_progress(event.done, event.total)
        measurement.add(event)
        if meter is not None:
            meter.heard(event)
    raise WorkerError("ended", "The worker ended without its last word.", "`harness report` shows its standard error.")


def _explain_end(error: WorkerError | None, code: int | None) -> WorkerError | None:
    """A worker that just stopped talking is explained by its exit: the signal that killed it, mostly."""
    if error is None or error.kind != "ended" or code is None:
        return error
    if code < 0:
        name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
        hint = {"SIGKILL": "Somebody or the kernel (out of memory?) killed it; see the kernel's log."}.get(
            name, "The model file is damaged or hits a defect of the runtime; `harness report` shows where it crashed."
        )
        return WorkerError("crashed", f"The worker was killed by {name}.", hint)
    return WorkerError(
        "crashed",
        f"The worker exited with code {code} before it was done.",
        "`harness report` shows its standard error.",
    )


def _identity(job: Job, manifest: Manifest | None) -> dict[str, Any]:
    known = (
        {}
        if manifest is None
        else {
            "method": manifest.method,
            "parent": manifest.parent,
            "precision": manifest.precision,
            "parameters": manifest.parameters,
            "bits_per_weight": manifest.bits_per_weight,
            "bits_per_weight_stored": manifest.bits_per_weight_stored,
            "recorded_loss_nats": manifest.quality.get("loss"),
            "family": manifest.family or manifest.compression.get("family"),
            "weights_bytes": manifest.weights_bytes,
        }
    )
    columns = (
        "model",
        "model_sha256",
        "scenario",
        "measure",
        "block",
        "threads",
        "runtime",
        "compile",
        "batch",
        "prompt_tokens",
        "new_tokens",
        "data",
        "data_sha256",
        "reference_sha256",
    )
    return (
        known
        | {name: getattr(job, name) for name in columns}
        | {"model_sha256": job.model_sha256 or None}  # none of a file that cannot be read
        | {
            "job_id": job.job_id,
            "series_id": job.series_id,
            "job_json": job.canonical_json(),
            "cpus": None if job.cpus is None else ",".join(map(str, job.cpus)),
            "harness_version": __version__,
            "harness_commit": _commit(),
        }
    )


def _outcome(error: WorkerError | None, interrupted: bool, tail: str) -> dict[str, Any]:
    if error is None:
        return {"status": "ok"}
    return {
        "status": "interrupted" if interrupted else "failed",
        "error_kind": error.kind,
        "error_message": str(error),
        "stderr_tail": tail or None,
    }


@cache
def _commit() -> str | None:
    """The commit harness was installed from, with `-dirty` where an editable checkout has changes; None where pip did
    not record one.
    """
    try:
        recorded = json.loads(distribution("edge-harness").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    if "vcs_info" in recorded:
        return str(recorded["vcs_info"].get("commit_id"))
    if not recorded.get("dir_info", {}).get("editable"):
        return None
    command = [
        "git",
        "-C",
        unquote(urlparse(recorded["url"]).path),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude",
        "*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
