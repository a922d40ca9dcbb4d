"""From tables to a comparison: what is set against what, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparison import Comparison, compare_tables
from harness.analysis.figures import Figure, Versus
from harness.errors import NothingComparable, UsageError
from harness.report.layout import caption, comparison_table
from harness.report.table import SUPERSCRIPT


def row(comparison: Comparison, metric: str) -> tuple[tuple[Figure, ...], tuple[Versus | None, ...]]:
    found = next(row for row in comparison.rows if row.metric.name == metric)
    return found.figures, found.versus


def against(comparison: Comparison, metric: str) -> Versus:
    versus = row(comparison, metric)[1][1]
    assert versus is not None
    return versus


def two(session: Any, first: list[int], second: list[int], **columns: Any) -> None:
    """Models a and b in interleaved blocks, each process with one steady duration."""
    for block, durations in enumerate(zip(first, second, strict=True)):
        for model, duration in zip("ab", durations, strict=True):
            session.add(model, block, samples={"steady": [duration]}, **columns)


def test_drift_cancels_between_interleaved_models(session: Any) -> None:
    two(session, [100, 200, 300, 400, 500], [50, 100, 150, 200, 250])
    (comparison,) = compare_tables(session.tables())
    figures, _ = row(comparison, "steady_latency_ns_p50")
    versus = against(comparison, "steady_latency_ns_p50")
    assert figures[0].estimate is not None
    assert figures[0].estimate.value == pytest.approx((100 * 200 * 300 * 400 * 500) ** 0.2)
    assert figures[0].estimate.processes == 5
    assert (versus.kind, versus.paired, versus.processes, versus.resolved) == ("speedup", True, 5, True)
    assert (versus.value, versus.low, versus.high) == pytest.approx((2.0, 2.0, 2.0))


def test_one_model_after_the_other_is_not_paired(session: Any) -> None:
    for model, scale in (("a", 2), ("b", 1)):
        for block in range(5):
            session.add(model, block, samples={"steady": [scale * (100 + block)]})
    (comparison,) = compare_tables(session.tables())
    assert not comparison.interleaved
    assert not against(comparison, "steady_latency_ns_p50").paired


def test_more_is_better_for_throughput(session: Any) -> None:
    for block in range(3):
        for model, duration in (("a", 400), ("b", 100)):
            session.add(model, block, scenario="offline", batch=8, samples={"batch": [duration + block] * 4})
    (comparison,) = compare_tables(session.tables())
    versus = against(comparison, "samples_per_s")
    assert versus.value == pytest.approx(4, rel=0.02)
    assert versus.low is not None
    assert versus.high is not None
    assert versus.low <= 4 <= versus.high + 0.1


def test_a_ratio_that_may_be_one_is_unresolved(session: Any) -> None:
    two(session, [100, 101, 99, 100, 102], [101, 99, 100, 102, 100])
    (comparison,) = compare_tables(session.tables())
    assert against(comparison, "steady_latency_ns_p50").resolved is False


def test_one_process_has_a_ratio_and_no_interval(session: Any) -> None:
    two(session, [100], [50])
    (comparison,) = compare_tables(session.tables())
    versus = against(comparison, "steady_latency_ns_p50")
    assert versus.value == pytest.approx(2)
    assert (versus.low, versus.resolved, versus.reason) == (None, None, "1 process, and it takes 3: `--processes 5`")
    few = "Latency rests on 1 process per model; an interval needs at least 5 to be trusted: `--processes 5`."
    assert few in comparison.notes


def test_facts_of_a_file_have_an_exact_ratio(session: Any) -> None:
    for block in range(5):
        session.add("a", block, model_bytes=3_000_000, samples={"steady": [100]})
        session.add("b", block, model_bytes=1_000_000, samples={"steady": [100]})
    (comparison,) = compare_tables(session.tables())
    versus = against(comparison, "model_bytes")
    assert versus == Versus("ratio", 3.0, processes=5)


def test_only_processes_of_the_right_pass_that_ended_well_count(session: Any) -> None:
    session.add("a", 0, samples={"steady": [100]})
    session.add("a", 1, samples={"steady": [999]}, status="failed", error_kind="crashed", error_message="It died.")
    loads = {"load_program_ns": 5, "load_method_ns": 5}
    session.add("a", 0, measure="memory", samples={"steady": [999]}, scalars=loads)
    (comparison,) = compare_tables(session.tables())
    figures, _ = row(comparison, "steady_latency_ns_p50")
    assert figures[0].values == (100.0,)
    assert not any(found.metric.name == "load_ns" for found in comparison.rows)
    assert "FAILED: 1 latency process of a: crashed: It died." in comparison.notes


def test_a_rerun_replaces_the_failed_attempt(session: Any) -> None:
    session.add("a", 0, status="failed", error_kind="crashed", error_message="It died.", job_id="same")
    session.add("a", 0, samples={"steady": [100]}, job_id="same")
    (comparison,) = compare_tables(session.tables())
    assert row(comparison, "steady_latency_ns_p50")[0][0].values == (100.0,)
    assert not any("FAILED" in note for note in comparison.notes)


def test_the_first_model_is_the_baseline_unless_another_is_named(generated: Any) -> None:
    (first,) = compare_tables(generated.tables())
    (named,) = compare_tables(generated.tables(), baseline="gpt-4bit")
    assert [model.label for model in first.models] == ["gpt-fp32", "gpt-4bit"]
    assert [model.label for model in named.models] == ["gpt-4bit", "gpt-fp32"]
    forth, back = (against(found, "decode_tokens_per_s").value for found in (first, named))
    assert forth is not None
    assert back is not None
    assert forth == pytest.approx(1 / back)


def test_names_that_were_not_measured_are_refused(generated: Any) -> None:
    with pytest.raises(UsageError, match="gpt-fp32, gpt-4bit"):
        compare_tables(generated.tables(), models=["gpt-2bit"])
    with pytest.raises(UsageError, match="Not measured here: gpt-2bit"):
        compare_tables(generated.tables(), baseline="gpt-2bit")


@pytest.mark.parametrize("name", ["gpt-4bit", "gpt-4bit.pte", "models/gpt-4bit.pte", "gpt-4"])
def test_models_go_by_the_names_that_a_run_takes_and_by_their_beginnings(generated: Any, name: str) -> None:
    (comparison,) = compare_tables(generated.tables(), models=[name])
    assert [model.label for model in comparison.models] == ["gpt-4bit"]
    (turned,) = compare_tables(generated.tables(), baseline=name)
    assert turned.models[0].label == "gpt-4bit"


def test_a_beginning_of_several_names_is_refused(generated: Any) -> None:
    with pytest.raises(UsageError, match="begins several models: gpt-fp32, gpt-4bit"):
        compare_tables(generated.tables(), baseline="gpt")


def test_named_models_alone_are_compared(generated: Any) -> None:
    (comparison,) = compare_tables(generated.tables(), models=["gpt-4bit"])
    assert [model.label for model in comparison.models] == ["gpt-4bit"]


def test_two_files_of_one_name_are_two_models(session: Any) -> None:
    for sha256 in ("a" * 64, "b" * 64):
        session.add("m", samples={"steady": [100]}, model_sha256=sha256)
    (comparison,) = compare_tables(session.tables())
    assert [model.label for model in comparison.models] == ["m@aaaaaaaa", "m@bbbbbbbb"]


def test_other_options_make_another_table_and_other_inputs_a_note(session: Any) -> None:
    for threads in (1, 2):
        for model in "ab":
            options = {"threads": threads, "inputs_sha256": model * 4}
            session.add(model, samples={"steady": [100]}, threads=threads, options=options)
    found = compare_tables(session.tables())
    assert [comparison.condition.threads for comparison in found] == [1, 2]
    assert all("The models were given different inputs." in comparison.notes for comparison in found)


def test_what_is_asked_after_all_was_measured_makes_no_other_table(session: Any) -> None:
    session.add("a", samples={"steady": [100]}, options={"peer": True})
    session.add("b", samples={"steady": [50]}, options={})
    (comparison,) = compare_tables(session.tables())
    assert against(comparison, "steady_latency_ns_p50").value == pytest.approx(2)


@pytest.mark.parametrize(("rate", "told"), [(None, True), (50.0, False)])
def test_latencies_at_two_rates_are_no_comparison(session: Any, rate: float | None, told: bool) -> None:
    options = {"scenario": "server", "rate_queries_per_s": rate, "latency_bound_ns": 10**9}
    for block in range(5):
        for model, latency in (("a", 100), ("b", 50 + block)):
            session.add(
                *(model, block),
                samples={"server": [latency] * 20},
                scalars={"rate_queries_per_s@server": 50.0},
                scenario="server",
                options=options,
            )
    (comparison,) = compare_tables(session.tables())
    assert any("own highest rate" in note for note in comparison.notes) is told
    speed_up = against(comparison, "server_latency_ns_p50")
    assert speed_up.resolved
    assert ("own highest rate" in (speed_up.reason or "")) is told
    cells = [cell for section in comparison_table(comparison).sections for line in section.rows for cell in line]
    assert any(cell.text.startswith("1.9") and cell.text[-1] in SUPERSCRIPT for cell in cells) is told


def test_memory_and_quality_join_the_latency_of_their_models(generated: Any) -> None:
    (comparison,) = compare_tables(generated.tables())
    assert comparison.condition.data == "tiny-shakespeare"
    names = {found.metric.name for found in comparison.rows}
    assert {"decode_latency_ns_p50", "peak_rss_bytes", "planned_bytes", "loss_nats", "model_bytes"} <= names
    assert "parameters" not in names
    (everything,) = compare_tables(generated.tables(), every_metric=True)
    assert "parameters" in {found.metric.name for found in everything.rows}


def test_quality_on_two_data_sets_makes_two_tables(session: Any) -> None:
    session.add("a", samples={"steady": [100]})
    for data in ("x", "y"):
        session.add("a", measure="quality", data=data, data_sha256=data * 64, scalars={"loss_nats": ord(data)})
    found = compare_tables(session.tables())
    assert [row(comparison, "loss_nats")[0][0].values for comparison in found] == [(120.0,), (121.0,)]


def test_a_loss_is_compared_as_a_difference(session: Any) -> None:
    for model, loss in (("a", 1.5), ("b", 1.25)):
        session.add(model, samples={"steady": [100]})
        session.add(model, measure="quality", data="x", data_sha256="c" * 64, scalars={"loss_nats": loss})
    (comparison,) = compare_tables(session.tables())
    versus = against(comparison, "loss_nats")
    assert (versus.kind, versus.value, versus.reason) == ("difference", -0.25, None)
    versus = against(comparison, "perplexity")
    assert versus.value == pytest.approx(math.exp(1.25) - math.exp(1.5))


def test_a_recorded_loss_stands_in_and_is_not_compared(generated: Any) -> None:
    (comparison,) = compare_tables(generated.tables())
    figures, versus = row(comparison, "loss_nats")
    assert [figure.kind for figure in figures] == ["measured", "recorded"]
    assert figures[1].values == (1.4912,)
    assert figures[1].reason == "the evaluation text is not at hand"
    assert versus[1] == Versus("difference", reason="recorded figures are not compared with measured ones")


def test_a_null_says_why(session: Any) -> None:
    session.add("a", samples={"steady": [100]}, scalars={"planned_bytes": "no arena is planned"})
    session.add("b", status="failed", error_kind="model", error_message="No such operator.", latency_kind=None)
    (comparison,) = compare_tables(session.tables())
    assert [figure.reason for figure in row(comparison, "planned_bytes")[0]] == [
        "no arena is planned",
        "not measured: No such operator.",
    ]
    assert row(comparison, "steady_latency_ns_p50")[0][1].reason == "not measured: No such operator."


def test_the_reference_of_a_deviation_says_that_it_is_one(session: Any) -> None:
    for model, scalars in (("a", {}), ("b", {"sqnr_db": 40.0})):
        session.add(model, samples={"steady": [100]})
        reference = b"a".hex().ljust(64, "0")
        session.add(model, measure="quality", reference_sha256=reference, scalars=scalars)
    (comparison,) = compare_tables(session.tables())
    figures, _ = row(comparison, "sqnr_db")
    assert figures[0].reason == "this model is the reference that the others deviate from"
    assert figures[1].values == (40.0,)


def test_a_target_without_latency_shows_none(session: Any) -> None:
    session.add("a", samples={"steady": [100]}, latency_kind=None, scalars={"latency_ns": "qemu has no clock"})
    (comparison,) = compare_tables(session.tables())
    figure = row(comparison, "steady_latency_ns_p50")[0][0]
    assert (figure.estimate, figure.reason) == (None, "qemu has no clock")
    assert "no latency" in caption(comparison)[0]
    assert "instructions" not in caption(comparison)[0], "none were counted"


def test_emulated_and_measured_figures_are_not_compared(session: Any) -> None:
    session.add("a", samples={"steady": [100]})
    session.add("b", samples={"steady": [50]}, latency_kind="emulated")
    (comparison,) = compare_tables(session.tables())
    assert comparison.latency_kinds == ("measured", "emulated")
    versus = against(comparison, "steady_latency_ns_p50")
    assert (versus.value, versus.reason) == (None, "emulated figures are not compared with measured ones")


def test_different_conditions_are_refused_by_name(session: Any) -> None:
    session.add("a", samples={"steady": [100]}, fingerprint={"kernel": "6.1", "cpu": "x", "version.torch": "2.13"})
    session.add("b", samples={"steady": [100]}, fingerprint={"kernel": "6.2", "cpu": "x", "version.torch": "2.14"})
    with pytest.raises(NothingComparable) as refusal:
        compare_tables(session.tables())
    assert "kernel (6.1 / 6.2); version.torch (2.13 / 2.14)." in refusal.value.message
    assert "cpu" not in refusal.value.message
    assert "--allow-different" in refusal.value.hint
    (comparison,) = compare_tables(session.tables(), allow_different=True)
    assert any(note.startswith("WARNING") and "kernel (6.1 / 6.2)" in note for note in comparison.notes)


def test_two_runtimes_may_be_compared_and_are_named(session: Any) -> None:
    session.add("a", samples={"steady": [100]}, fingerprint={"cpu": "x", "version.executorch": "1.5"})
    session.add("b", samples={"steady": [100]}, fingerprint={"cpu": "x", "version.torch": "2.13"})
    (comparison,) = compare_tables(session.tables())
    assert "The models ran in different runtimes: a in executorch 1.5; b in torch 2.13." in comparison.notes


def test_a_reading_that_an_older_harness_did_not_take_is_no_difference(session: Any) -> None:
    old = {"cpu_model": "x", "version.torch": "2.13"}
    session.add("a", samples={"steady": [100]}, fingerprint=old)
    session.add("b", samples={"steady": [100]}, fingerprint=old | {"vector_extensions": "AVX2"})
    (comparison,) = compare_tables(session.tables())
    assert comparison.fingerprint["vector_extensions"] == "AVX2"
    assert caption(comparison)[1] == "x · vector extensions AVX2"
    session.add("c", samples={"steady": [100]}, fingerprint=old | {"vector_extensions": "AVX2, VNNI"})
    with pytest.raises(NothingComparable, match=r"vector_extensions \(AVX2 / AVX2, VNNI\)\."):
        compare_tables(session.tables())


def test_nothing_is_comparable_when_every_process_failed(session: Any) -> None:
    session.add("a", status="failed", error_kind="crashed", error_message="It died.")
    with pytest.raises(NothingComparable, match=r"a: It died\."):
        compare_tables(session.tables())


def test_sessions_are_taken_together_and_paired_by_session_and_block(
    make_session: Callable[[str], Any],
) -> None:
    first, second = make_session("one"), make_session("two")
    two(first, [100, 110], [50, 55])
    two(second, [300, 330], [150, 165])
    first.runs += second.runs
    first.samples += second.samples
    (comparison,) = compare_tables(first.tables())
    assert comparison.sessions == ("one", "two")
    versus = against(comparison, "steady_latency_ns_p50")
    assert versus.value == pytest.approx(2)
    assert (versus.paired, versus.processes) == (True, 4)


def test_flags_are_counted_by_pass_and_model(session: Any) -> None:
    for block in range(5):
        session.add("a", block, samples={"steady": [100] * 700}, flags=["not_pinned"])
        stolen = ["steal"] if block < 2 else []
        session.add("b", block, samples={"steady": [100] * 700}, flags=["not_pinned", *stolen])
    session.add("a", measure="quality", data="x", data_sha256="d" * 64, scalars={"loss_nats": 1}, flags=["new_flag"])
    (comparison,) = compare_tables(session.tables())
    assert comparison.notes == (
        "All 10 latency processes: the process was not pinned to CPUs and could migrate (`--cpus 0` pins it).",
        "2 of 10 latency processes (b 2): the hypervisor took CPU time away (take a machine of your own, a quieter "
        "hour, or more `--processes`).",
        "1 of 1 quality process: new_flag.",
    )


def test_a_model_that_could_not_be_described_is_a_column_that_says_so(session: Any) -> None:
    session.add("a", samples={"steady": [100]})
    failure = {"status": "failed", "error_kind": "model", "error_message": "Damaged."}
    session.add("b", measure="describe", scenario="describe", **failure)
    (comparison,) = compare_tables(session.tables())
    figures, _ = row(comparison, "steady_latency_ns_p50")
    assert [figure.reason for figure in figures] == [None, "not measured: Damaged."]


def test_a_policy_is_a_model_of_an_ablation_and_a_condition_elsewhere(make_session: Any) -> None:
    """One file read by two policies is never one figure."""
    ablation, single = make_session("ablation"), make_session("single")
    for policy in ("none", "bundling"):
        options = {"policy": policy, "window": 5}
        label = "relu none" if policy == "none" else f"relu + {policy}"
        ablation.add(label, model_sha256="a" * 64, options=options | {"model": label}, samples={"steady": [100]})
        single.add("relu", job_id=policy, model_sha256="a" * 64, options=options, samples={"steady": [100]})
    (together,) = compare_tables(ablation.tables())
    assert [model.name for model in together.models] == ["relu none", "relu + bundling"]
    assert len(compare_tables(single.tables())) == 2


def test_the_foot_names_the_difference_that_shows_of_the_model_that_varies_most(session: Any) -> None:
    drift = (1.0, 1.01, 1.02, 1.03, 1.04)
    for block, factor in enumerate(drift):
        for model, noise in (("a", 0.0), ("b", 0.001), ("c", 0.01)):
            level = factor * (1 + noise * (-1) ** block)
            session.add(model, block, samples={"steady": [round(1e6 * level)] * 700})
    (comparison,) = compare_tables(session.tables())
    found = comparison.resolution
    versus = row(comparison, "steady_latency_ns_p50")[1][-1]
    assert found is not None
    assert versus is not None
    assert (found.metric, found.asked, found.reached, found.paired) == ("steady_latency_ns_p50", None, None, True)
    assert found.shows == versus.shows
    # Differences of one hundredth up and down in five blocks: a deviation of 0.01095, and t of 4.604 and 0.941.
    assert found.shows == pytest.approx(np.expm1((4.604 + 0.941) * 0.01095 / np.sqrt(5)), rel=1e-2)
    assert comparison.notes == (
        "Differences below about 2.8 % would not show (latency p50; 99 % interval, 5 processes, paired by block).",
    )


def test_a_foot_takes_an_interval_and_figures_that_vary(session: Any) -> None:
    two(session, [100, 101], [50, 51])
    (few,) = compare_tables(session.tables())
    assert few.resolution is not None
    assert few.resolution.shows is None
    assert not any("would not show" in note for note in few.notes)
    (alone,) = compare_tables(session.tables(), models=["a"])
    assert alone.resolution is None


def test_models_that_a_chosen_runtime_sets_apart_say_why(session: Any) -> None:
    session.add("a", samples={"steady": [100]}, runtime="onnxruntime")
    session.add("b", samples={"steady": [100]})
    first, second = compare_tables(session.tables())
    (note,) = (note for note in first.notes if "another table" in note)
    assert note.startswith("b stands in another table, since `--runtime onnxruntime` is not about all of these models")
    assert any(note.startswith("a stands in another table") for note in second.notes)
    session.add("c", samples={"steady": [100]}, threads=2)
    assert not any("another table" in note for note in compare_tables(session.tables())[2].notes)


def test_runs_that_differ_in_an_option_of_their_runtime_stand_apart_and_others_with_both(session: Any) -> None:
    session.add("plain", samples={"steady": [100]})
    for value in ("on", "off"):
        options = {"runtime_options": [["spinning", "on"]]} if value == "on" else {}
        settings = {"runtime": "fast", "threads": "1", "spinning": value}
        session.add("m", samples={"steady": [50]}, options=options, settings_json=json.dumps(settings))
    off, on = sorted(compare_tables(session.tables()), key=lambda each: str(each.condition.runtime_options))
    assert (off.condition.runtime_options, on.condition.runtime_options) == ("spinning off", "spinning on")
    for comparison in (off, on):
        assert [model.label for model in comparison.models] == ["plain", "m"]
        assert comparison.processes == (1, 1)
    assert on.settings == {"plain": {}, "m": {"runtime": "fast", "threads": "1", "spinning": "on"}}


def test_settings_that_differ_are_said(session: Any) -> None:
    for model, spinning, level in (("a", "on", "0"), ("b", "on", "4"), ("c", "on", "0"), ("c", "off", "0")):
        settings = {"runtime": "fast", "spinning": spinning, "level": level}
        block = sum(run["model"] == model for run in session.runs)
        session.add(model, block, samples={"steady": [100]}, settings_json=json.dumps(settings))
    session.add("d", samples={"steady": [100]}, settings_json=json.dumps({"runtime": "slow", "level": "9"}))
    session.add("e", samples={"steady": [100]})
    (comparison,) = compare_tables(session.tables())
    settings = [note for note in comparison.notes if "ettings" in note]
    assert settings == [
        "Settings of fast differ, b / a: level 4 / 0.",
        "WARNING: the processes of c ran with different settings: spinning (on / off).",
        "Settings of fast differ, c / a: spinning on or off / on.",
    ]
    lines = caption(comparison)
    assert (
        "fast · a: spinning on, level 0 · b: spinning on, level 4 · c: spinning on or off, level 0 · slow: level 9"
        in lines
    )


def test_versions_that_are_to_be_compared_may_differ_and_all_else_may_not(session: Any) -> None:
    def add(model: str, version: str, block: int, **more: Any) -> None:
        fingerprint = {"cpu_model": "Test CPU", "version.fast": version, "version.python": "3.11", **more}
        options = {"versions_of": "m"}
        session.add(model, block, samples={"steady": [100]}, fingerprint=fingerprint, options=options)

    for block in range(2):
        add("m in fast 1", "1", block)
        add("m in fast 2", "2", block)
    (comparison,) = compare_tables(session.tables())
    assert comparison.fingerprint["version.fast"] == "1 and 2"
    assert not any("different runtimes" in note for note in comparison.notes), "their names say it"
    assert comparison.condition.versions_of == "m"
    add("m in fast 2", "2", 2, **{"version.python": "3.12"})
    with pytest.raises(NothingComparable, match=r"version.python \(3.11 / 3.12\)"):
        compare_tables(session.tables())
    session.runs.pop()
    add("m in fast 2", "2", 2, cpu_model="Another CPU")
    with pytest.raises(NothingComparable, match="cpu_model"):
        compare_tables(session.tables())


def test_what_else_differs_between_interpreters_is_said(session: Any) -> None:
    for version, python in (("1", "3.11"), ("2", "3.12")):
        fingerprint = {"version.fast": version, "version.python": python}
        options = {"versions_of": "m"}
        session.add(f"m in fast {version}", samples={"steady": [100]}, fingerprint=fingerprint, options=options)
    (comparison,) = compare_tables(session.tables())
    (said,) = (note for note in comparison.notes if "different runtimes" in note)
    assert said == "The models ran in different runtimes: m in fast 1 in python 3.11; m in fast 2 in python 3.12."


def test_what_a_library_makes_of_an_option_sets_no_models_apart(session: Any) -> None:
    for model, made in (("a", "auto (on)"), ("b", "auto (off)")):
        session.add(model, samples={"steady": [100]}, settings_json=json.dumps({"runtime": "fast", "flash": made}))
    given = {"options": {"runtime_options": [["flash", "off"]]}, "settings_json": json.dumps({"flash": "off"})}
    session.add("a", samples={"steady": [100]}, **given)
    conditions = {each.condition.runtime_options: len(each.models) for each in compare_tables(session.tables())}
    assert conditions == {"flash auto": 2, "flash off": 1}
