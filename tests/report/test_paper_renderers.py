"""Tables for papers as they are printed: the same bytes every time, no name that is markup, LaTeX that compiles."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.published_figures import read_published
from harness.analysis.spec import parse_spec
from harness.report.paper.latex_text import escape
from harness.report.paper.table import PaperTable, paper_table
from harness.report.rendering import PAPER_FORMATS, render_paper

GOLDEN = Path(__file__).with_name("paper.tex")
PUBLISHED = Path(__file__).parents[2] / "results" / "published"
HOSTILE = (
    "a_b%$#&{}~^\\input{x}",
    "[2pt]*y*`z` <script>alert(1)</script>|\x1b[2J\u202e\n--q",
    "模型 Cséfalvay µ \"ñ\" 🙂 ?` ,,''",
    "a-name-that-is-rather-long-and-has-no-space-in-it-anywhere",
)
SPEC: dict[str, Any] = {
    "title": "Two models",
    "caption": "At 100 % of the _clock_",
    "label": "tab:two",
    "columns": [
        {"metric": "decode_latency_ns_p50", "header": "decode latency, p50"},
        {"metric": "peak_over_idle_bytes", "show": "value"},
        {"metric": "bits_per_weight", "header": "bits per weight", "show": "value"},
        {"metric": "loss_nats", "show": "both"},
        "sqnr_db",
    ],
    "published": [
        {
            "file": "self_compression.csv",
            "where": {"configuration": "end of training"},
            "columns": {"bits_per_weight": "bits_per_weight"},
        }
    ],
}


def build(tables: Any, spec: dict[str, Any]) -> PaperTable:
    wanted = parse_spec(spec, PUBLISHED)
    return paper_table(tables, wanted, *read_published(wanted.published))


@pytest.fixture
def hostile(session: Any) -> Any:
    for block in range(3):
        for number, model in enumerate(HOSTILE):
            session.add(model, block, samples={"steady": [1000 * (number + 1) + block]}, model_bytes=1000 + number)
    return session


def test_latex_is_as_it_was_looked_at(generated: Any) -> None:
    assert render_paper(build(generated.tables(), SPEC), "latex") == GOLDEN.read_text(encoding="utf-8")


def test_the_same_rows_give_the_same_bytes_in_any_order(generated: Any) -> None:
    tables = generated.tables()
    shuffled = type(tables)(
        *(frame.sample(frac=1, random_state=1) for frame in (tables.runs, tables.samples, tables.scalars))
    )
    first, second = build(tables, SPEC), build(shuffled, SPEC)
    for fmt in PAPER_FORMATS:
        text = render_paper(first, fmt)
        assert text == render_paper(second, fmt)
        assert text.endswith("\n")


def test_every_format_shows_every_figure(generated: Any) -> None:
    table = build(generated.tables(), SPEC)
    for fmt in ("latex", "markdown", "html"):
        text = render_paper(table, fmt)
        for row in table.rows:
            for cell in row.cells:
                assert cell.text in text or cell.text == "–"
                assert all(end in text for end in cell.interval or ())
        assert text.count("not measured here") == 2  # what was recorded, and what was published


def test_markdown_is_one_table_whatever_the_names(hostile: Any) -> None:
    text = render_paper(build(hostile.tables(), {}), "markdown")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(HOSTILE)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    assert "<" not in text
    assert "\x1b" not in text


def test_markdown_marks_the_best_the_unsure_and_the_published(generated: Any, session: Any) -> None:
    lines = render_paper(build(generated.tables(), SPEC), "markdown").splitlines()
    assert any(line.startswith("| gpt-4bit | **1.128** [1.084, 1.173] | **1.85×** [1.79, 1.91]") for line in lines)
    assert any("1.4912†" in line for line in lines)
    assert any(line.startswith("| *Published: other devices") for line in lines)
    assert any(
        line.startswith("| nanoGPT, self-compression, end of training") and "| ≈0.55 |" in line for line in lines
    )
    for block, (a, b) in enumerate(((1000, 1010), (1010, 990), (990, 1000), (1000, 1020), (1020, 1000))):
        session.add("a", block, samples={"steady": [a]})
        session.add("b", block, samples={"steady": [b]})
    assert "| 1.00× n.s. [0.96, 1.04] |" in render_paper(build(session.tables(), {}), "markdown")


class _Text(HTMLParser):
    """Elements that were opened and not closed, and the text in cells of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.heads: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)
        if tag == "th":
            self.heads.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "th" in self.open:
            self.heads[-1] += data


def test_html_is_well_formed_and_no_name_is_an_element(hostile: Any) -> None:
    parser = _Text()
    parser.feed(render_paper(build(hostile.tables(), {"label": "tab:x"}), "html"))
    assert parser.open == []
    assert "script" not in parser.seen
    assert f"{HOSTILE[0]} (baseline)" in parser.heads
    assert any("<script>alert(1)</script>" in head for head in parser.heads)


def test_csv_has_full_precision_and_says_what_was_published(generated: Any, hostile: Any) -> None:
    table = build(generated.tables(), SPEC)
    rows = list(csv.DictReader(io.StringIO(render_paper(table, "csv"))))
    measured = [row for row in rows if row["block"] == "measured"]
    found = {(row["model"], row["metric"], row["shown"]): row for row in measured}
    decode = found["gpt-4bit", "decode_latency_ns_p50", "value"]
    assert float(decode["value"]) == table.measured[1].cells[0].value
    assert (decode["unit"], decode["threads"], decode["processes"], decode["best"]) == ("ns", "2", "5", "True")
    assert found["gpt-4bit", "decode_latency_ns_p50", "ratio"]["resolved"] == "True"
    assert found["gpt-4bit", "loss_nats", "value"]["kind"] == "recorded"
    assert found["gpt-fp32", "sqnr_db", "value"]["value"] == ""
    assert found["gpt-fp32", "sqnr_db", "value"]["reason"] == "not measured in this selection"
    (theirs,) = [row for row in rows if row["block"] == "published"]
    assert (theirs["value"], theirs["qualifier"], theirs["target"], theirs["best"]) == ("0.55", "≈", "", "")
    assert "Przybyl" in theirs["source"]
    names = {row["model"] for row in csv.DictReader(io.StringIO(render_paper(build(hostile.tables(), {}), "csv")))}
    assert names == set(HOSTILE)


@given(st.text())
def test_no_text_is_a_command_in_latex(text: str) -> None:
    shown = escape(text)
    assert shown.isascii()
    assert shown.isprintable()
    # What is left without our own commands and escaped signs has none of LaTeX's special characters.
    ours = r"\\[A-Za-z]+\{\}|\\ensuremath\{\\[a-z]+\}|\\[`'^~=.\"ruHvc]\{[A-Za-z]\}|\\[{}$&#_%]|\{[][*]?\}"
    bare = re.sub(ours, "", shown)
    assert not re.search(r"[\\{}$&#_%~^`<>|\"\[\]*]", bare)
    assert "--" not in bare.replace("-{}-", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("--- ''", "-{}-{}- '{}'"),
        ("Cséfalvay ł µs", r"Cs\'{e}falvay \l{} \textmu{}s"),
        ("模\x1b", r"U+6A21\textbackslash{}x1b"),
        ("a\nb", "a b"),
    ],
)
def test_text_in_latex(text: str, shown: str) -> None:
    assert escape(text) == shown


# More columns than fit across a page.
WIDE = ("p50", "p90", "p99")


def _why_not() -> str:
    if shutil.which("pdflatex") is None or shutil.which("pdftotext") is None:
        return "needs pdflatex and pdftotext (Debian: texlive-latex-recommended, texlive-science, poppler-utils)"
    found = subprocess.run(["kpsewhich", "booktabs.sty", "siunitx.sty"], capture_output=True, text=True, check=False)
    return "" if found.stdout.count(".sty") == 2 else "needs booktabs and siunitx (Debian: texlive-science)"


@pytest.mark.skipif(bool(_why_not()), reason=_why_not())
def test_every_table_compiles_and_shows_what_it_says(
    generated: Any, hostile: Any, make_session: Any, tmp_path: Path
) -> None:
    several = make_session("several")
    for target, kind in (("x86", "measured"), ("arm64", "emulated")):
        for block in range(3):
            for number, model in enumerate(("one", "two", "three")):
                durations = [1_000_000 * (number + 1) + 7000 * block] * 700
                several.add(model, block, target=target, latency_kind=kind, samples={"steady": durations})
    for model, loss in (("one", 1.5), ("two", 1.4), ("three", 1.6)):
        several.add(model, measure="quality", data="text", data_sha256="0" * 64, scalars={"loss_nats": loss})
    made = [
        build(generated.tables(), SPEC),
        build(generated.tables(), {}),
        build(hostile.tables(), {}),
        build(several.tables(), {"columns": ["steady_latency_ns_p50", {"metric": "loss_nats", "show": "both"}]}),
        build(several.tables(), {"models": ["one"], "columns": ["steady_latency_ns_p99"]}),
        build(several.tables(), {"columns": [{"metric": f"steady_latency_ns_{p}", "show": "both"} for p in WIDE]}),
    ]
    packages = r"\documentclass{article}\usepackage{booktabs,graphicx,siunitx}\begin{document}"
    text = "\\clearpage\n".join(render_paper(table, "latex") for table in made)
    (tmp_path / "t.tex").write_text(f"{packages}\n{text}\\end{{document}}\n", encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stdout[-3000:]
    log = (tmp_path / "t.log").read_text(encoding="latin-1")
    assert "Missing character" not in log
    assert "Overfull" not in log
    assert "Warning: Reference" not in log
    subprocess.run(["pdftotext", "-layout", "t.pdf"], cwd=tmp_path, check=True, timeout=60)
    shown = (tmp_path / "t.txt").read_text(encoding="utf-8")
    # The words that survive the fonts of a bare document: its signs have no names there.
    for word in ("1.128", "[1.084, 1.173]", "+0.1000", "0.55", "geometric mean", "Published: other devices"):
        assert word in shown, word
    for word in ("#&{}", "\\input{x}", "[2pt]", "<script>alert(1)</script>", "--q", "U+6A21U+578B"):
        assert word in shown, word
