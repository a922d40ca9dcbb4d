"""The Python API: what `import harness` gives. It puts the core, the models that come with harness, and the reports
together, as the command line does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.api.result import Result, compare, load_results
from harness.api.zoo import Zoo
from harness.errors import UsageError
from harness.experiment import run as experiment
from harness.experiment.options import values_from
from harness.experiment.progress import Event, ignore
from harness.experiment.request import OPTIONS, RunRequest, read_plan
from harness.store.dataset import read_tables
from harness.store.place import results_folder

__all__ = ["Result", "RunRequest", "compare", "load_results", "run"]


def run(
    request: RunRequest | Path | str | None = None,
    *,
    results: Path | str | None = None,
    progress: Callable[[Event], None] | None = None,
    **options: Any,
) -> Result:
    """Measure models on a target, interleaved, store every sample in the folder `results` ("results" where nothing says
    another), and give what was measured.

        result = harness.run(target="x86", models=["baseline.pte", "mine.pte"], scenario="offline", batch=[1, 8])
        result.table()

    `options` are the fields of `RunRequest`, which are also the options of `harness run`; with a `request`, or the path
    of a plan (`harness.run("plan.toml")`), they replace its fields. `models` may be a mapping from names to files.
    `progress` is called with every event of the run (`progress=print` shows them). A job that fails does not end the
    run: it is among the `failures` of the result.

    Raises UsageError for what cannot be asked, StoreError where rows cannot be stored, Interrupted where the user stops
    it; each has a `message` and a `hint`.
    """
    if progress is not None and not callable(progress):
        raise UsageError(
            f"progress is {progress!r}, and no function.", "Give progress=print, or a function of an event."
        )
    options = values_from(options, OPTIONS, "A run")
    if isinstance(request, (str, Path)):
        options, request = read_plan(Path(request)) | options, None
        planned = options.pop("results", None)
        results = planned if results is None else results
    if request is None and not {"target", "models"} <= options.keys():
        raise UsageError("A run needs a target and models.", 'Give target="x86" and models=["mine.pte"].')
    if request is not None and not isinstance(request, RunRequest):
        raise UsageError(
            f"A value of type {type(request).__name__} is neither a RunRequest nor the path of a plan.",
            'Give options by their names: harness.run(target="x86", models=["mine.pte"]).',
        )
    request = RunRequest(**options) if request is None else request.with_options(**options)
    results = "results" if results is None else results
    folder = results_folder(results)
    outcome = experiment.run(request, folder, Zoo(), progress or ignore)
    return Result(read_tables(folder, outcome.session_id), results)
