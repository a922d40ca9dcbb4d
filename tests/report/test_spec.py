"""What a table is asked to show: each mistake is one sentence what happened and one what to do."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.spec import default_columns, parse_column, parse_spec, read_spec
from harness.conditions.fields import FILTERS, KEY
from harness.errors import UsageError

TOML = """
title = "Models"
models = ["a", "b", "a"]
baseline = "b"

[select]
since = 2026-11-01
until = "2026-11-30"
target = "x86"

[[columns]]
metric = "decode_latency_ns_p50"
header = "decode"
show = "ratio"
threads = 2

[[columns]]
metric = "loss_nats"

[[published]]
file = "paper.csv"
where = { method = "ours" }
columns = { bits_per_weight = "bits_per_weight" }
"""


def test_a_file_says_it_all(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(TOML, encoding="utf-8")
    (tmp_path / "paper.csv").touch()
    spec = read_spec(path)
    assert (spec.title, spec.models, spec.baseline) == ("Models", ("a", "b"), "b")
    assert (spec.since, spec.until, spec.sessions) == ("2026-11-01", "2026-11-30", ("all",))
    assert spec.where == {"target": "x86"}
    first, second = spec.columns
    assert (first.metric.name, first.show, first.header) == ("decode_latency_ns_p50", "ratio", "decode")
    assert first.where == {"threads": 2}
    assert (second.show, second.header) == ("value", "loss per token")
    assert spec.published[0].file == tmp_path / "paper.csv"


def test_published_figures_that_come_with_harness_are_found_by_name_from_any_folder(tmp_path: Path) -> None:
    entry = {"file": "self_compression.csv", "columns": {"bits_per_weight": "bits_per_weight"}}
    (found,) = parse_spec({"published": [entry]}, tmp_path).published
    assert found.file.read_text(encoding="utf-8").startswith("paper,")
    (tmp_path / "self_compression.csv").touch()
    (own,) = parse_spec({"published": [entry]}, tmp_path).published
    assert own.file == tmp_path / "self_compression.csv"


def test_nothing_said_is_the_newest_session_and_the_default_columns() -> None:
    spec = parse_spec({}, Path())
    assert (spec.models, spec.columns, spec.sessions, spec.allow_different) == ((), (), ("latest",), False)
    assert all(column.show != "both" or column.metric.compare for column in default_columns())


def test_every_field_of_a_condition_may_be_asked_for_that_is_a_column_and_two_of_jobs() -> None:
    assert tuple(FILTERS) == (*KEY, "precision", "runtime_options")


def test_an_option_says_the_same_as_a_table() -> None:
    asked = parse_column("steady_latency_ns_p50,show=value,threads=2,compile=true,cpus=0")
    assert asked == {"metric": "steady_latency_ns_p50", "show": "value", "threads": 2, "compile": True, "cpus": "0"}
    (column,) = parse_spec({"columns": [asked]}, Path()).columns
    assert column.where == {"threads": 2, "compile": True, "cpus": "0"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"colums": []}, ["'colums'", "'columns'"]),
        ({"columns": [{"metric": "loss_nats", "wdith": 3}]}, ["'wdith'"]),
        ({"columns": ["decode_latency_p50"]}, ["'decode_latency_p50'", "decode_latency_ns_p50"]),
        ({"columns": [{"show": "value"}]}, ["metric None"]),
        ({"columns": [3]}, ["3 is no description"]),
        ({"columns": [{"metric": "loss_nats", "show": "all"}]}, ["'all'", "value, ratio, both"]),
        ({"columns": [{"metric": "sqnr_db", "show": "ratio"}]}, ["sqnr_db is not compared"]),
        ({"columns": [{"metric": "loss_nats", "threads": True}]}, ["True, not a whole number"]),
        ({"columns": [parse_column("loss_nats,threads=two")]}, ["'two', not a whole number"]),
        ({"models": "a"}, ["'a', not a list"]),
        ({"models": [1]}, ["1 in models is not text"]),
        ({"select": {"since": "yesterday"}}, ["'yesterday', not a date", "2026-11-22"]),
        ({"select": {"since": 20261122}}, ["not text"]),
        ({"select": 3}, ["3, not a table"]),
        ({"select": {"branch": "main"}}, ["'branch'"]),
        ({"label": "tab:a}\\input{x}"}, ["cannot be a label"]),
        ({"published": [{"file": "x.csv"}]}, ["no columns to fill"]),
        (
            {"published": [{"file": "x.csv", "columns": {"loss_nats": "x"}}]},
            ["no file x.csv", "none named 'x.csv' comes with harness", "clusterformer.csv, early_exit.csv"],
        ),
        ({"published": [{"file": "x.csv", "columns": {"speed": "x"}}]}, ["'speed'"]),
        ({"published": [{"file": "x.csv", "columns": {"loss_nats": 3}}]}, ["3 in [[published]] is not text"]),
    ],
)
def test_each_mistake_is_a_sentence(data: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(data, Path())
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith((".", "?"))
    for word in words:
        assert word in str(caught.value)


def test_a_date_is_a_day() -> None:
    assert parse_spec({"select": {"since": date(2026, 11, 2)}}, Path()).since == "2026-11-02"


@pytest.mark.parametrize("text", ["title = ", "\xff"])
def test_a_file_that_is_not_toml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="is not TOML"):
        read_spec(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_spec(tmp_path / "absent.toml")


def test_an_option_without_a_value() -> None:
    with pytest.raises(UsageError, match="has no value"):
        parse_column("loss_nats,threads")
