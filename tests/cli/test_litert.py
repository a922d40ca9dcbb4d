"""`harness run` with `.tflite` files: next to other formats in one table, and what is said of those that are wrong."""

from __future__ import annotations

import pytest
from cli.driving import QUICK, Ended, Home
from models_on_disk import Models

pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")

from litert_on_disk import write_language_model, write_mlp, write_one


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("litert"))


@pytest.fixture(scope="module")
def ran(workshop: Home, models: Models) -> Ended:
    """One network as `.pte` and as `.tflite`, and four wrong files."""
    folder = workshop.folder
    write_mlp(folder / "same.tflite", models.folder / "mlp.npz")
    write_one(folder / "open.tflite", "RELU", (-1, 3, -1, 8))
    write_one(folder / "flex.tflite", "FlexErf")
    content = (folder / "same.tflite").read_bytes()
    (folder / "cut.tflite").write_bytes(content[: len(content) // 2])
    names = [models.mlp, "same.tflite", "open.tflite", "flex.tflite", "cut.tflite"]
    given = [word for name in names for word in ("-m", name)]
    return workshop.harness("run", "-t", "x86", "-n", 1, "--batch", 4, *QUICK, *given)


def test_every_format_has_its_column_and_its_version(ran: Ended, workshop: Home) -> None:
    assert ran.code == 1  # three failed
    ended = [row["model"] for row in workshop.rows() if row["measure"] == "latency" and row["status"] == "ok"]
    assert sorted(ended) == ["mlp", "same"]
    assert "ai-edge-litert 2." in ran.out
    assert "executorch " in ran.out


def test_outputs_are_compared_over_formats(ran: Ended, workshop: Home) -> None:
    (difference,) = (row["value"] for row in workshop.rows("scalars") if row["name"] == "max_abs_difference")
    assert difference < 1e-5


def test_memory_is_told_of_both(ran: Ended, workshop: Home) -> None:
    measured = [row["model"] for row in workshop.rows() if row["measure"] == "memory" and row["status"] == "ok"]
    assert sorted(measured) == ["mlp", "same"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("open", "leaves the size x.2 of its input x open"),
        ("flex", "calls TensorFlow's own operators (FlexErf), which need the Flex delegate"),
        ("cut", "is damaged or cut short"),
    ],
)
def test_a_wrong_file_is_a_failed_row_and_one_line(ran: Ended, workshop: Home, model: str, words: str) -> None:
    (row,) = (row for row in workshop.rows() if row["model"] == model and row["status"] == "failed")
    assert words in row["error_message"]
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_a_language_model_generates(workshop: Home, ran: Ended) -> None:
    write_language_model(workshop.folder / "lm.tflite")
    ended = workshop.harness("run", "-t", "x86", "-n", 1, "--no-memory", *QUICK, "-m", "lm.tflite")
    assert ended.code == 0, ended.err
    scenarios = {row["scenario"] for row in workshop.rows() if row["model"] == "lm" and row["status"] == "ok"}
    assert scenarios == {"generate"}


def test_inspect_shows_what_it_takes(workshop: Home, models: Models) -> None:
    path = write_mlp(workshop.folder / "shown.tflite", models.folder / "mlp.npz")
    said = workshop.harness("models", "inspect", path)
    assert "input 0: x: float32 [batch (1), 8]" in said.out
    assert "tflite" in said.out


def test_without_the_exporter_the_pip_line_is_told(workshop: Home) -> None:
    """Where the exporter is installed, as it is not by the extra `test`, there is nothing to tell."""
    try:
        import litert_torch  # noqa: F401
    except ImportError:
        workshop.harness("models", "build", "baseline", "--format", "tflite").explained(
            2, "litert-torch, which is not installed", "pip install 'edge-harness[tflite]'"
        )
    else:
        pytest.skip("litert-torch is installed")
