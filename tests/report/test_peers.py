"""One network in several runtimes and precisions: what a row is called, and the fastest of its rounded forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report.conftest import FINGERPRINT, Session

from harness.analysis.comparison import compare_tables
from harness.analysis.grouping import models_of, run_records
from harness.analysis.peers import identity_of
from harness.analysis.spec import parse_spec, read_spec
from harness.errors import UsageError
from harness.report.paper.table import PaperTable, paper_table
from harness.report.rendering import render_paper

P50, PREFILL = "decode_latency_ns_p50", "prefill_latency_ns_p50"
BASE, INT8, Q4, SMALL = "base-6x384", "base-6x384#2", "base-6x384-q4_0", "small-6x384"
MANIFESTS: dict[str, dict[str, Any]] = {
    BASE: {"method": "baseline", "precision": "fp32"},
    INT8: {"method": "baseline", "precision": "int8"},
    SMALL: {"method": "self-compression", "precision": "int8", "parent": BASE},
}
RUNTIMES = {BASE: "executorch", INT8: "onnxruntime", Q4: "llama.cpp", SMALL: "executorch"}
# The bound of three of them: rows of their names and precisions.
BOUNDS = {"base-6x384#3": BASE, "base-6x384#4": INT8, "small-6x384#2": SMALL}


def fill(session: Session, factors: dict[str, float], prompts: dict[str, float] | None = None) -> None:
    """Five blocks; the models of a block are slow or fast together. `prompts` as `factors`, of prefill."""
    for block in range(5):
        for number, (model, factor) in enumerate(factors.items()):
            noise = 1 + 0.02 * block + 0.001 * ((block * 3 + number * 2) % 5)
            settings = json.dumps({"runtime": RUNTIMES[model]}) if model in RUNTIMES else None
            if model in BOUNDS:
                settings = json.dumps({"runtime": "bound", "yardstick": "loops for this network alone"})
            session.add(
                model,
                block,
                samples={
                    "decode": [round(1e6 * factor * noise)] * 3,
                    **({"prefill": [round(1e7 * prompts[model] * noise)] * 3} if prompts else {}),
                },
                scenario="generate",
                settings_json=settings,
                fingerprint=FINGERPRINT | {"instruction_sets": "avx2 avx_vnni"},
                **MANIFESTS.get(BOUNDS.get(model, model), {}),
            )


@pytest.fixture
def peers(session: Session) -> Session:
    fill(session, {BASE: 3.0, INT8: 0.8, Q4: 0.6, SMALL: 0.3})
    return session


def build(session: Session, **more: Any) -> PaperTable:
    given = {"columns": [P50], "rows": ["model", "runtime", "precision"], "best_rounded_peer": True} | more
    return paper_table(session.tables(), parse_spec(given, Path()))


def test_rows_are_named_by_model_runtime_and_precision(peers: Session) -> None:
    table = build(peers)
    assert [row.label for row in table.measured] == [
        "base-6x384 · executorch · fp32",
        "base-6x384 · onnxruntime · int8",
        "base-6x384 · llama.cpp · q4_0",
        "small-6x384 · executorch · int8",
        "best rounded peer: base-6x384 · llama.cpp · q4_0",
    ]
    # Of each column the best that is told apart is bold; the row of the peer is there twice and is none of its own.
    assert [row.label.split(" ")[0] for row in table.measured if row.cells[0].bold] == ["small-6x384"]
    assert table.measured[4].cells[0].value == table.measured[2].cells[0].value
    assert "avx_vnni" in " ".join(table.notes)


def test_the_claim_is_against_the_fastest_rounded_row_in_any_runtime(peers: Session) -> None:
    notes = build(peers).notes
    (said,) = (note for note in notes if note.startswith("Best rounded peer: "))
    assert said.startswith("Best rounded peer: base-6x384 · llama.cpp · q4_0, the fastest row of its network")
    assert said.endswith("faster than every other rounded row of its network.")
    (claim,) = (note for note in notes if note.startswith("Against the best rounded peer"))
    assert claim.startswith("Against the best rounded peer, base-6x384 · llama.cpp · q4_0: small-6x384 decodes 2.00x [")


def test_the_figure_that_a_peer_was_chosen_by_is_said(peers: Session) -> None:
    (said,) = (note for note in build(peers).notes if note.startswith("Best rounded peer: "))
    assert ", in any runtime, by decode latency per token p50; faster than" in said


def test_a_row_that_is_the_fastest_by_all_figures_is_one_peer(session: Session) -> None:
    factors = {BASE: 3.0, INT8: 0.8, Q4: 0.6, SMALL: 0.3}
    fill(session, factors, factors)
    table = build(session, columns=[P50, PREFILL])
    assert [row.label for row in table.measured][4:] == ["best rounded peer: base-6x384 · llama.cpp · q4_0"]
    (said,) = (note for note in table.notes if note.startswith("Best rounded peer: "))
    assert "by decode latency per token p50 and prefill latency p50; faster than" in said
    assert len([note for note in table.notes if note.startswith("Against the best rounded peer, ")]) == 1


def test_where_another_row_is_the_fastest_at_prompts_both_are_named(session: Session) -> None:
    fill(session, {BASE: 3.0, INT8: 0.8, Q4: 0.6, SMALL: 0.3}, {BASE: 3.0, INT8: 0.5, Q4: 0.9, SMALL: 0.25})
    table = build(session, columns=[P50, PREFILL, "model_bytes"])
    decode, prefill = "decode latency per token p50", "prefill latency p50"
    assert [row.label for row in table.measured][4:] == [
        f"best rounded peer by {decode}: base-6x384 · llama.cpp · q4_0",
        f"best rounded peer by {prefill}: base-6x384 · onnxruntime · int8",
    ]
    said = [note for note in table.notes if note.startswith("Best rounded peer: ")]
    assert [note.rpartition(", by ")[2].partition(";")[0] for note in said] == [decode, prefill]
    claims = [note for note in table.notes if note.startswith("Against the best rounded peer")]
    assert claims[0].startswith(
        f"Against the best rounded peer by {decode}, base-6x384 · llama.cpp · q4_0: small-6x384 decodes 2.00x ["
    )
    assert claims[1].startswith(
        f"Against the best rounded peer by {prefill}, base-6x384 · onnxruntime · int8: small-6x384 is 2.00x ["
    )
    assert claims[1].endswith(f"as fast as {INT8} by {prefill}.")
    assert len(claims) == 2
    text = render_paper(table, "markdown")
    assert f"best rounded peer by {prefill}: base" in text


def test_a_peer_is_the_best_by_a_time() -> None:
    with pytest.raises(UsageError, match="no column is a time or a rate"):
        parse_spec({"columns": ["model_bytes"], "best_rounded_peer": True}, Path())


@pytest.mark.parametrize(
    ("scenario", "phase", "shown"),
    [
        ("single-stream", "steady", "steady_latency_ns_p50"),
        ("multi-stream", "multi_stream", "multi_stream_latency_ns_p50"),
        ("offline", "batch", "samples_per_s"),
    ],
)
def test_models_that_are_no_language_models_have_the_columns_of_their_scenario(
    session: Session, scenario: str, phase: str, shown: str
) -> None:
    for block in range(5):
        for model, speed in (("cnn", 2.0), ("cnn-int8", 1.0)):
            settings = json.dumps({"runtime": "onnxruntime"})
            samples = {phase: [round(1e6 * speed * (1 + 0.01 * block))] * 12}
            session.add(model, block, scenario=scenario, samples=samples, settings_json=settings, model_bytes=1000)
    table = paper_table(session.tables(), read_spec(Path("peers.toml")))
    assert list(dict.fromkeys(column.name for column in table.columns)) == [shown, "model_bytes"]
    (said,) = (note for note in table.notes if note.startswith("Columns left out"))
    assert "(not measured in this selection): decode latency per token p50; prefill latency p50; " in said
    assert not any("peer of the compressed models" in note for note in table.notes), "there are none"
    (peer,) = (note for note in table.notes if note.startswith("Best rounded peer: "))
    assert peer.startswith("Best rounded peer: cnn · onnxruntime · int8, the fastest row")


def test_rows_that_intervals_do_not_tell_apart_are_said(session: Session) -> None:
    fill(session, {BASE: 3.0, INT8: 0.6003, Q4: 0.6, SMALL: 0.3})
    (said,) = (note for note in build(session).notes if note.startswith("Best rounded peer: "))
    assert said.endswith("no difference shows from base-6x384 · onnxruntime · int8.")


def test_without_a_rounded_row_it_says_so(session: Session) -> None:
    fill(session, {BASE: 3.0, SMALL: 0.3})
    table = build(session)
    assert len(table.measured) == 2
    assert "No row with rounded weights is a peer of the compressed models." in table.notes


def test_another_network_is_no_peer(session: Session) -> None:
    fill(session, {BASE: 3.0, "other-int8": 0.1, INT8: 0.8, SMALL: 0.3})
    (said,) = (note for note in build(session).notes if note.startswith("Best rounded peer: "))
    assert said.startswith("Best rounded peer: base-6x384 · onnxruntime · int8,")


@pytest.fixture
def bounded(session: Session) -> Session:
    """As `peers`, with bounds that are faster than all."""
    fill(session, {BASE: 3.0, INT8: 0.8, Q4: 0.6, SMALL: 0.3, **dict(zip(BOUNDS, (1.5, 0.4, 0.1), strict=True))})
    return session


def test_each_row_says_how_far_it_is_from_the_bound_of_its_weights(bounded: Session) -> None:
    table = build(bounded, columns=[{"metric": P50, "show": "value"}, {"metric": P50, "show": "of_bound"}])
    assert [(column.kind, column.word) for column in table.columns] == [("value", ""), ("of_bound", "of the bound")]
    cells = {row.label: row.cells[1] for row in table.measured}
    for label, times in (
        ("base-6x384 · executorch · fp32", 2.0),
        ("base-6x384 · onnxruntime · int8", 2.0),
        ("small-6x384 · executorch · int8", 3.0),
    ):
        cell = cells[label]
        assert cell.value == pytest.approx(times, rel=0.01)
        assert cell.low is not None
        assert cell.high is not None
        assert cell.low < times < cell.high
    (reason,) = cells["base-6x384 · llama.cpp · q4_0"].reasons
    assert reason == "the bound was not measured with these weights"
    assert all(cell.text == "" for label, cell in cells.items() if "· bound ·" in label)
    for fmt in ("latex", "markdown", "html", "csv"):
        assert "of the bound" in render_paper(table, fmt)  # type: ignore[arg-type]
    assert "how many times as long as hand-written loops took" in table.notes[0]


def test_the_bound_is_never_the_best_and_no_peer(bounded: Session) -> None:
    table = build(bounded)
    assert [row.label for row in table.measured if row.cells[0].bold] == ["small-6x384 · executorch · int8"]
    (said,) = (note for note in table.notes if note.startswith("Best rounded peer: "))
    assert said.startswith("Best rounded peer: base-6x384 · llama.cpp · q4_0,")
    assert said.endswith("faster than every other rounded row of its network.")
    assert len([note for note in table.notes if note.startswith("Against the best rounded peer")]) == 1
    assert any("are yardsticks, hand-written loops" in note for note in table.notes)


def test_without_a_bound_there_is_no_column_of_it(peers: Session) -> None:
    columns = [{"metric": P50, "show": "value"}, {"metric": P50, "show": "of_bound"}]
    assert [column.kind for column in build(peers, columns=columns).columns] == ["value"]
    assert not any("yardstick" in note for note in build(peers, columns=columns).notes)


def test_only_what_is_compared_by_a_ratio_has_a_bound() -> None:
    with pytest.raises(UsageError, match="loss_nats is not compared by a ratio"):
        parse_spec({"columns": [{"metric": "loss_nats", "show": "of_bound"}]}, Path())


def test_rows_of_one_name_keep_their_own(session: Session) -> None:
    fill(session, {BASE: 3.0, INT8: 0.8})
    table = build(session, rows=["model"], best_rounded_peer=False)
    assert [row.label for row in table.measured] == ["base-6x384 (base-6x384)", "base-6x384 (base-6x384#2)"]


@pytest.mark.parametrize(
    ("name", "columns", "network", "runtime", "precision"),
    [
        ("net-int8", {}, "net", "executorch", "int8"),
        ("net-int4-group32#3", {}, "net", "executorch", "int4-group32"),
        ("net_Q4_K_M", {}, "net", "executorch", "q4_k_m"),
        ("net.8bit", {}, "net", "executorch", "8bit"),
        ("net.int8.onnx", {}, "net", "executorch", "int8"),
        ("net", {}, "net", "executorch", "unknown"),
        ("print8", {}, "print8", "executorch", "unknown"),
        ("net-int8", {"precision": "int8-channel"}, "net", "executorch", "int8-channel"),
        ("net", {"worker": "native 0.2.0"}, "net", "executorch, native worker", "unknown"),
        ("net", {"fingerprint": {"version.torch": "2.13", "version.python": "3"}}, "net", "torch", "unknown"),
        ("net", {"fingerprint": {}}, "net", "unknown", "unknown"),
        ("net", {"settings_json": '{"runtime": "openvino"}'}, "net", "openvino", "unknown"),
    ],
)
def test_what_is_not_recorded_is_read_from_the_name_or_unknown(
    session: Session, name: str, columns: dict[str, Any], network: str, runtime: str, precision: str
) -> None:
    session.add(name, samples={"steady": [100]}, **columns)
    runs = run_records(session.tables().runs)
    (model,) = models_of(runs)
    identity = identity_of(model, runs)
    assert (identity.network, identity.runtime, identity.precision) == (network, runtime, precision)


def test_the_spec_comes_with_harness_and_every_medium_shows_it(peers: Session, tmp_path: Path) -> None:
    spec = read_spec(Path("peers.toml"))
    assert spec.best_rounded_peer
    table = paper_table(peers.tables(), spec)
    for fmt in ("latex", "markdown", "html", "csv"):
        assert "best rounded peer" in render_paper(table, fmt)  # type: ignore[arg-type]
    own = tmp_path / "peers.toml"
    own.write_text('columns = ["model_bytes"]\n')
    assert not read_spec(own).best_rounded_peer


def test_a_row_is_named_by_what_there_is() -> None:
    with pytest.raises(UsageError, match="'colour'"):
        parse_spec({"rows": ["colour"]}, Path())


def test_labels_of_the_comparison_stay_those_of_the_models(peers: Session) -> None:
    (comparison,) = compare_tables(peers.tables())
    assert [model.label for model in comparison.models] == [BASE, INT8, Q4, SMALL]


def test_a_figure_has_one_mark_for_each_runtime(peers: Session, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from harness.metrics import METRICS
    from harness.report.figures import pareto
    from harness.report.figures.captions import points_caption, points_json
    from harness.report.figures.panels import panels_of
    from harness.report.figures.points import points_of

    for model, loss in ((BASE, 1.45), (INT8, 1.451), (Q4, 1.46), (SMALL, 1.47)):
        data = {"data": "text", "data_sha256": "0" * 64}
        peers.add(model, measure="quality", scalars={"loss_nats": loss}, scenario="generate", **data)
    (panel,), _ = panels_of(peers.tables())
    cost, quality = METRICS[P50], METRICS["loss_nats"]
    points, absent = points_of(panel, cost, quality, "runtime")
    assert [point.group for point in points] == ["executorch", "onnxruntime", "llama.cpp", "executorch"]
    caption = "\n".join(points_caption([(panel, points, absent)], cost, quality))
    assert "Marks: circle executorch; square onnxruntime; triangle llama.cpp." in caption
    assert [point["group"] for point in points_json(points, cost, quality)][2] == "llama.cpp"
    drawn = pareto.draw([panel], [points], cost, quality)
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["executorch", "onnxruntime", "llama.cpp"]
    markers = [line.get_marker() for line in drawn.axes[0].get_lines() if line.get_marker() in "os^"]
    assert markers == ["o", "s", "^", "o"]
    alike, _ = points_of(panel, cost, quality)
    assert {point.group for point in alike} == {""}
    assert not pareto.draw([panel], [alike], cost, quality).legends
