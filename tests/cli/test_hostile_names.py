"""Names of files, folders and sessions that are no UTF-8 or longer than a file system takes."""

from __future__ import annotations

import shutil

import pytest
from cli.driving import QUICK, Home
from models_on_disk import Models
from report.conftest import Session

LATIN, LONGEST, TOO_LONG = "mod\udce8le", "m" * 251, "n" * 300
ONCE = ("run", "-t", "x86", "-n", 1, "--no-memory", *QUICK)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Home:
    home = Home(tmp_path_factory.mktemp("names"))
    for name in (LATIN, LONGEST):
        shutil.copy(models.mlp, home.folder / f"{name}.pte")
    return home


def test_a_model_of_the_longest_name_is_measured_and_one_that_no_runtime_can_open_is_refused(workshop: Home) -> None:
    ended = workshop.harness(*ONCE, "-m", f"{LONGEST}.pte")
    assert ended.code == 0, ended.err
    assert [run["model"] for run in workshop.rows()] == [LONGEST]
    for command in (("compare", "--json"), ("report", "--json"), ("table", "--format", "csv")):
        assert LONGEST in workshop.harness(*command).out
    workshop.harness(*ONCE, "-m", f"{LATIN}.pte").explained(2, "mod\\xe8le.pte is not UTF-8", "Rename it.")
    workshop.harness("models", "inspect", f"{LATIN}.pte").explained(2, "mod\\xe8le.pte is not UTF-8", "Rename it.")
    assert len(workshop.rows()) == 1


@pytest.mark.parametrize("name", [LATIN, TOO_LONG])
def test_such_a_name_of_anything_is_answered_in_a_sentence(workshop: Home, name: str) -> None:
    toml, good = f"{name}.toml", f"{LATIN}.pte"
    (workshop.folder / "n.toml").write_text(f'target = "x86"\nmodels = ["m.pte"]\nresults = "{"r" * 300}"')
    for code, *arguments in (
        (3, "compare", "--session", name),
        (3, "table", "--session", name),
        (2, "compare", name),
        (2, "report", "--baseline", name),
        (2, "table", toml),
        (2, "nightly", "run", toml),
        (0, "nightly", "status", "n.toml"),
        (2, "devices", "--devices", toml),
        (2, "run", "-t", "x86", "-m", f"{name}2.pte"),
        (2, "run", "-t", "dsp", "-m", good, "--device", toml),
        (2, "run", "-t", "x86", "-m", good, "--inputs", f"{name}.npz"),
        (2, "bisect", f"{name}2", good, "-t", "x86"),
        (1, "models", "inspect", f"{name}2.pte"),
        (2, "models", "pack", name),
    ):
        ended = workshop.harness(*arguments)
        assert "Traceback" not in ended.err, arguments
        assert ended.code == code, (arguments, ended.err)


def test_results_in_such_a_folder_are_refused_or_absent(home: Home) -> None:
    (home.folder / LATIN).mkdir()
    for command in (("compare",), ("table",), ("results", "check"), ("run", "-t", "x86", "-m", "x.pte")):
        home.harness(*command, "--results", LATIN).explained(2, "UTF-8")
    for command in (("compare",), ("table",), ("results", "check")):
        home.harness(*command, "--results", TOO_LONG).explained(3, "no results")


def test_outputs_of_such_names_are_written_or_refused(home: Home) -> None:
    session = Session()
    session.add("base", samples={"steady": [1000] * 3})
    session.write(home.results)
    for command in (("report", "--html"), ("results", "export", "--format", "pyperf")):
        assert home.harness(*command, f"{LATIN}.html").code == 0
        assert (home.folder / f"{LATIN}.html").stat().st_size > 100
        (home.folder / f"{LATIN}.html").unlink()
        home.harness(*command, TOO_LONG).explained(2, "File name too long")
