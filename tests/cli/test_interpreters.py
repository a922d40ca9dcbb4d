"""`harness run --python A --python B`: two versions of a runtime, each in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cli.driving import QUICK, Ended, Home
from fakes.environments import distribution, make_environment
from fakes.runtimes import SOURCE

from harness import __version__
from harness.errors import UsageError
from harness.experiment.interpreters import Interpreter, find_interpreters, labels_in
from harness.runtime import RuntimeCapabilities

# The second version computes something else, which the outputs show.
ENGINE = "def scaled(outputs): return [output * {scale} for output in outputs]\n"


def packages(version: str | None, scale: float) -> dict[str, str]:
    """The runtime of the documentation, with an engine of its own in this version; None: without it."""
    source = (SOURCE / "fake_runtime.py").read_text()
    changed = source.replace('distributions=("numpy",)', 'distributions=("fake-engine",)')
    changed = changed.replace(
        "execute=lambda inputs: [inputs[0] @ weight + bias],",
        "execute=lambda inputs: __import__('fake_engine').scaled([inputs[0] @ weight + bias]),",
    )
    assert changed.count("fake-engine") == changed.count("fake_engine") == 1
    runtime = distribution("harness-fake", "1.0", "[harness.runtimes]\nfake = fake_runtime\n")
    engine = {} if version is None else distribution("fake-engine", version)
    return {"fake_runtime.py": changed, "fake_engine.py": ENGINE.format(scale=scale)} | runtime | engine


@dataclass(frozen=True)
class Environments(Home):
    """A home, and two interpreters with the runtime, of which the old one runs harness too."""

    old: Path
    new: Path

    def run(self, *arguments: object) -> Ended:
        ended = subprocess.run(
            [str(self.old), "-P", "-m", "harness", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    folder = tmp_path_factory.mktemp("environments")
    (folder / "home").mkdir()
    old, new = (
        make_environment(folder / name, packages(version, scale))
        for name, version, scale in (("old", "1.0", 1.0), ("new", "2.0", 1.001))
    )
    rng = np.random.default_rng(0)
    for name in ("first", "second"):
        layer = {"weight": rng.normal(size=(8, 8)).tolist(), "bias": rng.normal(size=8).tolist()}
        (folder / "home" / f"{name}.fake").write_text(json.dumps(layer))
    return Environments(folder / "home", old=old, new=new)


@pytest.fixture(scope="module")
def ran(home: Environments) -> Ended:
    given = ("-m", "first.fake", "-m", "second.fake", "--python", home.old, "--python", home.new)
    return home.run("run", "-t", "x86", "-n", 2, "--batch", 2, *QUICK, "--no-memory", "--format", "json", *given)


def test_each_model_is_compared_between_the_versions_interleaved(home: Environments, ran: Ended) -> None:
    assert ran.code == 0, ran.err
    comparisons = json.loads(ran.out)["data"]["comparisons"]
    assert [[model["model"] for model in each["models"]] for each in comparisons] == [
        [f"{name} in fake-engine 1.0", f"{name} in fake-engine 2.0"] for name in ("first", "second")
    ]
    assert [each["condition"]["versions_of"] for each in comparisons] == ["first", "second"]
    assert all(each["interleaved"] for each in comparisons)
    assert all(each["versions"]["fake-engine"] == "1.0 and 2.0" for each in comparisons)
    timed = sorted((row for row in home.rows() if row["measure"] == "latency"), key=lambda row: row["position"])
    assert [row["model"].split()[-1] for row in timed[:4]] == ["1.0", "2.0", "1.0", "2.0"]


def test_versions_are_recorded_from_each_interpreter(home: Environments, ran: Ended) -> None:
    for row in home.rows():
        version = json.loads(row["fingerprint_json"])["version.fake-engine"]
        assert row["model"].endswith(f"in fake-engine {version}")
        assert str(home.folder.parent) not in row["job_json"], "versions name a job, and no path"
    assert {json.loads(row["job_json"])["versions_of"] for row in home.rows()} == {"first", "second"}


def test_outputs_of_the_new_version_are_set_against_the_old_ones(home: Environments, ran: Ended) -> None:
    models = {row["attempt_id"]: row["model"] for row in home.rows()}
    values = {
        models[row["attempt_id"]]: row["value"]
        for row in home.rows("scalars")
        if row["name"] == "max_abs_difference" and row["value"] is not None
    }
    assert "first in fake-engine 1.0" not in values
    assert 0 < values["first in fake-engine 2.0"] < 0.1


def test_the_table_and_the_verdict_name_versions(home: Environments, ran: Ended) -> None:
    table = home.run("compare", "--format", "markdown").out
    assert "| first in fake-engine 1.0 (baseline) | first in fake-engine 2.0 |" in table
    assert "versions for first" in table
    verdicts = [line for line in table.splitlines() if line.startswith("**second in fake-engine 2.0 ")]
    assert len(verdicts) == 1
    assert "second in fake-engine 1.0" in verdicts[0]


def test_a_dry_run_has_a_line_for_each_model(home: Environments) -> None:
    given = ("-m", "first.fake", "-m", "second.fake", "--python", home.old, "--python", home.new, "--dry-run")
    out = home.run("run", "-t", "x86", "--batch", 2, *given).out
    for name in ("first", "second"):
        assert f"versions for {name}: {name} in fake-engine 1.0 (baseline), {name} in fake-engine 2.0;" in out


def test_one_interpreter_is_no_comparison_and_leaves_names_as_they_are(home: Environments) -> None:
    other = Environments(home.folder / "one", old=home.old, new=home.new)
    other.folder.mkdir()
    given = ("-m", home.folder / "first.fake", "--python", home.new, "--no-memory", "--no-quality")
    assert other.run("run", "-t", "x86", "-n", 1, "--batch", 2, *QUICK, *given).code == 0
    (row,) = other.rows()
    assert row["model"] == "first"
    assert json.loads(row["fingerprint_json"])["version.fake-engine"] == "2.0"


class Engine:
    """What `find_interpreters` asks of a runtime."""

    name = "fake"
    capabilities = RuntimeCapabilities(formats=(".fake",), distributions=("fake-engine",))

    def start(self, device: str) -> dict[str, str]:
        return {}

    def describe(self, path: Path) -> None: ...

    def load(self, *arguments: object) -> None: ...


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        find_interpreters([path], {"m": Engine()})  # type: ignore[dict-item]
    assert caught.value.hint.endswith(".")
    return caught.value.message


def test_what_cannot_be_compared_is_one_sentence(home: Environments, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho hello\n")
    script.chmod(0o755)
    assert refused(script) == f"{script} is no Python that can be run."
    assert refused(tmp_path / "text.txt").endswith("is no Python that can be run.")
    bare = make_environment(tmp_path / "bare", shared=False)
    assert refused(bare) == f"{bare} cannot import harness (ModuleNotFoundError: No module named 'harness')."
    older = {"harness/__init__.py": '__version__ = "0.0.9"\n', "harness/protocol.py": "PROTOCOL = 1\n"}
    older_python = make_environment(tmp_path / "older", older, shared=False)
    assert refused(older_python) == f"{older_python} has harness 0.0.9, and this is {__version__}."
    without = make_environment(tmp_path / "without", packages(None, 1.0))
    assert refused(without) == f"{without} has no fake-engine, which m needs."
    plain = make_environment(tmp_path / "plain", distribution("fake-engine", "3.0"))
    assert refused(plain) == f"{plain} has no runtime fake, which m needs."


def test_a_path_that_is_none_is_refused_before_anything_is_measured(home: Environments) -> None:
    ended = home.run("run", "-t", "x86", "-m", "first.fake", "--python", home.folder / "nowhere")
    assert ended.code == 2
    assert "nowhere" in ended.err


@pytest.mark.parametrize(
    ("versions", "pythons", "labels"),
    [
        (("1.0", "2.0"), ("3.11.7", "3.12.1"), ["fake-engine 1.0", "fake-engine 2.0"]),
        (("1.0", "1.0"), ("3.11.7", "3.12.1"), ["fake-engine 1.0, python 3.11.7", "fake-engine 1.0, python 3.12.1"]),
        (("1.0", "1.0"), ("3.11.7", "3.11.7"), ["fake-engine 1.0", "fake-engine 1.0 #2"]),
        (("1.0", "2.0", "1.0"), ("3.11.7",) * 3, ["fake-engine 1.0", "fake-engine 2.0", "fake-engine 1.0 #2"]),
    ],
)
def test_a_model_is_called_by_what_differs(
    versions: tuple[str, ...], pythons: tuple[str, ...], labels: list[str]
) -> None:
    interpreters = [
        Interpreter(Path("python"), python, {"fake-engine": version})
        for version, python in zip(versions, pythons, strict=True)
    ]
    assert labels_in(interpreters, Engine()) == labels  # type: ignore[arg-type]
