"""Ledgers that were written before there were three verdicts: what they say stays what it was."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from nightly.farm import Farm, metrics

from harness.nightly.alerts import read_alerts
from harness.nightly.ledger import read_ledger
from harness.nightly.nights import counted, irregular, read_nights
from harness.nightly.summary import render_watched
from harness.nightly.watch import look
from harness.store.check import check
from harness.store.migrations import in_todays_columns
from harness.store.schemas import LEDGERS

# Written by the version of 2026-11-29 (commit 060133c): three configurations, whose alerts were published after a rerun
# of six pairs, withdrawn with the interval [0.897, 1.079], and not rerun.
OLD = Path(__file__).with_name("old_ledgers.zip")


@pytest.fixture
def old(farm: Farm) -> Farm:
    zipfile.ZipFile(OLD).extractall(farm.config.results)
    farm.config = replace(farm.config, metrics=metrics("steady_latency_ns_p50"))
    return farm


def test_every_row_is_read_with_todays_columns(old: Farm) -> None:
    for ledger, schema in LEDGERS.items():
        rows, problems = read_ledger(old.config.results, ledger)
        assert problems == []
        assert {"nights": 23, "alerts": 6}[ledger] == len(rows)
        assert {*schema.names, "target"} == set(rows[0])
    assert check(old.config.results).findings == ()


def test_a_published_alert_stands_and_a_withdrawn_one_stays_closed(old: Farm) -> None:
    (published,), _ = read_alerts(old.config)
    assert (published.state, published.rerun_processes, published.rounds) == ("published", 6, 1)
    assert len(published.rerun_session_ids or ()) == 1
    (withdrawn,), _ = read_alerts(replace(old.config, name="weekly.toml"))
    assert (withdrawn.state, withdrawn.rerun_decision) == ("withdrawn", None)
    text = render_watched(look(replace(old.config, name="weekly.toml")), "markdown")
    assert "| withdrawn | model |" in text
    assert "0.984x \\[0.897, 1.079\\], 6 pairs" in text
    (provisional,), _ = read_alerts(replace(old.config, name="open.toml"))
    assert (provisional.state, provisional.rounds) == ("provisional", 0)


def test_nights_without_a_host_are_of_no_other_machine(old: Farm) -> None:
    nights, _ = read_nights(old.config)
    assert {night.host for night in nights} == {None}
    assert len(counted(nights)) == len(nights) == 8
    assert irregular(nights, counted(nights)) == []


def test_a_column_that_was_always_there_is_missed(farm: Farm) -> None:
    farm.quick(1)
    rows = pa.Table.from_pylist([{"number": 1}])
    with pytest.raises(KeyError):
        in_todays_columns("nights", rows)
