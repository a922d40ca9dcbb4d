"""`kill -9` at random moments of a night: no row lost, none doubled, nothing unreadable, and the next night goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from nightly.killed import grown

from harness.nightly.ledger import read_ledger
from harness.nightly.watch import look
from harness.store.dataset import read_tables

# A hundred: HARNESS_TEST_KILLS=100 pytest tests/nightly/test_killed.py
KILLS = int(os.environ.get("HARNESS_TEST_KILLS", "6"))


def test_a_killed_night_loses_nothing_and_doubles_nothing(tmp_path: Path, unsynced: None) -> None:
    script = Path(__file__).with_name("killed.py")
    ended = subprocess.run(
        [sys.executable, str(script), "killed", str(tmp_path), str(KILLS)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    farm = grown(tmp_path)
    rows, problems = read_ledger(farm.config.results, "nights")
    assert problems == []
    begun = [row["number"] for row in rows if row["status"] == "started"]
    complete = {row["number"]: row["session_id"] for row in rows if row["status"] == "complete"}
    assert sorted(begun) == list(range(1, len(begun) + 1)), "a number was used twice, or skipped"
    assert len(complete) + len(begun) == len(rows)
    assert {int(line) for line in ended.stdout.split()} <= set(complete), "a night that said its end is lost"
    assert len(set(begun) - set(complete)) <= KILLS

    tables = read_tables(farm.config.results, "all")
    assert tables.problems == ()
    whole = Counter(tables.runs["session_id"])
    assert all(whole[session] == farm.processes + 1 for session in complete.values())
    assert not tables.runs["attempt_id"].duplicated().any()

    watched = farm.night()  # catches up with whatever was cut in the middle
    assert watched.last is not None
    assert watched.last.number == len(begun) + 1
    rows, problems = read_ledger(farm.config.results, "alerts")
    assert problems == []
    written = Counter((row["alert_id"], row["state"]) for row in rows)
    assert max(written.values()) == 1, "an alert is there twice"
    changed = {alert.change_night for alert in watched.alerts if alert.metric == "model_bytes"}
    assert {night.number for night in watched.nights[1:]} <= changed <= {*complete, len(begun) + 1}
    assert {alert.state for alert in watched.alerts if alert.metric == "model_bytes"} == {"published"}
    assert look(farm.config).standing == watched.standing
