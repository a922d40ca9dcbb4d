"""`harness run` with `.onnx` files: next to other formats in one table, and what is said of those that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from cli.driving import QUICK, Ended, Home
from models_on_disk import WIDTH, Models
from onnx import TensorProto, helper
from onnx_on_disk import write_mlp, write_model

IMAGE = ["batch", 3, "height", "width"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def ran(workshop: Home, models: Models) -> Ended:
    """One network as `.pte` and twice as `.onnx`, once with its weights in another file; and three wrong ones."""
    folder, weights = workshop.folder, models.folder / "mlp.npz"
    write_mlp(folder / "same.onnx", weights)
    write_mlp(folder / "apart.onnx", weights, external="apart.onnx.data")
    write_mlp(folder / "lost.onnx", weights, external="lost.onnx.data")
    (folder / "lost.onnx.data").unlink()
    infos = [[(name, TensorProto.FLOAT, IMAGE)] for name in ("image", "y")]
    write_model(folder / "open.onnx", [helper.make_node("Relu", ["image"], ["y"])], *infos)
    foreign = [helper.make_node("Foo", ["image"], ["y"], domain="acme")]
    write_model(folder / "foreign.onnx", foreign, *infos, domains=["acme"])
    names = [models.mlp, "same.onnx", "apart.onnx", "lost.onnx", "open.onnx", "foreign.onnx"]
    given = [word for name in names for word in ("-m", name)]
    return workshop.harness("run", "-t", "x86", "-n", 1, "--batch", 4, "--no-memory", *QUICK, *given)


def test_every_format_has_its_column_and_what_it_ran_with(ran: Ended, workshop: Home) -> None:
    assert ran.code == 1  # three failed
    ended = [row["model"] for row in workshop.rows() if row["measure"] == "latency" and row["status"] == "ok"]
    assert sorted(ended) == ["apart", "mlp", "same"]
    assert "onnxruntime: provider CPUExecutionProvider" in ran.out
    assert "executorch " in ran.out


def test_outputs_are_compared_over_formats(ran: Ended, workshop: Home) -> None:
    differences = [row["value"] for row in workshop.rows("scalars") if row["name"] == "max_abs_difference"]
    assert len(differences) == 2
    assert max(differences) < 1e-5


def test_the_weights_in_a_file_of_their_own_count_as_the_models(ran: Ended, workshop: Home) -> None:
    sizes = {row["model"]: row["model_bytes"] for row in workshop.rows() if row["measure"] == "latency"}
    folder = workshop.folder
    assert sizes["apart"] == sum((folder / name).stat().st_size for name in ("apart.onnx", "apart.onnx.data"))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("lost", "there is none next to it (lost.onnx.data or lost.onnx_data"),
        ("open", "leaves the size height and width of its input image open"),
        ("foreign", "calls acme:Foo, which ONNX Runtime does not have"),
    ],
)
def test_a_wrong_file_is_a_failed_row_and_one_line(ran: Ended, workshop: Home, model: str, words: str) -> None:
    (row,) = (row for row in workshop.rows() if row["model"] == model and row["status"] == "failed")
    assert words in row["error_message"]
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_an_input_of_open_sizes_can_be_given(workshop: Home, ran: Ended) -> None:
    np.savez(workshop.folder / "images.npz", image=np.ones((2, 3, 5, WIDTH), np.float32))
    ended = workshop.harness(
        "run", "-t", "x86", "-n", 1, "--no-memory", *QUICK, "-m", "open.onnx", "--inputs", "images.npz"
    )
    assert ended.code == 0, ended.err
