"""`harness run` with OpenVINO's models: next to other formats in one table, and what is said of wrong ones."""

from __future__ import annotations

import pytest
from cli.driving import QUICK, Ended, Home
from models_on_disk import Models
from onnx_on_disk import write_mlp as write_onnx_mlp

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

from openvino_on_disk import write_language_model, write_mlp

from harness.data_file import model_hash
from harness.manifest import sha256_file


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("openvino"))


@pytest.fixture(scope="module")
def ran(workshop: Home, models: Models) -> Ended:
    """One network as `.pte` and as `.xml`, and two wrong files."""
    folder, weights = workshop.folder, models.folder / "mlp.npz"
    write_mlp(folder / "same.xml", weights)
    write_mlp(folder / "lost.xml", weights)
    (folder / "lost.bin").unlink()
    newer = write_mlp(folder / "newer.xml", weights)
    newer.write_text(newer.read_text().replace('version="11"', 'version="12"'))
    given = [word for name in (models.mlp, "same.xml", "lost.xml", "newer.xml") for word in ("-m", name)]
    return workshop.harness("run", "-t", "x86", "-n", 1, "--batch", 4, "--no-memory", *QUICK, *given)


def test_every_format_has_its_column_and_what_it_ran_with(ran: Ended, workshop: Home) -> None:
    assert ran.code == 1  # two failed
    rows = [row for row in workshop.rows() if row["measure"] == "latency" and row["status"] == "ok"]
    assert sorted(row["model"] for row in rows) == ["mlp", "same"]
    assert "openvino-build 20" in ran.out
    sizes = {row["model"]: row["model_bytes"] for row in rows}
    same, weights = workshop.folder / "same.xml", workshop.folder / "same.bin"
    assert sizes["same"] == same.stat().st_size + weights.stat().st_size
    # Or runs with other weights would be taken for more of the same.
    assert {row["model_sha256"] for row in rows} >= {model_hash(sha256_file(same), weights)}


def test_outputs_are_compared_over_formats(ran: Ended, workshop: Home) -> None:
    (difference,) = (row["value"] for row in workshop.rows("scalars") if row["name"] == "max_abs_difference")
    assert 0 <= difference < 0.1  # it may compute in bfloat16


@pytest.mark.parametrize(
    ("model", "words"),
    [("lost", "are in lost.bin, which is not there"), ("newer", "of version 12 of OpenVINO's format")],
)
def test_a_wrong_file_is_a_failed_row_and_one_line(ran: Ended, workshop: Home, model: str, words: str) -> None:
    (row,) = (row for row in workshop.rows() if row["model"] == model and row["status"] == "failed")
    assert words in row["error_message"]
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_an_onnx_file_is_run_by_openvino_where_that_is_named(workshop: Home, models: Models) -> None:
    write_onnx_mlp(workshop.folder / "m.onnx", models.folder / "mlp.npz", external="m.onnx.data")
    ended = workshop.harness(
        "run", "-t", "x86", "-n", 1, "--no-memory", *QUICK, "-m", "m.onnx", "--runtime", "openvino", "--profile"
    )
    assert ended.code == 0, ended.err
    assert "openvino-build 20" in ended.out
    assert "FullyConnected " in ended.out


def test_a_language_model_generates(workshop: Home) -> None:
    write_language_model(workshop.folder / "lm.xml")
    ended = workshop.harness(
        "run",
        "-t",
        "x86",
        "-n",
        1,
        *QUICK,
        "-m",
        "lm.xml",
        "--scenario",
        "generate",
        "--prompt-tokens",
        4,
        "--new-tokens",
        5,
    )
    assert ended.code == 0, ended.err
    assert "decode latency per token p50" in ended.out
