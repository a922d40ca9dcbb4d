"""The code behind an artifact is found from its imports, none left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.code_hash import code_hash, source_files
from harness.models.zoo import artifacts
from harness.models.zoo.formats import FORMATS
from harness.targets.dsp import prepared as dsp
from harness.targets.npu import prepared as npu
from harness.targets.simulated.program_cache import FOLLOWED

FILES = {
    "__init__": "",
    "entry": "import os\nfrom invented.direct import thing\n\ndef run():\n    from invented import late\n",
    "direct": "from . import sibling\nthing = 1\n",
    "sibling": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import invented.folder.typed\n",
    "late": "from invented.folder import helper\n",
    "folder/__init__": "",
    "folder/helper": "from ..direct import thing\n",
    "folder/typed": "",
    "unrelated": "import invented.entry\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `invented` of the files above, in a folder of its own."""
    folder = tmp_path / "invented"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for module in [module for module in sys.modules if module.partition(".")[0] == "invented"]:
        monkeypatch.delitem(sys.modules, module)
    return folder


def hash_now() -> str:
    code_hash.cache_clear()
    return code_hash(("invented.entry",), ("invented",))


@pytest.mark.usefixtures("package")
def test_late_relative_and_typing_imports_are_followed() -> None:
    names = {name.removeprefix("invented").removeprefix(".") for name in source_files(["invented.entry"], ["invented"])}
    assert names == {"", "entry", "direct", "sibling", "late", "folder", "folder.helper", "folder.typed"}
    assert set(source_files(["invented.entry"], [])) == {"invented.entry"}
    assert "invented.entry" not in sys.modules, "nothing is run"
    with pytest.raises(ModuleNotFoundError, match="absent"):
        source_files(["invented.absent"], ["invented"])


@pytest.mark.parametrize("name", [name for name in FILES if name != "unrelated"])
def test_a_change_of_an_imported_file_changes_the_hash(package: Path, name: str) -> None:
    before = hash_now()
    (package / f"{name}.py").write_text(FILES[name] + "# changed\n")
    assert hash_now() != before


def test_a_change_of_an_unrelated_file_does_not(package: Path) -> None:
    before = hash_now()
    (package / "unrelated.py").write_text("changed = True\n")
    (package / "added.py").write_text("")
    assert hash_now() == before


LOADED = """
import importlib, sys
for name in sys.argv[1].split():
    importlib.import_module(name)
print(*[name for name in sys.modules if name.startswith(tuple(sys.argv[2].split()))])
"""


@pytest.mark.parametrize(
    ("entries", "packages"),
    [
        *(
            pytest.param((module, *artifacts._EVERY_EXPORT), artifacts._FOLLOWED, id=kind)
            for kind, module in artifacts.EXPORTERS.items()
        ),
        pytest.param(npu.CODE, FOLLOWED, id="npu"),
        pytest.param(dsp.CODE, FOLLOWED, id="dsp"),
    ],
)
def test_no_module_that_an_exporter_loads_is_left_out(entries: tuple[str, ...], packages: tuple[str, ...]) -> None:
    """Python itself says what it loaded; that must be among what was found without running anything."""
    found = source_files(entries, packages)
    command = [sys.executable, "-P", "-c", LOADED, " ".join(entries), " ".join(packages)]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert set(entries) <= loaded
    assert loaded <= set(found), loaded - set(found)
    lists = {"harness.models.zoo.listing", "harness.models.train.loop", "harness.targets.npu.worker"}
    assert not lists & set(found), "what only shows or trains decides nothing"


def test_every_exporter_is_named() -> None:
    folder = Path(artifacts.__file__).parents[1] / "export"
    exporters = {
        f"harness.models.export.{file.stem}"
        for file in (*folder.glob("p*.py"), *(folder / f"{peer}.py" for peer in FORMATS if FORMATS[peer].runtime))
    }
    exporters -= {
        "harness.models.export.pte_flash",
        "harness.models.export.pte_module",
    }
    assert set(artifacts.EXPORTERS.values()) - {"harness.models.zoo.compressing"} == exporters
