"""Finding runtimes, ours and other people's, and which of them a file is for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.runtimes import SOURCE

from harness import runtime as runtimes
from harness.data_file import find_data_file
from harness.errors import HarnessError, ModelError, UsageError
from harness.job import Files, Job
from harness.runtime import (
    RuntimeCapabilities,
    RuntimeOption,
    availability,
    check_option,
    concerns,
    find_runtime,
    missing_runtime,
    runtime_choice,
    runtime_for,
)
from harness.target import find_target

MODULE = """
from harness.runtime import RuntimeCapabilities
from harness.target import Availability

class Base:
    def start(self, device): return {}
    def describe(self, path): ...
    def load(self, path, job, files): ...

class Usual(Base):
    name = "usual"
    capabilities = RuntimeCapabilities(formats=(".toast", ".pt9"), modes=("browned",), precisions=("fp32", "fp16"))

class Other(Base):
    name = "other"
    capabilities = RuntimeCapabilities(formats=(".odd",), on_request=(".toast",), weights=("{stem}.bin", "{name}.data"))

class Rival(Base):
    name = "rival"
    capabilities = RuntimeCapabilities(formats=(".pt9",))

class Lacking(Base):
    name = "lacking"
    capabilities = RuntimeCapabilities(
        formats=(".onyx",), distributions=("no-such-package",), install="pip install 'edge-harness[onyx]'"
    )

class Moody(Base):
    name = "moody"
    capabilities = RuntimeCapabilities(formats=(".mood",))
    def availability(self): return Availability(False, "it is Monday", "Wait for Tuesday.")

class Elsewhere(Base):
    name = "elsewhere"
    capabilities = RuntimeCapabilities(formats=(".toast",), devices=("cuda",))

class Misnamed(Base):
    name = "another"
    capabilities = RuntimeCapabilities(formats=(".pte",))

class Poor(Base):
    name = "poor"
    capabilities = None

class Grumpy:
    def __init__(self): raise RuntimeError("not today")
"""
GOOD = ("usual", "other", "rival", "lacking", "moody", "elsewhere")
BROKEN = ("lost", "misnamed", "poor", "grumpy")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with an installed distribution that brings runtimes of its own, good and bad."""
    (tmp_path / "outside_runtimes.py").write_text(MODULE)
    information = tmp_path / "fake-0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 0\n")
    named = [f"{name} = outside_runtimes:{name.title()}" for name in (*GOOD, *BROKEN)]
    (information / "entry_points.txt").write_text("\n".join(["[harness.runtimes]", *named]) + "\n")
    return tmp_path


@pytest.fixture
def installed(outside: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same distribution, visible to this process; and a file of each format."""
    monkeypatch.syspath_prepend(str(outside))
    monkeypatch.delitem(sys.modules, "outside_runtimes", raising=False)
    for suffix in ("toast", "pt9", "odd", "onyx", "mood", "pte", "pt2"):
        (outside / f"m.{suffix}").touch()
    return outside


def test_ours_are_there_for_their_formats(tmp_path: Path) -> None:
    (tmp_path / "m.pte").touch()
    (tmp_path / "m.pt2").touch()
    assert runtime_for(tmp_path / "m.pte", "cpu").name == "executorch"
    assert runtime_for(tmp_path / "m.pt2", "cpu").name == "torch"
    assert runtime_for(tmp_path / "m.pt2", "cuda").name == "torch-cuda"


def test_other_peoples_are_found_and_broken_ones_do_not_matter(installed: Path) -> None:
    assert {*GOOD, *BROKEN, "executorch", "torch"} <= set(runtimes.runtime_names())
    assert {runtime.name for runtime in runtimes.installed_runtimes()} >= {*GOOD, "executorch", "torch"}
    assert not {runtime.name for runtime in runtimes.installed_runtimes()} & {*BROKEN, "another"}
    assert runtime_for(installed / "m.pte", "cpu").name == "executorch"


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.usefixtures("installed")
def test_a_runtime_that_cannot_be_loaded_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' cannot be loaded"):
        find_runtime(name)


@pytest.mark.usefixtures("installed")
def test_an_unknown_runtime_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(UsageError, match="no runtime 'usuel'") as caught:
        find_runtime("usuel")
    assert "usual" in caught.value.hint
    assert "executorch" in caught.value.hint


def test_a_format_goes_to_its_usual_runtime_and_to_another_where_that_is_named(installed: Path) -> None:
    toast = installed / "m.toast"
    assert runtime_for(toast, "cpu").name == "usual"
    assert runtime_for(toast, "cpu", "other").name == "other"
    assert runtime_for(toast, "cpu", "browned").name == "usual"
    assert runtime_for(toast, "cuda").name == "elsewhere"


@pytest.mark.parametrize(
    ("model", "wanted", "kind", "words"),
    [
        ("m.pt9", None, UsageError, "Several runtimes load m.pt9: rival, usual"),
        ("m.onyx", None, UsageError, "no-such-package is not installed. pip install 'edge-harness[onyx]'"),
        ("m.mood", None, UsageError, "it is Monday. Wait for Tuesday."),
        ("m.toast", "rival", UsageError, "Runtime rival loads .pt9, not m.toast"),
        ("m.toast", "elsewhere", UsageError, "elsewhere does not run on cpu"),
        ("m.toast", "grumpy", UsageError, "not today"),
        ("m.toast", "absent", UsageError, "no runtime 'absent'"),
        ("m.unknown", None, ModelError, "of no format this worker loads"),
        ("absent.toast", None, ModelError, "does not exist"),
    ],
)
def test_what_cannot_be_loaded_says_why(
    installed: Path, model: str, wanted: str | None, kind: type[HarnessError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        runtime_for(installed / model, "cpu", wanted)
    assert words in str(caught.value)
    assert caught.value.hint


@pytest.mark.usefixtures("installed")
def test_what_a_target_loads_is_what_its_runtimes_load() -> None:
    choice = runtime_choice("cpu", preferred=".pte")
    assert choice.formats[0] == ".pte"
    assert set(choice.formats) - {".bound", ".onnx", ".xml", ".gguf", ".tflite"} == {
        ".pte",
        ".pt2",
        ".toast",
        ".pt9",
        ".odd",
    }
    assert {"usual", "browned", "other", "torch"} <= set(choice.values)
    x86 = find_target("x86")
    assert x86.capabilities.formats == choice.formats
    assert x86.capabilities.precisions == ("fp32", "fp16")
    assert {"lacking", "usual", "executorch"} <= set(x86.capabilities.runtimes)
    for name in ("usual", "browned", "executorch", "python"):
        assert ".toast" in find_target("x86", runtime=name).capabilities.formats
    assert find_target("x86", runtime="native").capabilities.formats == (".pte",)
    assert ".toast" in find_target("cuda").capabilities.formats
    with pytest.raises(UsageError, match="no runtime 'elsewhere'"):
        find_target("x86", runtime="elsewhere")


@pytest.mark.usefixtures("installed")
def test_a_name_concerns_the_formats_that_it_loads() -> None:
    assert [concerns("other", suffix) for suffix in (".toast", ".odd", ".pte")] == [True, True, False]
    assert [concerns("graphs", suffix) for suffix in (".pt2", ".pte")] == [True, False]
    assert concerns("native", ".pte")  # a worker, and no runtime: the target knows


def test_weights_lie_where_the_runtime_says(installed: Path) -> None:
    assert find_data_file(installed / "m.odd") is None
    with pytest.raises(ModelError, match=r"none next to it \(m.bin or m.odd.data\)"):
        find_data_file(installed / "m.odd", needed=True)
    (installed / "m.odd.data").touch()
    assert find_data_file(installed / "m.odd", needed=True) == installed / "m.odd.data"
    (installed / "m.bin").touch()
    assert find_data_file(installed / "m.odd") == installed / "m.bin"


@pytest.mark.usefixtures("installed")
def test_what_compiles_is_what_its_runtime_says() -> None:
    assert [suffix for suffix in (".pt2", ".pte", ".toast", ".unheard") if runtimes.compiles(suffix)] == [".pt2"]


@pytest.mark.usefixtures("installed")
def test_a_runtime_that_is_not_available_says_what_to_install() -> None:
    names = find_target("x86").capabilities.runtimes
    state = missing_runtime(".onyx", names)
    assert state is not None
    assert (state.reason, state.todo) == ("no-such-package is not installed", "pip install 'edge-harness[onyx]'")
    assert missing_runtime(".pte", names) is None
    assert missing_runtime(".unheard", names) is None
    assert missing_runtime(".onyx", ["torch-cuda"]) is None
    assert availability(find_runtime("usual")).available


def _job(**fields: str) -> Job:
    return Job(target="x86", model="m", model_sha256="", scenario="single-stream", **fields)


def test_the_runtime_of_a_target_is_that_of_a_description_too(installed: Path) -> None:
    """Jobs say theirs; a description of a model is made before there is a job."""
    toast, pte = installed / "m.toast", installed / "m.pte"
    assert runtimes.with_runtime(_job(), "other", toast).runtime == "other"
    assert runtimes.with_runtime(_job(), "other", pte).runtime is None
    assert runtimes.with_runtime(_job(runtime="usual"), "other", toast).runtime == "usual"
    assert runtimes.with_runtime(_job(), None, toast).runtime is None


def _requested(monkeypatch: pytest.MonkeyPatch, chosen: str | None, job: Job, model: Path) -> str | None:
    """The runtime of the job that the Python worker of x86 gets."""
    from harness.targets import x86

    requests: list[str] = []
    monkeypatch.setattr(x86, "LocalProcess", lambda command, request, environment: requests.append(request))
    x86.X86(chosen).launch(job, Files(model=str(model)))
    runtime: str | None = json.loads(requests[0])["job"].get("runtime")
    return runtime


def test_the_python_worker_is_told_a_runtime_and_nothing_of_workers(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toast = installed / "m.toast"
    assert _requested(monkeypatch, "python", _job(runtime="python"), toast) is None
    assert _requested(monkeypatch, "other", _job(runtime="other"), toast) == "other"
    assert _requested(monkeypatch, "other", _job(), toast) == "other"
    assert _requested(monkeypatch, None, _job(), toast) is None


def test_a_new_runtime_is_one_short_file() -> None:
    assert len((SOURCE / "fake_runtime.py").read_text().splitlines()) < 60


def test_finding_a_runtime_imports_no_other_library() -> None:
    code = (
        "import sys; from harness.runtime import installed_runtimes, availability\n"
        "[availability(runtime) for runtime in installed_runtimes()]\n"
        "print(*sorted({'torch', 'pandas', 'torchao', 'executorch', 'numpy', 'flatbuffers'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


def test_a_text_is_no_list_of_names() -> None:
    with pytest.raises(TypeError, match=r"distributions is the text 'numpy', not a tuple: write \('numpy',\)"):
        RuntimeCapabilities(formats=(".toast",), distributions="numpy")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["0", "-1", "064", "1.5", "", "99999999999", "many"])
def test_a_number_of_an_option_is_a_whole_number_written_one_way(value: str) -> None:
    option = RuntimeOption(name="batch", default="64", help="Of prompts.", least=1)
    check_option(option, "1")
    with pytest.raises(UsageError, match=f"batch cannot be '{value}'"):
        check_option(option, value)
