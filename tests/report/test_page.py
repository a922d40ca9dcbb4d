"""The page as a file: what it says is what the terminal says, nothing in it can become markup, it loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from harness.analysis.comparison import compare_tables
from harness.cli.report import report
from harness.errors import NothingComparable, StoreError, UsageError
from harness.report.page.charts import specs_and_bundle
from harness.report.page.data import page_data
from harness.report.page.page import assemble
from harness.report.rendering import render
from harness.store.schemas import SCHEMA_VERSION, VERSION_KEY

pytestmark = pytest.mark.usefixtures("unsynced")

HOSTILE = "</script><script>alert('x')</script><!-- & \u2028\u2029 \u202e \x1b[2J {{ 7 * 7 }}"


class Scripts(HTMLParser):
    """The text and the attributes of every script element; every other attribute that could load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.loads: list[str] = []
        self.policy = ""
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.inside = tag == "script"
        if self.inside:
            self.found.append((attributes, ""))
        if tag in ("link", "img", "iframe", "object"):
            self.loads.append(tag)
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "action") and value[:1] != "#"]
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(attributes["content"])

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            attributes, text = self.found[-1]
            self.found[-1] = (attributes, text + data)


def later(session: Any, days: int) -> Any:
    """The same session, so many days on."""
    for run in session.runs:
        for name in ("started_at", "finished_at"):
            run[name] += timedelta(days=days)
    return session


def spoil(results: Path, attempt: str, version: bytes) -> None:
    """Let an attempt's samples be of another schema."""
    (path,) = results.glob(f"samples/*/*/{attempt}.parquet")
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.replace_schema_metadata({VERSION_KEY: version}), path)


def cells_of(data: dict[str, Any], model: str) -> dict[str, dict[str, Any]]:
    """The newest figures of a model by metric."""
    one = data["comparisons"][0]
    (found,) = [column for column in one["models"] if column["label"] == model]
    return dict(zip(one["metrics"], found["cells"], strict=True))


def test_every_figure_is_written_as_in_the_terminal(tmp_path: Path, generated: Any) -> None:
    generated.write(tmp_path)
    data = page_data(tmp_path)
    printed = render(compare_tables(generated.tables(), every_metric=True), width=200)
    (one,) = data["comparisons"]
    for model in one["models"]:
        for cell in model["cells"]:
            versus = cell.get("versus", {"text": "", "detail": ""})
            for text in (cell["text"], cell.get("detail", ""), versus["text"], versus["detail"]):
                assert text in printed
    assert all(note in printed.replace("\n", " ") for note in one["notes"] if len(note) < 100)
    (compared,) = json.loads(render(compare_tables(generated.tables(), every_metric=True), "json"))["data"][
        "comparisons"
    ]
    left_out = {metric["metric"] for metric in compared["metrics"]} - set(one["metrics"])
    assert left_out == {"prefill_latency_ns_p90", "prefill_latency_ns_p99"}, "of which nobody has a figure"
    for metric in compared["metrics"]:
        for model in metric["models"]:
            cell = cells_of(data, model["model"]).get(metric["metric"], {})
            assert [cell.get(name) for name in ("value", "low", "high")] == [model[n] for n in ("value", "low", "high")]
    assert cells_of(data, "gpt-4bit")["decode_latency_ns_p50"]["versus"]["tone"] == "good"


def test_what_was_not_measured_is_marked_and_has_no_number(tmp_path: Path, generated: Any) -> None:
    generated.add("gpt-4bit", 9, measure="memory", status="failed", error_kind="model", error_message="It broke.")
    generated.write(tmp_path)
    data = page_data(tmp_path)
    four, full = cells_of(data, "gpt-4bit"), cells_of(data, "gpt-fp32")
    assert full["loss_nats"]["value"] == 1.4689
    assert "kind" not in full["loss_nats"]
    assert (four["loss_nats"]["kind"], four["loss_nats"]["detail"][:8]) == ("recorded", "recorded")
    assert "versus" not in four["loss_nats"] or four["loss_nats"]["versus"]["text"].startswith("–")
    assert any("not measured here (the evaluation text is not at hand)" in n for n in data["comparisons"][0]["notes"])
    (failed,) = [run for run in data["runs"] if run["status"] != "ok"]
    assert failed["error"] == "model: It broke."
    assert "NaN" not in json.dumps(data)


def test_an_estimate_says_so_in_every_cell_or_in_its_heading(tmp_path: Path, session: Any) -> None:
    for block in range(5):
        session.add("real", block, samples={"steady": [100 + block]})
        session.add("simulated", block, samples={"steady": [90 + block]}, latency_kind="estimated")
    session.write(tmp_path)
    cell = cells_of(page_data(tmp_path), "simulated")["steady_latency_ns_p50"]
    assert cell["kind"] == "estimated"
    assert cell["text"].endswith("estimated")


def test_a_flag_stands_at_its_model_and_at_its_run(tmp_path: Path, generated: Any) -> None:
    generated.write(tmp_path)
    data = page_data(tmp_path)
    flags = {model["label"]: model["flags"] for model in data["comparisons"][0]["models"]}
    busy = "other processes used the CPU while it was measured (close other programs, or wait until they are done)"
    assert f"2 processes: {busy}" in flags["gpt-4bit"]
    assert not any("other processes" in line for line in flags["gpt-fp32"])
    assert sum("load_high" in run["flags"] for run in data["runs"]) == 2
    assert data["flags"]["load_high"] == busy


def test_a_run_says_its_conditions_and_what_is_unknown(tmp_path: Path, generated: Any) -> None:
    generated.write(tmp_path)
    data = page_data(tmp_path)
    said = data["conditions"][data["runs"][0]["conditions"]].splitlines()
    for line in ("threads: 2", "cpus: 2,3", "cpu_model: Test CPU", "frequency_governor: unknown"):
        assert line in said


def test_sessions_are_side_by_side_and_a_smaller_one_belongs_to_the_same_trend(
    tmp_path: Path, make_session: Any
) -> None:
    for number, (blocks, cpu) in enumerate([(5, "A"), (2, "A"), (5, "B")]):
        session = make_session(f"s{number}")
        for block in range(blocks):
            session.add("m", block, samples={"steady": [100 + number]}, fingerprint={"cpu_model": cpu})
        later(session, number).write(tmp_path)
    found = page_data(tmp_path)["comparisons"]
    assert [one["session"] for one in found] == ["s2", "s1", "s0"]
    # One trend is of one machine.
    assert [one["condition"] == found[1]["condition"] for one in found] == [False, True, True]
    assert [one["fingerprint"] == found[0]["fingerprint"] for one in found] == [True, False, False]
    assert [one["models"][0]["cells"][0]["value"] for one in found] == pytest.approx([102, 101, 100])
    assert [one["session"] for one in page_data(tmp_path, "s1")["comparisons"]] == ["s1"]


def test_a_trend_is_of_one_load_and_goes_on_after_an_upgrade(tmp_path: Path, make_session: Any) -> None:
    given = [("1.5", 50.0), ("1.6", 50.0), ("1.6", 80.0)]
    for number, (version, rate) in enumerate(given):
        session = make_session(f"s{number}")
        options = {"scenario": "server", "rate_queries_per_s": rate}
        versions = {"cpu_model": "A", "version.executorch": version}
        session.add("m", samples={"steady": [100]}, scenario="server", options=options, fingerprint=versions)
        later(session, number).write(tmp_path)
    newest, upgraded, first = page_data(tmp_path)["comparisons"]
    assert newest["condition"] != upgraded["condition"] == first["condition"]
    assert upgraded["fingerprint"] != first["fingerprint"], "another version: no line joins them"
    assert newest["machine"] == ["A"]


def test_two_processes_draw_no_interval_and_say_why(tmp_path: Path, session: Any) -> None:
    for block, duration in enumerate((1_000_000, 150_000_000)):
        session.add("m", block, samples={"steady": [duration]})
    session.write(tmp_path)
    data = page_data(tmp_path)
    cell = cells_of(data, "m")["steady_latency_ns_p50"]
    assert cell["value"] == pytest.approx(12_247_449, rel=1e-6)
    assert cell.keys().isdisjoint({"low", "high", "detail"})
    assert cell["text"].endswith("ms¹")
    assert "¹ no interval (2 processes, and it takes 3: `--processes 5`)" in data["comparisons"][0]["notes"]


def test_operators_are_summed_and_shared_over_all_processes(tmp_path: Path, session: Any) -> None:
    ids = [session.add("m", block, samples={"steady": [100]}) for block in range(2)]
    ops = [
        {"attempt_id": attempt, "operator": operator, "delegate": delegate, "calls": 3, "total_ns": total}
        for attempt in ids
        for operator, delegate, total in (("add", None, 1000), ("linear", "XnnpackBackend", 3000))
    ]
    io = [
        {"attempt_id": attempt, "phase": "load", "asked_bytes": 100 * (n + 1), "read_bytes": None, "major_faults": n}
        for n, attempt in enumerate(ids)
    ]
    session.write(tmp_path, ops=ops, io=io)
    (model,) = page_data(tmp_path)["models"]
    shown = [(one["operator"], one["calls"], one["total_ns"], one["percent"]) for one in model["operators"]]
    assert shown == [("linear", 6, 6000, "75.0 %"), ("add", 6, 2000, "25.0 %")]
    assert model["storage"] == [{"phase": "load", "asked": "150 B", "read": None, "faults": "0.5"}]


def test_a_name_in_the_data_cannot_leave_its_script(tmp_path: Path, session: Any) -> None:
    for block in range(5):
        session.add(HOSTILE, block, samples={"steady": [100]})
        session.add("plain", block, samples={"steady": [100]})
    session.add(HOSTILE, 9, status="failed", error_kind=HOSTILE, error_message=HOSTILE, stderr_tail=HOSTILE)
    session.write(tmp_path)
    data = page_data(tmp_path)
    data["problems"].append(HOSTILE)
    html = assemble(data, {"spec": HOSTILE}, "/* bundle */")
    scripts = Scripts(html)
    assert [attributes.get("id") for attributes, _ in scripts.found] == ["data", "specs", None, None]
    assert json.loads(scripts.found[0][1]) == data
    assert json.loads(scripts.found[1][1]) == {"spec": HOSTILE}
    # Control characters and text direction are written out, as in the terminal.
    labels = {model["label"] for model in data["models"]} | {one["label"] for one in data["comparisons"][0]["models"]}
    assert labels == {"plain", "</script><script>alert('x')</script><!-- & \\u2028\\u2029 \\u202e \\x1b[2J {{ 7 * 7 }}"}
    assert "<script>alert" not in html
    assert not set("\u2028\u2029") & set(scripts.found[0][1])


def test_the_page_loads_nothing_and_runs_nothing_but_its_own_scripts(tmp_path: Path, generated: Any) -> None:
    generated.write(tmp_path)
    specs, bundle = specs_and_bundle()
    html = assemble(page_data(tmp_path), specs, bundle)
    scripts = Scripts(html)
    assert scripts.loads == []
    assert "default-src 'none'" in scripts.policy
    assert "unsafe-eval" not in scripts.policy
    for _, text in scripts.found[2:]:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in scripts.policy
    for spec in specs.values():
        (points,) = [one for one in spec["data"] if "source" not in one]
        assert points == {"name": "points"}
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"url\(|@import", style)


def test_the_same_rows_give_the_same_page(tmp_path: Path, generated: Any) -> None:
    generated.write(tmp_path)
    assert assemble(page_data(tmp_path), {}, "") == assemble(page_data(tmp_path), {}, "")


def test_what_a_newer_harness_wrote_is_left_out_with_a_sentence(tmp_path: Path, generated: Any) -> None:
    generated.write(tmp_path)
    newer = str(SCHEMA_VERSION + 1)
    lost = [run["attempt_id"] for run in generated.runs[3:5]]
    for attempt in lost:
        spoil(tmp_path, attempt, newer.encode())
    spoil(tmp_path, generated.runs[0]["attempt_id"], b"no number")
    data = page_data(tmp_path)
    assert len(data["runs"]) == len(generated.runs) - 3
    assert len(data["comparisons"]) == 1
    by_words = {text.split(" ", 1)[0]: text for text in data["problems"]}
    assert f"schema {newer}" in by_words["2"]
    assert "Upgrade" in by_words["2"]
    assert "is not a table of harness" in by_words["1"]
    assert len(data["problems"]) == 2
    assert len(page_data(tmp_path, "latest")["runs"]) == len(data["runs"])
    with pytest.raises(NothingComparable, match="begins with 'zz'"):
        page_data(tmp_path, "zz")


def test_nothing_that_can_be_read_is_an_error(tmp_path: Path, session: Any) -> None:
    spoiled = session.add("m", samples={"steady": [100]})
    session.write(tmp_path)
    spoil(tmp_path, spoiled, b"99")
    with pytest.raises(StoreError, match="schema 99"):
        page_data(tmp_path)


def test_a_session_that_cannot_be_compared_is_still_listed(tmp_path: Path, make_session: Any) -> None:
    mixed, failed = make_session("mixed"), later(make_session("failed"), 1)
    for block, cpu in enumerate("AB"):
        mixed.add("m", block, samples={"steady": [100]}, fingerprint={"cpu_model": cpu})
    failed.add("m", status="failed", error_kind="model", error_message="It <b>broke</b>.", stderr_tail="a\n\x1b[2Jb")
    for session in (mixed, failed):
        session.write(tmp_path)
    data = page_data(tmp_path)
    assert data["comparisons"] == []
    assert ["cpu_model (A / B)" in text for text in data["problems"]].count(True) == 1
    assert ["No process succeeded" in text for text in data["problems"]].count(True) == 1
    assert len(data["runs"]) == 3
    assert [run["stderr"] for run in data["runs"] if "stderr" in run] == ["a\n\\x1b[2Jb"]
    assert len(page_data(tmp_path, allow_different=True)["comparisons"]) == 1
    assert "0 models" not in assemble(data, {}, "")


def test_a_baseline_that_a_session_lacks_is_said(tmp_path: Path, make_session: Any) -> None:
    for number, names in enumerate([("a", "b"), ("b", "c")]):
        session = make_session(f"s{number}")
        for name in names:
            session.add(name, samples={"steady": [100]})
        later(session, number).write(tmp_path)
    data = page_data(tmp_path, baseline="a")
    assert [one["models"][0]["label"] for one in data["comparisons"]] == ["b", "a"]
    assert data["problems"] == ["Session s1 has no a: it is compared with the first model it measured."]
    with pytest.raises(UsageError, match="Not measured here: zz"):
        page_data(tmp_path, baseline="zz")


def test_two_files_of_one_name_are_two_models(tmp_path: Path, make_session: Any) -> None:
    for number, sha256 in enumerate(("a" * 64, "b" * 64)):
        session = make_session(f"s{number}")
        session.add("m", samples={"steady": [100]}, model_sha256=sha256)
        later(session, number).write(tmp_path)
    data = page_data(tmp_path)
    assert [model["label"] for model in data["models"]] == ["m@aaaaaaaa", "m@bbbbbbbb"]
    assert [one["models"][0]["model"] for one in data["comparisons"]] == [1, 0]
    assert [run["model"] for run in data["runs"]] == [1, 0]


def test_the_command_writes_all_sessions_unless_one_is_named(tmp_path: Path, make_session: Any) -> None:
    for number in range(2):
        session = make_session(f"s{number}")
        session.add("m", samples={"steady": [100]})
        later(session, number).write(tmp_path / "results")
    page = tmp_path / "page.html"
    for options, expected in (((), ["s1", "s0"]), (("--session", "latest"), ["s1"])):
        done = CliRunner().invoke(
            report, ["--results", str(tmp_path / "results"), "--html", str(page), *options], catch_exceptions=False
        )
        assert done.output == f"{page}\n"
        data = json.loads(Scripts(page.read_text(encoding="utf-8")).found[0][1])
        assert [one["session"] for one in data["comparisons"]] == expected


@pytest.mark.parametrize("option", [["--list"], ["--json"], ["--format", "csv"]])
def test_an_option_that_a_page_has_no_use_for_is_refused(tmp_path: Path, option: list[str]) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(UsageError, match=f"--html does not go with {option[0]}"):
        CliRunner().invoke(report, ["--html", str(page), *option], catch_exceptions=False)
    assert not page.exists()


def test_a_folder_without_results_gives_no_page(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(NothingComparable, match="There are no results"):
        CliRunner().invoke(report, ["--results", str(tmp_path / "none"), "--html", str(page)], catch_exceptions=False)
    assert not page.exists()


def test_a_page_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.add("m", samples={"steady": [100]})
    session.write(tmp_path / "results")
    monkeypatch.setattr("harness.report.page.page.specs_and_bundle", lambda: ({}, ""))
    page = tmp_path / "no" / "such" / "folder.html"
    with pytest.raises(UsageError, match="cannot be written \\(No such file"):
        CliRunner().invoke(
            report, ["--results", str(tmp_path / "results"), "--html", str(page)], catch_exceptions=False
        )


def test_without_altair_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(UsageError) as caught:
        specs_and_bundle()
    assert "altair" in caught.value.message
    assert "edge-harness[html]" in caught.value.hint
