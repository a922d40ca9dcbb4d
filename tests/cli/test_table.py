"""`harness table` as a user types it: a spec or options, four formats, and one sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cli.driving import Home
from report.conftest import Session

from harness.store.schemas import SCHEMA_VERSION, VERSION_KEY


@pytest.fixture
def stored(home: Home, unsynced: None) -> Home:
    """Two models in three blocks each."""
    session = Session("abcdef")
    for block in range(3):
        session.add("plain", block, samples={"steady": [2_000_000 + block * 1000] * 3}, model_bytes=4000)
        session.add("small", block, samples={"steady": [1_000_000 + block * 1000] * 3}, model_bytes=1000)
    session.write(home.results)
    return home


def test_options_and_a_spec_say_the_same(stored: Home) -> None:
    asked = ("-m", "plain", "-m", "small", "-c", "steady_latency_ns_p50", "-c", "model_bytes,show=ratio")
    by_options = stored.harness("table", *asked, "--title", "Two", "--format", "latex")
    assert by_options.code == 0, by_options.err
    assert r"\bfseries 2.00{\texttimes{}}" in by_options.out
    (stored.folder / "spec.toml").write_text(
        'title = "Two"\nmodels = ["plain", "small"]\n'
        'columns = ["steady_latency_ns_p50", { metric = "model_bytes", show = "ratio" }]\n',
        encoding="utf-8",
    )
    assert stored.harness("table", "spec.toml", "--format", "latex").out == by_options.out
    stored.harness("table", "spec.toml", "--title", "Three").explained(2, "spec.toml", "--title")
    chosen = stored.harness("table", "spec.toml", "-m", "small", "--session", "all")
    assert "| small |" in chosen.out
    assert "plain" not in chosen.out


def test_by_default_markdown_of_the_newest_session(stored: Home) -> None:
    ended = stored.harness("table")
    assert ended.code == 0, ended.err
    assert "| small | **1.0010** [0.9985, 1.0035] | **2.00×** [1.99, 2.00] | **1.000** | **4.00×** |" in ended.out


def test_mistakes_are_sentences(stored: Home) -> None:
    stored.harness("table", "-c", "decode_latency_ns_p50").explained(3, "No model", "has decode_latency_ns_p50")
    stored.harness("table", "-c", "latency").explained(2, "no metric 'latency'")
    stored.harness("table", "absent.toml").explained(2, "absent.toml cannot be read")
    stored.harness("table", "--results", "elsewhere").explained(3, "no results in elsewhere")


def test_what_a_newer_harness_wrote_is_left_out_and_the_table_says_so(stored: Home) -> None:
    files = sorted(Path(stored.results / "runs").rglob("*.parquet"))
    for number, file in enumerate(files):
        table = pq.ParquetFile(file).read()
        pq.write_table(table.replace_schema_metadata({VERSION_KEY: str(SCHEMA_VERSION + 1).encode()}), file)
        ended = stored.harness("table")
        if number == 0:
            assert ended.code == 0
            assert "1 attempt left out" in ended.out
            assert "written by a newer harness" in ended.out
    ended.explained(1, "written by a newer harness", "--results")
    assert ended.out == ""
