"""What is drawn is what the data say; and `harness models figures`, on the packaged model and on bad input."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

import harness.models.zoo
from harness.cli.models.figures import figures
from harness.errors import ModelError, UsageError
from harness.models.export.quantised_linear import exact_levels
from harness.models.zoo import figures as draw
from harness.models.zoo.records import PACKAGED, Record, read_record

MAGIC = {"pdf": b"%PDF-", "svg": b"<?xml", "png": b"\x89PNG\r\n"}
WEIGHT = np.array([[0.0, 0.0, 0.0, 0.0], [0.3, -0.6, 0.0, 0.3], [0.5, 0.0, 0.0, 0.0]], dtype=np.float32)


def toy_log(tokens: int = 16) -> pd.DataFrame:
    """Bits fall until step 30 and are frozen; the validation loss is known at steps 20 and 40. Ends at 40 * tokens."""
    return pd.DataFrame(
        {
            "step": [10, 20, 30, 40],
            "tokens": [10 * tokens, 20 * tokens, 30 * tokens, 40 * tokens],
            "loss": [2.0, 1.9, 1.8, 1.7],
            "bits": [3.0, 2.0, 1.5, 1.5],
            "validation_loss": [None, 1.95, None, 1.75],
        }
    )


def run(*arguments: str | Path) -> tuple[str, str]:
    """What the command says: stdout and stderr."""
    result = CliRunner().invoke(figures, [str(argument) for argument in arguments], catch_exceptions=False)
    return result.stdout, result.stderr


@pytest.fixture
def record() -> Record:
    found = read_record(PACKAGED, "selfcomp-small")
    assert found is not None
    return found


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with weights, as `train` leaves it but for the log."""
    folder = tmp_path / "run"
    folder.mkdir()
    for suffix in ("json", "safetensors"):
        shutil.copy(PACKAGED / f"selfcomp-small.{suffix}", folder)
    return folder


def write_log(path: Path, log: pd.DataFrame) -> None:
    pq.write_table(pa.Table.from_pandas(log), path)


def test_training_draws_the_log() -> None:
    left, right = draw.training(toy_log(), start=("parent", 1.6)).axes
    bits, frozen = left.get_lines()
    assert bits.get_xydata().tolist() == [[10, 3], [20, 2], [30, 1.5], [40, 1.5]]
    assert (list(frozen.get_xdata()), frozen.get_label()) == ([30, 30], "bits frozen (by step 30)")
    losses = {str(line.get_label()): line for line in right.get_lines()}
    assert losses["training loss"].get_ydata().tolist() == [2.0, 1.9, 1.8, 1.7]
    assert losses["validation loss (at the end 1.750)"].get_xydata().tolist() == [[20, 1.95], [40, 1.75]]
    assert list(losses["validation loss of parent, the start (1.600)"].get_ydata()) == [1.6, 1.6]


@pytest.mark.parametrize(
    ("bits", "step"),
    [([3, 2, 1, 1], 30), ([3, 1, 1, 1], 20), ([4, 3, 2, 1], None), ([2, 2, 2, 2], None)],
)
def test_bits_are_frozen_where_they_stop(bits: list[float], step: int | None) -> None:
    assert draw.frozen_at(toy_log().assign(bits=bits)) == step


def test_a_noisy_loss_is_smoothed_and_says_so() -> None:
    steps = np.arange(10, 2010, 10)
    log = pd.DataFrame({"step": steps, "tokens": steps, "loss": steps % 20, "bits": 1.0, "validation_loss": None})
    line = draw.training(log).axes[1].get_lines()[0]
    assert line.get_label() == "training loss, mean of 4 points"
    assert line.get_ydata()[100] == 5


def test_sparsity_draws_each_layer_by_block() -> None:
    shares = {"attention.qkv": 0.5, "attention.proj": 0.25, "ffn.fc": 0.75, "ffn.out": 1.0}
    rows = [
        {"layer": f"blocks.{block}.{kind}", "zero_weights": share, "dead_rows": share / (block + 1)}
        for block in range(2)
        for kind, share in shares.items()
    ]
    zeros, dead = draw.sparsity(rows).axes
    for axes, second in ((zeros, 1), (dead, 0.5)):
        drawn = [line.get_xydata().tolist() for line in axes.get_lines()]
        assert drawn == [[[0, 100 * share], [1, 100 * share * second]] for share in shares.values()]


def test_histograms_have_every_weight_once_and_zeros_apart() -> None:
    above, below = draw.histograms({"block 0": WEIGHT}).axes
    for axes in (above, below):
        zeros, rest = axes.containers
        assert zeros[0].get_height() == pytest.approx(100 * 8 / 12)
        assert sum(bar.get_height() for bar in rest) == pytest.approx(100 * 4 / 12)
    assert [bar.get_x() + 0.4 for bar in below.containers[1]] == pytest.approx([-2, 1])
    assert above.get_title() == "block 0: 66.7% zero, 33.3% of rows dead"


def test_levels_are_found_again() -> None:
    generator = np.random.default_rng(0)
    levels = generator.integers(-8, 8, size=(40, 64))
    levels[:, 0] = 1  # whose step is then the coarsest that fits
    levels[3] = 0
    steps = np.exp2(generator.normal(-4, 2, size=(40, 1))).astype(np.float32)
    found = exact_levels(torch.from_numpy(steps * levels.astype(np.float32)))
    assert found is not None
    assert (found.levels.numpy() == levels).all()


def test_weights_on_no_grid_have_their_values_drawn_only() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    assert exact_levels(torch.from_numpy(weight)) is None
    assert len(draw.histograms({"block 0": weight}).axes) == 1


def test_a_layer_that_is_all_zero_can_be_drawn(tmp_path: Path) -> None:
    nothing = {"block 0": np.zeros((4, 8), dtype=np.float32)}
    drawn = {"histograms": draw.histograms(nothing), "masks": draw.masks(nothing)}
    assert all(path.exists() for path in draw.write(drawn, tmp_path, ["png"], "nowhere"))


def test_masks_show_what_is_not_zero() -> None:
    (axes,) = draw.masks({"block 0": WEIGHT}).axes
    assert np.asarray(axes.images[0].get_array()).tolist() == (WEIGHT != 0).tolist()


def test_files_are_of_their_format_and_the_same_twice(tmp_path: Path) -> None:
    first, second = (
        draw.write({"training": draw.training(toy_log()), "masks": draw.masks({"x": WEIGHT})}, folder, formats, "me")
        for folder, formats in ((tmp_path / "a", ["pdf", "svg", "png"]), (tmp_path / "b", ["png", "svg", "pdf"]))
    )
    assert sorted(path.name for path in first) == sorted(
        f"{name}.{fmt}" for name in ("masks", "training") for fmt in MAGIC
    )
    for path in first:
        data = path.read_bytes()
        assert data.startswith(MAGIC[path.suffix[1:]])
        assert data == (tmp_path / "b" / path.name).read_bytes()
    assert len(second) == 6
    text = (tmp_path / "a" / "training.svg").read_text()
    for words in ("training step", "bits per weight, learned", "loss (nats per token)", "at the end 1.750", ">me<"):
        assert words in text


def test_a_style_of_the_users_own_changes_nothing(tmp_path: Path) -> None:
    import matplotlib

    (plain,) = draw.write({"x": draw.masks({"x": WEIGHT})}, tmp_path / "a", ["svg"], "me")
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None}):
        (styled,) = draw.write({"x": draw.masks({"x": WEIGHT})}, tmp_path / "b", ["svg"], "me")
        assert matplotlib.rcParams["font.size"] == 20
    assert plain.read_bytes() == styled.read_bytes()


def test_a_packaged_model_has_all_but_training(tmp_path: Path, record: Record) -> None:
    said, warned = run("selfcomp", "--output", tmp_path / "out", "--format", "svg", "--json")
    files = [tmp_path / "out" / f"selfcomp-small-{kind}.svg" for kind in ("sparsity", "histograms", "masks")]
    assert json.loads(said)["data"] == {"files": [str(file) for file in files]}
    assert "has no log of selfcomp-small" in warned
    text = files[0].read_text()
    assert f"selfcomp-small · weights sha256 {record.weights_sha256[:12]} · torch {record.torch}" in text


def test_the_log_of_the_models_own_name_is_drawn_first(trained: Path, record: Record) -> None:
    write_log(trained / "selfcomp-small.log.parquet", toy_log(record.tokens_seen // 40))
    write_log(trained / "log.parquet", toy_log())  # of another run
    said, warned = run("selfcomp", "--weights", trained, "--output", trained, "--format", "svg")
    assert warned == ""
    assert said.splitlines()[0] == str(trained / "selfcomp-small-training.svg")
    assert "validation loss of baseline-small" in (trained / "selfcomp-small-training.svg").read_text()


def test_a_log_of_another_run_or_none_at_all_is_refused(trained: Path) -> None:
    write_log(trained / "log.parquet", toy_log())
    with pytest.raises(ModelError, match="ends at 640 tokens"):
        run("selfcomp", "--weights", trained)
    write_log(trained / "log.parquet", toy_log().drop(columns="loss"))
    with pytest.raises(ModelError, match="not a readable log"):
        run("selfcomp", "--weights", trained)
    (trained / "log.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ModelError, match="not a readable log"):
        run("selfcomp", "--weights", trained)


def test_what_cannot_be_drawn_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'gpt-5'"):
        run("gpt-5")
    with pytest.raises(UsageError, match="baseline-small was not compressed"):
        run("baseline")
    with pytest.raises(UsageError, match="no format 'gif'"):
        run("selfcomp", "--format", "png,gif")
    with pytest.raises(ModelError, match="no weights of selfcomp-small"):
        run("selfcomp", "--weights", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        run("selfcomp", "--format", "svg", "--output", tmp_path / "file" / "below")


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "harness.models.zoo.figures")
    monkeypatch.delattr(harness.models.zoo, "figures")
    with pytest.raises(UsageError, match=r"pip install 'edge-harness\[figures\]'"):
        run("selfcomp")


def test_help_has_an_example() -> None:
    assert "harness models figures selfcomp" in run("--help")[0]
