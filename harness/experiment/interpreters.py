"""Interpreters that a run is to compare: what each of them has, and what models are called in them."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import UsageError
from harness.protocol import PROTOCOL
from harness.runtime import Runtime

# Runs in whatever is given as an interpreter, before anything is known of it. The first entry of the path is the folder
# that harness is run from, in which no module is meant.
_PROBE = """
import json, sys
if sys.path and not sys.path[0]: del sys.path[0]
answer = {"python": sys.version.split()[0], "versions": {}}
try:
    from importlib.metadata import PackageNotFoundError, entry_points, version
    import harness
    from harness.protocol import PROTOCOL
    answer.update(harness=harness.__version__, protocol=PROTOCOL)
    answer["runtimes"] = [point.name for point in entry_points(group="harness.runtimes")]
    for name in sys.argv[1:]:
        try: answer["versions"][name] = version(name)
        except PackageNotFoundError: pass
except Exception as error:
    answer["error"] = "%s: %s" % (type(error).__name__, error)
print(json.dumps(answer))
"""
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Interpreter:
    """A Python in which workers can run, its version, and those of the distributions that were asked for."""

    path: Path
    python: str
    versions: Mapping[str, str]


def find_interpreters(paths: Sequence[Path], runtimes: Mapping[str, Runtime | None]) -> list[Interpreter]:
    """What lies at these paths. `runtimes` are those of the models, by name, which all of them must have.

    Raises UsageError for what is no Python, has no harness or another version of it, or lacks a runtime.
    """
    needed = {name: runtime for name, runtime in runtimes.items() if runtime is not None}
    distributions = sorted({name for runtime in needed.values() for name in runtime.capabilities.distributions})
    return [_examined(path, needed, distributions) for path in paths]


def labels_in(interpreters: Sequence[Interpreter], runtime: Runtime | None) -> list[str]:
    """What tells a model in each of them: the version of its runtime, such as `onnxruntime 1.22.1`, with that of Python
    where only this differs, and a number where nothing does.
    """
    names = runtime.capabilities.distributions if runtime is not None else ()
    pythons = [f"python {each.python}" for each in interpreters]
    by_name = [[f"{name} {each.versions[name]}" for each in interpreters] for name in names]
    chosen = next((texts for texts in by_name if len(set(texts)) > 1), by_name[0] if by_name else pythons)
    if len(set(chosen)) < len(chosen):
        both = [f"{text}, {python}" for text, python in zip(chosen, pythons, strict=True)]
        chosen = both if len(set(both)) > len(set(chosen)) and chosen is not pythons else chosen
    seen: Counter[str] = Counter()
    labels = []
    for text in chosen:
        seen[text] += 1
        labels.append(text if seen[text] == 1 else f"{text} #{seen[text]}")
    return labels


def _examined(path: Path, runtimes: Mapping[str, Runtime], distributions: Sequence[str]) -> Interpreter:
    answer = _ask(path, distributions)
    if "harness" not in answer:
        raise UsageError(
            f"{path} cannot import harness ({answer.get('error', 'unknown')}).",
            f"Install the harness that runs here, version {__version__}, in that environment too.",
        )
    if (answer["harness"], answer["protocol"]) != (__version__, PROTOCOL):
        raise UsageError(
            f"{path} has harness {answer['harness']}, and this is {__version__}.", "Install one version in both."
        )
    if "error" in answer:
        raise UsageError(f"{path} cannot list its packages ({answer['error']}).", "Repair that environment.")
    for model, runtime in runtimes.items():
        lacking = [name for name in runtime.capabilities.distributions if name not in answer["versions"]]
        lacking += [] if runtime.name in answer["runtimes"] else [f"the runtime {runtime.name}"]
        if lacking:
            install = runtime.capabilities.install or f"pip install {' '.join(lacking)}"
            raise UsageError(
                f"{path} has no {lacking[0].removeprefix('the ')}, which {model} needs.",
                f"In that environment: {install}, or give another --python.",
            )
    return Interpreter(path, answer["python"], answer["versions"])


def _ask(path: Path, distributions: Sequence[str]) -> dict[str, Any]:
    try:
        ended = subprocess.run(
            [str(path), "-c", _PROBE, *distributions],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
        )
        answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        if not isinstance(answer["versions"], dict):
            raise TypeError("it answers something else")
        return answer
    except (OSError, subprocess.TimeoutExpired, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"{path} is no Python that can be run.", "Give the python executable of an environment, as env/bin/python."
        ) from error
