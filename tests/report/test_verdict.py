"""The sentence at the end of a comparison, and the warning of a model that computes something else."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from harness.analysis.comparison import compare_tables
from harness.report.rendering import render

# Durations of five processes that an interval tells apart, and of five that none does.
FAST = (100, 101, 99, 100, 102)
LIKE = (101, 99, 100, 102, 100)


def measure(session: Any, *durations: tuple[int, ...], phase: str = "steady", **columns: Any) -> None:
    """Models a, b and so on in interleaved blocks."""
    for block in range(len(durations[0])):
        for model, each in zip("abc", durations, strict=False):
            session.add(model, block, samples={phase: [each[block]] * 4}, **columns)


def twice(durations: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(2 * duration for duration in durations)


def quality(session: Any, model: str, scalars: dict[str, Any], **columns: Any) -> None:
    session.add(model, measure="quality", data="tiny", scalars=scalars, **columns)


def said(session: Any, **options: Any) -> dict[str, str]:
    (comparison,) = compare_tables(session.tables(), **options)
    return comparison.verdict


def test_how_fast_how_large_and_how_good(session: Any) -> None:
    for block, duration in enumerate(FAST):
        for model, factor, size in (("a", 2, 9_700), ("b", 1, 1_000)):
            session.add(
                model,
                block,
                scenario="generate",
                samples={"decode": [factor * duration]},
                model_bytes=size,
            )
    for model, loss in (("a", 1.5), ("b", 1.62)):
        quality(session, model, {"loss_nats": loss}, data_sha256="0" * 64)
    assert said(session) == {"b": "b decodes 2.000x [2.000, 2.000] as fast as a; file 9.7x smaller; loss +0.12 nats."}


def test_an_accuracy_differs_by_percentage_points(session: Any) -> None:
    measure(session, FAST, FAST)
    for model, accuracy in (("a", 0.75), ("b", 0.738)):
        quality(session, model, {"accuracy_top1": accuracy})
    assert said(session)["b"].endswith("accuracy -1.2 percentage points.")


def test_the_other_way_round(session: Any) -> None:
    measure(session, FAST, twice(FAST))
    (sentence,) = said(session).values()
    assert sentence.startswith("b runs 0.50")
    assert sentence.endswith("as fast as a.")


def test_what_an_interval_does_not_tell_is_no_difference(session: Any) -> None:
    measure(session, FAST, LIKE)
    (sentence,) = said(session).values()
    assert sentence.startswith("b shows no difference from a in latency p50 (")
    assert "as fast" not in sentence


def test_one_process_has_no_interval_and_the_verdict_says_so(session: Any) -> None:
    measure(session, (200,), (100,))
    assert said(session) == {"b": "b runs 2.00x as fast as a (no interval)."}


@pytest.mark.parametrize("kind", ["estimated", "emulated"])
def test_what_was_not_measured_says_so(session: Any, kind: str) -> None:
    measure(session, twice(FAST), FAST, latency_kind=kind)
    (sentence,) = said(session).values()
    assert sentence.endswith(f"as fast as a ({kind}).")


def test_counts_are_fewer_or_more(session: Any) -> None:
    for model, count in (("a", 300), ("b", 200), ("c", 600)):
        attempt = session.add(model, latency_kind=None, scenario="generate")
        session.samples.append(
            {"attempt_id": attempt, "phase": "decode", "iteration": 0, "start_ns": 0, "instructions": count}
            | {"duration_ns": None}
        )
    assert said(session) == {
        "b": "b decodes with 1.50x fewer instructions than a.",
        "c": "c decodes with 2.00x more instructions than a.",
    }


def test_a_sentence_for_each_model_but_the_baseline(session: Any) -> None:
    measure(session, FAST, twice(FAST), twice(twice(FAST)))
    assert list(said(session)) == ["b", "c"]
    assert list(said(session, baseline="c")) == ["a", "b"]


def test_where_nothing_can_be_compared_nothing_is_said(session: Any) -> None:
    session.add("a", samples={"steady": [100]})
    session.add("b", status="failed", error_kind="crashed", error_message="It died.")
    assert said(session) == {}


def test_every_format_has_it(session: Any) -> None:
    measure(session, twice(FAST), FAST)
    comparisons = compare_tables(session.tables())
    (sentence,) = comparisons[0].verdict.values()
    assert render(comparisons, "terminal", width=120).endswith(f"\n\n{sentence}\n")
    assert "**b runs 2" in render(comparisons, "markdown").splitlines()[-1]
    assert json.loads(render(comparisons, "json"))["data"]["comparisons"][0]["verdict"] == {"b": sentence}
    rows = list(csv.DictReader(io.StringIO(render(comparisons, "csv"))))
    assert {row["model"]: row["verdict"] for row in rows} == {"a": "", "b": sentence}


@pytest.mark.parametrize(("sqnr_db", "warned"), [(9.9, True), (10.0, False), (34.0, False)])
def test_outputs_that_are_far_from_the_baseline_are_no_compressed_model(
    session: Any, sqnr_db: float, warned: bool
) -> None:
    measure(session, FAST, FAST)
    reference = session.runs[0]["model_sha256"]
    quality(session, "a", {}, reference_sha256=reference)
    quality(session, "b", {"sqnr_db": sqnr_db, "argmax_agreement": 0.5}, reference_sha256=reference)
    (comparison,) = compare_tables(session.tables())
    warnings = [
        note for note in comparison.notes if note.startswith("WARNING: the outputs of b are far from those of a")
    ]
    assert bool(warnings) is warned
    assert f"signal to noise {sqnr_db:.3g} dB; same class in 50 % of the rows." in comparison.verdict["b"]


@pytest.mark.parametrize(
    ("model_bytes", "sqnr_db", "expected"),
    [
        (9_000, 15.0, "40"),  # as large as float32: nothing was rounded that would explain it
        (9_000, 60.0, None),
        (2_600, 15.0, "25"),  # about 8 bits a weight
        (2_600, 36.0, None),
        (1_400, 15.0, None),  # 4 bits
        (9_000, 9.0, None),  # so far that another warning says it
    ],
)
def test_outputs_that_differ_more_than_the_size_of_the_file_explains(
    session: Any, model_bytes: int, sqnr_db: float, expected: str | None
) -> None:
    for block, duration in enumerate(FAST):
        for model, size in (("a", 10_000), ("b", model_bytes)):
            session.add(model, block, samples={"steady": [duration] * 4}, model_bytes=size)
    reference = session.runs[0]["model_sha256"]
    quality(session, "a", {}, reference_sha256=reference)
    quality(session, "b", {"sqnr_db": sqnr_db}, reference_sha256=reference)
    (comparison,) = compare_tables(session.tables())
    (warning,) = [note for note in comparison.notes if "more than such rounding explains" in note] or [None]
    assert (warning is not None) is (expected is not None)
    if warning is not None:
        assert f"{sqnr_db:.3g} dB, where at least {expected} dB are usual" in warning
        assert warning.startswith(f"WARNING: b takes {model_bytes / 10_000:.2f} of the bytes of a")


@pytest.mark.parametrize(("method", "warned"), [("svd", False), ("baseline", True), (None, True)])
def test_a_method_of_the_manifest_explains_other_outputs(session: Any, method: str | None, warned: bool) -> None:
    for block, duration in enumerate(FAST):
        for model in ("a", "b"):
            session.add(model, block, samples={"steady": [duration] * 4}, model_bytes=10_000, method=method)
    reference = session.runs[0]["model_sha256"]
    quality(session, "a", {}, reference_sha256=reference, method=method)
    quality(session, "b", {"sqnr_db": 15.0}, reference_sha256=reference, method=method)
    (comparison,) = compare_tables(session.tables())
    assert any("more than such rounding explains" in note for note in comparison.notes) is warned
