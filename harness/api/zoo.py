"""The models that come with harness, as a source for runs: built on first use, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.children import ending_with_us
from harness.errors import HarnessError, UsageError
from harness.experiment.model_source import EvaluationText, Say
from harness.target import Target


class Zoo:
    """A `harness.experiment.model_source.ModelSource`."""

    def files(self, names: Sequence[str], target: Target, say: Say) -> list[Path]:
        """Those that are not there yet are built side by side: the exporter takes a minute and one processor."""
        from harness.models.zoo import artifact, built, built_cached, built_static, cached, static

        def ready(name: str, fmt: str) -> Path | None:
            variants = {"static": built_static, "cached": built_cached}
            return variants[fmt](name) if fmt in variants else built(name, fmt=fmt)

        wanted = [zoo_format(Path(name), target) for name in names]
        missing = [(name, fmt) for name, fmt in dict.fromkeys(wanted) if ready(name, fmt) is None]
        if missing:
            say(f"building {', '.join(name for name, _ in missing)}, once: about a minute")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for ended in pool.map(_build, [["models", "build", name, "--format", fmt] for name, fmt in missing]):
                _check_built(ended)
        variants = {"static": static, "cached": cached}
        return [variants[fmt](name) if fmt in variants else artifact(name, fmt=fmt) for name, fmt in wanted]

    def file_in_flash(self, name: str, *, predictors: bool, text: Path | None, say: Say) -> Path:
        """By `harness flash build`."""
        from harness.cli.flash.build import built_with, kind
        from harness.flash.files import neurons_path, predictors_path
        from harness.models.zoo import built_variant, known

        name = name.removesuffix(".pte")
        if not known(name):
            raise _unknown(Path(name))
        current = built_variant(name, kind("float16"), built_with())
        if current is not None:
            needed = [neurons_path(current, "plain"), neurons_path(current, "bundled")]
            needed += [predictors_path(current)] if predictors else []
            if all(path.exists() for path in needed):
                return current
        say(f"building {name} with its feed-forward weights in files of their own, once: half a minute")
        command = ["flash", "build", name, *(["--force"] if current else [])]
        ended = _build([*command, *(["--data", str(text)] if text else [])])
        _check_built(ended)
        return Path(ended.stdout.strip())

    def evaluation_text(self, vocabulary: str, text: Path | None) -> EvaluationText:
        """Tiny Shakespeare, or another text in a vocabulary of characters."""
        from harness.models.data import TEXT_SHA256, VALIDATION_NAME, validation_tokens

        return EvaluationText(validation_tokens(vocabulary, text), VALIDATION_NAME, TEXT_SHA256)


def zoo_format(path: Path, target: Target) -> tuple[str, str]:
    """Name and format of a model that harness can build: `selfcomp`, or `selfcomp.pte` in no folder; `static` where the
    target compiles fixed shapes, `cached` where it has torch to generate with and no `.pt2` was asked for.

    Raises UsageError for any other path.
    """
    from harness.models.zoo import known

    suffix = path.suffix if path.suffix in (".pte", ".pt2") else ""
    name = path.name.removesuffix(suffix)
    if path.parent != Path() or not known(name):
        raise _unknown(path)
    if target.capabilities.static_shapes:
        return name, "static"
    if not suffix and target.capabilities.formats[0] == ".pt2" and "generate" in target.capabilities.scenarios:
        return name, "cached"
    return name, (suffix or target.capabilities.formats[0]).removeprefix(".")


def _unknown(path: Path) -> UsageError:
    return UsageError(f"{path} is neither a file nor the name of a model.", "`harness models list` shows the names.")


def _build(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=ending_with_us())


def _check_built(ended: subprocess.CompletedProcess[str]) -> None:
    if ended.returncode != 0:
        what, _, todo = ended.stderr.strip().rpartition("harness: ")[2].partition("\n")
        raise HarnessError(what, todo)
