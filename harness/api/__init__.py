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
from harness.experiment.request import OPTIONS, RunRequest
from harness.store.dataset import read_tables
from harness.store.place import results_folder

__all__ = ["Result", "RunRequest", "compare", "load_results", "run"]


def run(
    request: RunRequest | None = None,
    *,
    results: Path | str = "results",
    progress: Callable[[Event], None] | None = None,
    **options: Any,
) -> Result:
    """Measure models on a target, interleaved, store every sample in the folder `results`, and give what was measured.

        result = harness.run(target="x86", models=["baseline.pte", "mine.pte"], scenario="offline", batch=[1, 8])
        result.table()

    `options` are the fields of `RunRequest`, which are also the options of `harness run`; with a `request` they replace
    its fields. `models` may be a mapping from names to files. `progress` is called with every event of the run
    (`progress=print` shows them). A job that fails does not end the run: it is among the `failures` of the result.

    Raises UsageError for what cannot be asked, StoreError where rows cannot be stored, Interrupted where the user stops
    it; each has a `message` and a `hint`.
    """
    options = values_from(options, OPTIONS, "A run")
    if request is not None:
        request = request.with_options(**options)
    elif "target" not in options or "models" not in options:
        raise UsageError("A run needs a target and models.", 'Give target="x86" and models=["mine.pte"].')
    else:
        request = RunRequest(**options)
    folder = results_folder(str(results))
    outcome = experiment.run(request, folder, Zoo(), progress or ignore)
    return Result(read_tables(folder, outcome.session_id), results)
