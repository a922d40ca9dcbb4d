"""The files of models by name for a command that measures them: found in the cache, or built by child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Note = Callable[[str], None]
"""Takes a line for a person who waits."""
_PROGRESS = "building "
"""What a line of progress begins with that `harness models build` writes to a standard error that is no terminal."""


def find_or_build(wanted: Sequence[tuple[str, str]], note: Note) -> list[Path]:
    """The file of each (name, format of `harness models build`), in order. Those that are not there yet are built side
    by side, each in a process of its own, which takes one processor; `note` hears which, and every 15 seconds of each
    how far it is and how long it will take.

    Raises UsageError for a name or format that does not exist, HarnessError with the message of a build that failed.
    """
    from harness.models.zoo.artifacts import artifact, built, built_cached, built_static, cached, static

    find = {"static": built_static, "cached": built_cached}
    make = {"static": static, "cached": cached}

    def ready(name: str, fmt: str) -> Path | None:
        return find[fmt](name) if fmt in find else built(name, fmt=fmt)

    missing = [(name, fmt) for name, fmt in dict.fromkeys(wanted) if ready(name, fmt) is None]
    if missing:
        note(f"building {', '.join(name for name, _ in missing)}, once")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda model: run_build(["models", "build", model[0], "--format", model[1]], note), missing):
            pass
    return [make[fmt](name) if fmt in make else artifact(name, fmt=fmt) for name, fmt in wanted]


def find_or_build_flash(name: str, data: Path | None, note: Note, *, predictors: bool) -> Path:
    """The program of a model by name whose feed-forward weights lie in files beside it, with its predictors where they
    are asked for; built by a child process where a file is missing. `data` is a text to train predictors on in place of
    the one that comes with harness. Errors as for `find_or_build`.
    """
    from harness.flash.language_model.files import neurons_path, predictors_path
    from harness.models.zoo.artifacts import built_flash

    current = built_flash(name)
    if current is not None:
        files = [neurons_path(current, "plain"), neurons_path(current, "bundled")]
        files += [predictors_path(current)] if predictors else []
        if all(path.exists() for path in files):
            return current
    note(f"building {name} with its feed-forward weights in files of their own, once")
    command = ["flash", "build", name, *(["--force"] if current else [])]
    return Path(run_build([*command, *(["--data", str(data)] if data else [])], note))


def run_build(words: Sequence[str], note: Note) -> str:
    """What the harness command `words` prints, run as a child that ends with this process; its lines of progress go to
    `note`. Raises HarnessError with the sentence and the advice of a command that fails.
    """
    from harness.children import ending_with_us
    from harness.errors import HarnessError

    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "harness", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=ending_with_us(),
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stderr:  # standard output has one line at most, at the end: nobody waits for it to be read
            lines.append(line)
            if line.startswith(_PROGRESS):
                note(line.strip())
        printed = child.stdout.read()
    if child.returncode != 0:
        what, _, todo = "".join(lines).strip().rpartition("harness: ")[2].partition("\n")
        raise HarnessError(what, todo)
    return printed.strip()
