"""The examples run as they stand: scripts, and notebooks cell by cell."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from docs.test_snippets import store

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))

pytestmark = pytest.mark.usefixtures("unsynced")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def code_cells(name: str) -> list[str]:
    book = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


def execute(cells: list[str]) -> dict[str, Any]:
    """Run the cells in order, in one namespace, which it gives."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        exec(cell, names)
    return names


def test_the_script_of_the_cnn_measures_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = script("cnn_fp32_int8")
    float32, int8 = example.export_both(here)
    assert (float32.name, int8.name) == ("cnn-fp32.pte", "cnn-int8.pte")
    assert int8.stat().st_size < float32.stat().st_size / 2
    monkeypatch.setattr(example, "export_both", lambda folder: [float32, int8])
    monkeypatch.setattr(example.measure, "__defaults__", (2,))
    example.main()
    assert "cnn-int8" in (here / "cnn.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert len(re.findall(r"^cnn-(?:fp32|int8) +latency p50 +\d", printed, re.MULTILINE)) == 2
    assert re.search(r"^int8 is [\d.]+x .+ as fast as float32$", printed, re.MULTILINE)


def test_the_script_of_results_reads_them(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store(here / "results")
    example = script("results_in_pandas")
    example.main(here / "results")
    printed = capsys.readouterr().out
    assert "baseline-small, selfcomp-small" in printed
    assert "Median of decode per process, ms:" in printed
    per_process = example.latency_per_process(here / "results", "decode")
    assert list(per_process.columns) == ["baseline-small", "selfcomp-small"]
    assert len(per_process) == 5
    assert per_process["baseline-small"].between(0.25, 0.45).all()
    (session,) = example.sessions(here / "results").itertuples()
    assert (session.Index, session.target, session.succeeded, session.processes) == ("s", "x86", 20, 20)
    figures = example.figures(here / "results").set_index(["model", "metric"])
    p50 = figures.loc[("baseline-small", "decode_latency_ns_p50")]
    assert p50.n == 5
    assert p50.low < p50.value < p50.high
    assert p50.value == pytest.approx(1e6 * np.exp(np.log(per_process["baseline-small"]).mean()))


def test_the_notebook_of_the_cnn_measures_it(here: Path) -> None:
    cells = code_cells("cnn_fp32_int8")
    cells[0] = cells[0].replace("PROCESSES = 5", "PROCESSES = 1")
    assert "PROCESSES = 1" in cells[0]
    names = execute(cells)
    assert [path.stat().st_size > 0 for path in names["paths"]] == [True, True]
    assert names["ratio"].value > 0


def test_the_notebook_of_results_reads_them(here: Path) -> None:
    store(here / "results")
    cells = code_cells("results_in_pandas")
    names = execute(cells)
    assert isinstance(names["per_process"], pd.DataFrame)
    assert names["per_process"].shape == (5, 2)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_one_without_outputs(name: str) -> None:
    book = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert book["nbformat"] == 4
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert (EXAMPLES / f"{name}.py").exists(), "each has a script"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_in_jupyter(name: str, here: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs pip install nbclient ipykernel")
    nbformat = pytest.importorskip("nbformat", reason="needs pip install nbformat")
    pytest.importorskip("ipykernel", reason="needs pip install ipykernel")
    store(here / "results")
    book = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    for cell in book.cells:
        cell.source = cell.source.replace("PROCESSES = 5", "PROCESSES = 1")
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(here)}}).execute()
