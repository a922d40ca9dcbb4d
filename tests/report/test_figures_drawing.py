"""What is drawn is what was measured; and the files are the same twice, whatever the models are called."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from harness.errors import NothingComparable, UsageError
from harness.metrics import CATALOGUE
from harness.report.figures import distribution, pareto
from harness.report.figures.captions import latencies_caption, points_caption
from harness.report.figures.labels import Label, place
from harness.report.figures.latencies import SHARES, Latencies, choose_phase, label_of, latencies_of
from harness.report.figures.panels import MOST, Panel, panels_of
from harness.report.figures.points import points_of
from harness.report.figures.style import SERIES, drawing, file_bytes, fit, shown

METRICS = {metric.name: metric for metric in CATALOGUE}
LATENCY, LOSS = METRICS["decode_latency_ns_p50"], METRICS["loss_nats"]
MAGIC = {"pdf": b"%PDF-", "svg": b"<?xml", "png": b"\x89PNG\r\n"}
SAME = {"scenario": "generate", "prompt_tokens": 64, "new_tokens": 32, "threads": 2, "cpus": "2,3"}  # as `generated`
HOSTILE = ("$\\frac{x$", "漢字 <script>&amp;</script>", "a\x1b[31m\nb", "L" * 300, "L" * 299 + "M")


def draw_pareto(session: Any) -> Figure:
    panels, _ = panels_of(session.tables())
    return pareto.draw(panels, [points_of(panel, LATENCY, LOSS)[0] for panel in panels], LATENCY, LOSS)


def draw_distribution(session: Any, phase: str = "decode") -> Figure:
    panels, _ = panels_of(session.tables())
    return distribution.draw(panels, [latencies_of(panel, phase)[0] for panel in panels], label_of(phase))


def decode_of(session: Any) -> tuple[Panel, list[Latencies]]:
    (panel,), _ = panels_of(session.tables())
    return panel, latencies_of(panel, "decode")[0]


def marks(figure: Figure) -> list[list[float]]:
    """Where the first axes have a marker with intervals: [x, y] each."""
    bars = [found for found in figure.axes[0].containers if isinstance(found, ErrorbarContainer)]
    return [np.array(found.lines[0].get_xydata()).ravel().tolist() for found in bars]


def texts(figure: Figure) -> str:
    return " | ".join(found.get_text() for found in figure.findobj(matplotlib.text.Text))


def test_points_stand_where_the_table_says(generated: Any) -> None:
    (panel,), _ = panels_of(generated.tables())
    rows = {row.metric: row.figures for row in panel.comparison.rows}
    expected = [
        [latency.estimate.value / 1e6, loss.estimate.value]
        for latency, loss in zip(rows[LATENCY], rows[LOSS], strict=True)
        if latency.estimate and loss.estimate
    ]
    figure = draw_pareto(generated)
    assert np.allclose(marks(figure), expected)
    for words in (
        "gpt-fp32",
        "gpt-4bit (recorded loss per token)",
        "decode latency per token p50 (ms)",
        "loss per token (nats)",
    ):
        assert words in texts(figure)
    assert "↙ better" in texts(figure)


def test_a_figure_of_nothing_but_estimates_says_so_on_its_axis(generated: Any) -> None:
    for run in generated.runs:
        run["latency_kind"] = "estimated"
    assert "decode latency per token p50, estimated (ms)" in texts(draw_pareto(generated))
    assert "decode latency per token, estimated (ms)" in texts(draw_distribution(generated))


def test_ratios_have_a_logarithmic_axis_where_they_are_large() -> None:
    axes = Figure().subplots()
    fit(axes, "x", 10, 19, ratios=True)
    fit(axes, "y", 10, 1000, ratios=False)
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    for low, high in ((1, 2), (5.01, 10.1), (2.9, 6.1), (1, 11), (3, 240), (7, 7e5)):
        fit(axes, "x", low, high, ratios=True)
        left, right = axes.get_xlim()
        assert axes.get_xscale() == "log"
        assert left < low < high < right
        assert sum(left <= tick <= right for tick in axes.get_xticks()) >= 2


def test_marks_of_a_distribution_are_the_figures_of_the_table(generated: Any) -> None:
    panel, found = decode_of(generated)
    rows = {row.metric.name: row.figures for row in panel.comparison.rows}
    for number, latencies in enumerate(found):
        for mark, estimate in latencies.marks().items():
            figure = rows[f"decode_latency_ns_p{mark}"][number].estimate
            assert figure is not None
            assert (estimate.value, estimate.low) == pytest.approx((figure.value, figure.low), rel=1e-12)
        assert list(latencies.marks()) == [50, 90, 99]
    expected = [[estimate.value / 1e6, mark] for mark, estimate in found[0].marks().items()]
    assert np.allclose(marks(draw_distribution(generated))[:3], expected)


def test_warm_ups_and_processes_that_failed_are_not_drawn(generated: Any) -> None:
    _, before = decode_of(generated)
    generated.add("gpt-fp32", 7, status="failed", samples={"decode": [1] * 300}, **SAME)
    for sample in generated.samples:
        if sample["phase"] == "warmup":
            sample["duration_ns"] = 1
    _, after = decode_of(generated)
    assert [latencies.warm_ups for latencies in after] == [(4,) * 5] * 2
    assert [latencies.samples for latencies in after] == [(22 * 31,) * 5] * 2
    for first, second in zip(before, after, strict=True):
        assert (first.curves == second.curves).all()


def test_processes_are_not_pooled(session: Any) -> None:
    session.add("m", 0, samples={"steady": [100] * 1000})
    session.add("m", 1, samples={"steady": [400] * 80})
    (panel,), _ = panels_of(session.tables())
    ((found,), _) = latencies_of(panel, "steady")
    assert found.curves.shape == (2, len(SHARES))
    assert found.means() == pytest.approx(np.full(len(SHARES), 200.0))
    assert list(found.marks()) == [50, 90]  # eighty samples are enough for p90, but not for p99
    assert (found.marks()[50].low, found.marks()[50].high) == (None, None)
    told = " ".join(latencies_caption([(panel, [found], {})], "latency"))
    assert "m: 2 processes, 80 to 1,000 samples each, after 0 warm-up queries" in told
    assert "p99 of m is not marked: it takes 662 samples per process, and one had 80" in told
    assert "m has no intervals (2 processes, and it takes 3: `--processes 5`)." in told


def test_phases_are_chosen_by_name_or_as_usual(generated: Any, session: Any) -> None:
    panels, _ = panels_of(generated.tables())
    assert choose_phase(None, panels) == "decode"
    assert choose_phase("ttft", panels) == "ttft"
    assert (label_of("ttft"), label_of("steady")) == ("time to first token", "latency")
    with pytest.raises(UsageError, match=r"No phase 'warmup' was measured here.*decode, generate, prefill, ttft"):
        choose_phase("warmup", panels)
    session.add("a", latency_kind=None, samples={"steady": [100]})
    with pytest.raises(NothingComparable, match="No latency was measured here"):
        choose_phase(None, panels_of(session.tables())[0])


def test_conditions_have_panels_and_too_many_are_refused(session: Any) -> None:
    for threads in (1, 2):
        session.add("a", threads=threads, samples={"steady": [100 * threads]})
    session.add("a", target="phone", samples={"steady": [700]})
    session.add("b", target="broken", status="failed", error_kind="crashed", error_message="It died.")
    panels, left_out = panels_of(session.tables())
    assert [panel.title for panel in panels] == ["x86, 1 thread", "x86, 2 threads", "phone, 1 thread"]
    (sentence,) = left_out
    assert sentence.startswith("Not shown: broken, 1 thread: No process succeeded")
    assert len(draw_distribution(session, "steady").axes) == 6
    assert [panel.title for panel in panels_of(session.tables(), target="phone")[0]] == [""]
    with pytest.raises(UsageError, match=r"'moon'.*broken, phone, x86"):
        panels_of(session.tables(), target="moon")
    with pytest.raises(NothingComparable, match="None of a was measured on broken"):
        panels_of(session.tables(), models=["a"], target="broken")
    with pytest.raises(NothingComparable, match="It died"):
        panels_of(session.tables(), models=["b"])
    for batch in range(2, MOST + 2):
        session.add("a", batch=batch, samples={"steady": [100]})
    with pytest.raises(UsageError, match=f"shows {MOST} at most"):
        panels_of(session.tables())


def test_more_models_than_can_be_told_apart_are_refused(session: Any) -> None:
    for number in range(len(SERIES) + 1):
        session.add(f"m{number}", samples={"steady": [100]})
    with pytest.raises(UsageError, match="7 models have latencies, and a figure can tell 6 apart"):
        draw_distribution(session, "steady")


@pytest.mark.parametrize("draw", [draw_pareto, draw_distribution])
def test_files_are_of_their_format_and_the_same_twice(generated: Any, draw: Any) -> None:
    caption = ["A title", "and more"]
    first = {fmt: file_bytes(draw(generated), fmt, caption) for fmt in MAGIC}
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None, "svg.fonttype": "path"}):
        second = {fmt: file_bytes(draw(generated), fmt, caption) for fmt in reversed(MAGIC)}
        assert matplotlib.rcParams["font.size"] == 20
    assert first == second
    for fmt, magic in MAGIC.items():
        assert first[fmt].startswith(magic)
    assert all(words in first["svg"].decode() for words in ("gpt-fp32", "A title", "and more", "session 20261122"))
    assert b"CreationDate" not in first["pdf"]


@pytest.mark.parametrize("draw", [draw_pareto, draw_distribution])
def test_names_are_written_as_they_are_or_so_that_they_can_be_read(session: Any, draw: Any) -> None:
    for number, name in enumerate(HOSTILE):
        session.add(name, samples={"decode": [1000 + number]}, scenario="generate")
        session.add(name, measure="quality", scalars={"loss_nats": 1.0 + number}, scenario="generate")
    svg = file_bytes(draw(session), "svg", ["t"])
    written = [text.text or "" for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert HOSTILE[0] in written
    assert any(text.startswith("a\\x1b[31m\\nb") for text in written)
    assert any(text.startswith("\\u6f22") for text in written)
    assert len({text for text in written if text.startswith("LLL")}) == 2
    for fmt in ("pdf", "png"):
        assert file_bytes(draw(session), fmt, ["t"]).startswith(MAGIC[fmt])


def test_shortened_names_stay_different() -> None:
    alike = ["x" * 40 + "a" + "y" * 40, "x" * 40 + "b" + "y" * 40, "z"]
    found = shown(alike)
    assert len(set(found)) == 3
    assert all(len(name) < 40 for name in found)
    assert found[2] == "z"


def test_labels_overlap_neither_each_other_nor_what_they_name() -> None:
    with drawing():
        figure = Figure(figsize=(3.3, 2.3))
        axes = figure.subplots()
        axes.set(xlim=(0, 10), ylim=(0, 10))
        figure.draw_without_rendering()
        where = [(5.0, 5.0), (5.2, 5.1), (9.9, 5.0), (0.1, 0.1)]
        pixels = axes.transData.transform(where)
        markers = np.hstack([pixels - 6, pixels + 6])
        place(axes, [Label(f"model {number}", at, "black") for number, at in enumerate(where)], markers)
        boxes = [note.get_window_extent().padded(-1) for note in axes.texts]
    assert len(boxes) == 4
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert axes.bbox.padded(1).containsx(box.x0)
        assert axes.bbox.padded(1).containsx(box.x1)


def test_the_caption_says_how_it_was_obtained_and_what_is_missing(generated: Any) -> None:
    generated.add("gpt-2bit", status="failed", **SAME)
    (panel,), _ = panels_of(generated.tables())
    points, absent = points_of(panel, LATENCY, LOSS)
    told = points_caption([(panel, points, absent)], LATENCY, LOSS)
    assert told[0].startswith("Loss per token, against decode latency per token p50")
    text = "\n".join(told)
    for words in ("x86 · cpu · generate", "5 interleaved processes", "executorch 1.5.0", "(0123456789ab)"):
        assert words in text
    assert "Squares: recorded figures" in text
    assert "Not shown: gpt-2bit: no decode latency" in text
    assert "Hollow" not in text
