"""One call of `harness run`: all jobs of a plan in order, each stored as soon as it has ended."""

from __future__ import annotations

import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harness.batch import why_unknown
from harness.data_file import find_data_file, model_hash
from harness.energy.meter import Meter, unmeasured
from harness.energy.source import Missing, Source
from harness.errors import ModelError, UsageError, WorkerError
from harness.experiment.answers import answer_rows
from harness.experiment.evaluation_text import text_sizes
from harness.experiment.plan import Subject, files_for, input_sizes
from harness.experiment.runner import Attempt, run_job
from harness.job import Files, Job
from harness.manifest import Manifest, read_manifest, sha256_file
from harness.measurement import Measurement, scalar_table
from harness.model_description import find_method, heavy_operators, is_language_model, is_tensor, lies_in_flash
from harness.protocol import Describe, Scalar
from harness.scratch import ScratchFolder, delete_abandoned
from harness.store.writer import write_attempt
from harness.target import Target

# A model that fails in one of these ways will fail in every further process: the rest of its jobs are skipped. Other
# failures may be somebody's `kill`, so they are believed the second time.
_CERTAIN = ("model", "usage")
_BELIEVED = 2
# What was too large for the memory says nothing of smaller ones: only the same job in other blocks is skipped.
_TOO_LARGE = "memory"


class Described(NamedTuple):
    """What is known of a model: the sha256 of its file, or one of it, its weights and the method that was asked for
    (`harness.data_file.model_hash`); what a worker says of it, its manifest, and the file of its weights where they are
    not in the program.
    """

    sha256: str
    description: Describe
    manifest: Manifest | None
    data_file: Path | None


@dataclass
class Session:
    """Where the rows go and what has happened so far. `scratch` is a folder for the files that jobs leave for one
    another; `interrupted` says that the last row is of a job that the user stopped; `fingerprints` are those of the
    descriptions, and so of the jobs that follow them; `held` are attempts whose energy is still in a meter, stored by
    `release`.
    """

    target: Target
    results: Path
    timeout_s: float
    scratch: Path
    session_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    position: int = 0
    succeeded: int = 0
    failed: list[Attempt] = field(default_factory=list)
    interrupted: bool = False
    skipped: list[Job] = field(default_factory=list)
    fingerprints: set[str] = field(default_factory=set)
    held: list[tuple[Attempt, Meter]] = field(default_factory=list)

    def run(
        self,
        job: Job,
        files: Files,
        model_bytes: int,
        manifest: Manifest | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        derive: Callable[[Measurement], Sequence[Scalar]] | None = None,
        meter: Meter | None = None,
        refused: WorkerError | None = None,
    ) -> Attempt:
        """Run one job and store its rows; one that is `refused` starts no worker. Raises StoreError if they cannot be
        stored, KeyboardInterrupt after storing an interrupted one.
        """
        attempt = run_job(
            self.target,
            job,
            files,
            session_id=self.session_id,
            position=self.position,
            timeout_s=self.timeout_s,
            model_bytes=model_bytes,
            manifest=manifest,
            on_progress=on_progress,
            derive=derive,
            meter=meter,
            refused=refused,
        )
        self.position += 1
        if meter is not None and meter.source.read is None and attempt.error is None:
            self.held.append((attempt, meter))
        # A description that went well is no measurement: only its failure is worth a row.
        elif job.measure != "describe" or attempt.error is not None:
            write_attempt(self.results, attempt.date, self.target.name, attempt.tables)
        if attempt.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        if attempt.error is not None:
            self.failed.append(attempt)
        elif job.measure != "describe":
            self.succeeded += 1
        return attempt

    def release(self, scalars: Callable[[Attempt, Meter], Sequence[Scalar]]) -> None:
        """Store what is held, with the scalars that are known now. Raises StoreError."""
        while self.held:
            attempt, meter = self.held[0]
            attempt.measurement.scalars += [(scalar.phase, scalar) for scalar in scalars(attempt, meter)]
            rows = {"scalars": scalar_table(attempt.attempt_id, attempt.measurement)}
            write_attempt(self.results, attempt.date, self.target.name, attempt.tables | rows)
            del self.held[0]

    def describe(
        self,
        name: str,
        path: Path,
        *,
        data_file: Path | None = None,
        method: str | None = None,
        python: Path | None = None,
        versions_of: str | None = None,
    ) -> Described | None:
        """What a worker says of a file, of which `method` is to be measured; None when something is wrong with it,
        which is then among `failed`. `data_file` is the one that the user names for its weights, `python` the
        interpreter that the worker runs in, and `versions_of` the model that runs in several of them.
        """
        unread: WorkerError | None = None
        sha256, size = "", 0
        try:
            sha256, size = sha256_file(path), path.stat().st_size
            data_file = data_file or find_data_file(path)
        except OSError as error:
            what = f"{path} cannot be read ({error.strerror})."
            unread = WorkerError("model", what, "Check the path and its permissions.")
        manifest: Manifest | None = None

        def check(measurement: Measurement) -> list[Scalar]:
            nonlocal manifest, data_file
            if measurement.description is None:
                raise WorkerError("protocol", "The worker was done without describing the model.", "Report it.")
            _check_description(name, measurement.description, method)
            try:
                if measurement.description.external_data:
                    data_file = data_file or find_data_file(path, needed=True)
                manifest = read_manifest(path, sha256, data_file)
            except ModelError as error:
                raise WorkerError("model", error.message, error.hint) from error
            return []

        job = Job(
            target=self.target.name,
            model=name,
            model_sha256=sha256,
            scenario="describe",
            measure="describe",
            versions_of=versions_of,
        )
        files = Files(model=str(path), python=None if python is None else str(python))
        attempt = self.run(job, files, size, derive=check, refused=unread)
        self.fingerprints.add(attempt.tables["runs"]["fingerprint"][0].as_py())
        if attempt.error is not None or attempt.measurement.description is None:
            return None
        return Described(model_hash(sha256, data_file, method), attempt.measurement.description, manifest, data_file)

    def refuse(self, subject: Subject, error: UsageError) -> None:
        """Store that a model cannot do what was asked of all: a failed row of it, so that the others have theirs. It is
        one of its description, which belongs to the tables of all conditions.
        """
        job = Job(
            target=self.target.name,
            model=subject.name,
            model_sha256=subject.sha256,
            scenario="describe",
            measure="describe",
        )
        why = WorkerError("usage", error.message, error.hint)
        self.run(job, Files(model=str(subject.path)), _size(subject), subject.manifest, refused=why)

    def run_all(
        self,
        jobs: Iterable[Job],
        subjects: Mapping[str, Subject],
        inputs: Path | None,
        on_progress: Callable[[int, int], None] | None = None,
        energy: Source | Missing | None = None,
    ) -> Iterator[Attempt | Job]:
        """Run `jobs` in order, yielding each attempt as it ends, before the next job is taken; a job skipped because
        its model is hopeless is yielded as itself. `energy` is where that of the energy pass comes from, or why there
        is none.
        """
        failures: Counter[tuple[str, bool]] = Counter()
        hopeless: set[str] = set()
        too_large: set[str] = set()
        outputs: dict[tuple[str, str | None], Path] = {}
        for job in jobs:
            key = (job.model, job.measure == "quality")
            if failures[key] >= _BELIEVED or job.model in hopeless or job.series_id in too_large:
                self.skipped.append(job)
                yield job
                continue
            subject = subjects[job.model]
            folder = self.scratch / f"job{self.position}"
            folder.mkdir()
            size = _size(subject)

            def derive(measurement: Measurement, job: Job = job, subject: Subject = subject) -> list[Scalar]:
                if job.measure == "quality" and subject.tokens is not None:
                    return text_sizes(measurement, subject)
                if job.measure != "latency":
                    return _deviation(job, measurement, outputs)
                measurement.texts = answer_rows(measurement.answers, job, subject)
                why = subject.unmeasured_quality
                language = lies_in_flash(subject.description) or is_language_model(subject.description)
                name = "loss_nats" if language else "max_abs_difference"
                known = [] if why is None else [Scalar(name=name, value=None, reason=why)]
                if not lies_in_flash(subject.description):
                    known += _of_operators(subject.method.get("operators"))
                if job.batch is None and job.scenario == "offline":
                    unknown = why_unknown(subject.name, input_sizes(job, subject))
                    known.append(Scalar(name="samples_per_s", value=None, reason=unknown))
                return known + (unmeasured(job, energy.reason) if isinstance(energy, Missing) else [])

            attempt = self.run(
                job,
                files_for(job, subject, inputs, folder),
                size,
                subject.manifest,
                on_progress,
                derive,
                Meter(energy) if job.measure == "energy" and isinstance(energy, Source) else None,
            )
            if attempt.error is not None and attempt.error.kind == _TOO_LARGE:
                too_large.add(job.series_id)
            elif attempt.error is not None:
                failures[key] += 1
                hopeless |= {job.model} if attempt.error.kind in _CERTAIN else set()
            yield attempt


def _of_operators(counts: dict[str, Any] | None) -> list[Scalar]:
    """What the file says of its operators, where it does: the bytes of its cache, and whether heavy ones are outside
    its delegates.
    """
    cache = None if counts is None else counts["cache_bytes"]
    scalars = [] if cache is None else [Scalar(name="cache_bytes", value=cache)]
    return scalars + ([Scalar(name="heavy_outside_delegates", value=1.0)] if heavy_operators(counts) else [])


def _size(subject: Subject) -> int:
    """Bytes of a model's files; 0 where they are gone, which its worker will say."""
    try:
        return sum(path.stat().st_size for path in (subject.path, subject.data_file) if path is not None)
    except OSError:
        return 0


def _check_description(name: str, description: Describe, method: str | None) -> None:
    """Raises WorkerError where nothing can be planned from it, or it has no such method."""
    try:
        if not lies_in_flash(description):
            method_description = find_method(description, method)
            for described in (*method_description["inputs"], *method_description["outputs"]):
                list(described["sizes"]) if is_tensor(described) else described["sizes"]
        is_language_model(description)
    except (ModelError, UsageError) as error:
        raise WorkerError("model", f"{name}: {error.message}", error.hint) from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"What the worker says of {name} cannot be understood ({type(error).__name__}: {error})."
        raise WorkerError("model", what, "Export it again; report it if it stays so.") from error


def _deviation(job: Job, measurement: Measurement, outputs: dict[tuple[str, str | None], Path]) -> list[Scalar]:
    """Set a job's outputs against those of its reference in the same precision, or remember them as a reference for the
    jobs to come.
    """
    if job.measure != "quality" or not measurement.outputs:
        return []
    path = Path(measurement.outputs[0].file)
    if outputs.setdefault((job.model_sha256, job.precision), path) == path:
        if job.reference_sha256 in (None, job.model_sha256):
            return []
    elif job.reference_sha256 is None:
        return []
    if (reference := outputs.get((job.reference_sha256, job.precision))) is None:
        return [Scalar(name="max_abs_difference", value=None, reason="the parent model did not run")]
    from harness.experiment.deviation import deviation

    try:
        return deviation(reference, path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise WorkerError(
            "outputs", f"The outputs the worker wrote cannot be read ({error}).", "Is the disk of /tmp full?"
        ) from error


@contextmanager
def open_session(target: Target, results: Path, timeout_s: float) -> Iterator[Session]:
    """A session with a scratch folder that goes with it; those that killed ones left are deleted."""
    delete_abandoned()
    with ScratchFolder() as scratch:
        yield Session(target, results, timeout_s, Path(scratch))
