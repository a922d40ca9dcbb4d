"""What the README promises: its commands exist, and its three lines of pandas give the figures of the table."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pytest

from harness.cli import cli
from harness.measurement import Measurement, tables
from harness.protocol import Samples, Scalar
from harness.report import compare_tables
from harness.store.dataset import read_tables
from harness.store.schemas import RUNS
from harness.store.writer import write_attempt

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
MODELS = {"baseline-small": 300_000.0, "selfcomp-small": 120_000.0}


def store(results: Path) -> None:
    """Two models in five interleaved blocks, with decode samples and memory."""
    rng = np.random.default_rng(1)
    for position, (block, model) in enumerate((block, model) for block in range(5) for model in MODELS):
        durations = rng.normal(MODELS[model] * (1 + 0.05 * block), 5_000, 60).astype(int).tolist()
        measurement = Measurement()
        measurement.add(Samples(phase="decode", start_ns=np.cumsum(durations).tolist(), duration_ns=durations))
        measurement.add(Scalar(name="load_program_ns", value=1e6 + position))
        row = dict.fromkeys(RUNS.names) | {
            "attempt_id": f"a{position}",
            "job_id": f"j{position}",
            "session_id": "s",
            "position": position,
            "started_at": position,
            "status": "ok",
            "measure": "latency",
            "latency_kind": "measured",
            "scenario": "generate",
            "model": model,
            "block": block,
            "flags": [],
        }
        rows = tables(f"a{position}", measurement, []) | {"runs": pa.Table.from_pylist([row], schema=RUNS)}
        write_attempt(results, "2026-01-01", "x86", rows)


def test_the_pandas_of_the_readme_gives_the_figures_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "results")
    (comparison,) = compare_tables(read_tables(tmp_path / "results"))
    (row,) = [row for row in comparison.rows if row.metric.name == "decode_latency_ns_p50"]
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert snippets
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for snippet in snippets:
            exec(snippet, names)
    estimates = [figure.estimate for figure in row.figures]
    assert list(names["latency"]) == pytest.approx([estimate.value for estimate in estimates if estimate])
    low, high = names["interval"]
    assert list(low) == pytest.approx([estimate.low for estimate in estimates if estimate])
    assert list(high) == pytest.approx([estimate.high for estimate in estimates if estimate])
    versus = row.versus[1]
    assert versus is not None
    assert names["speed_up"] == pytest.approx(versus.value)


def test_every_command_and_option_in_the_readme_exists() -> None:
    lines = [line.split("#")[0].split() for line in re.findall(r"^ +(?:.*&& )?(harness .*)$", README, re.MULTILINE)]
    assert len(lines) > 5
    for _, name, *words in lines:
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None, name
        if isinstance(command, click.Group):
            command = command.commands[words[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, words
