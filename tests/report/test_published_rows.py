"""Other people's figures in a table: with their source, in a column's unit, or not at all."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.published_figures import read_published
from harness.analysis.spec import PublishedSpec
from harness.errors import UsageError
from harness.report.paper.cells import comparator, published_text

FOLDER = Path(__file__).parents[2] / "results" / "published"
HEADER = (
    "paper,authors_year,source,where,model,method,configuration,dataset,device,"
    "metric,value,value_high,qualifier,unit,baseline,kind,document,line,note\n"
)


def row(source: str = "arXiv:1", configuration: str = "", **figure: str) -> str:
    given = {"metric": "model_size", "value": "16", "value_high": "", "qualifier": "", "unit": "GB", **figure}
    told = ",".join(given[name] for name in ("metric", "value", "value_high", "qualifier", "unit"))
    return f"Paper,Ours 2024,{source},table 1,GPT,pruned,{configuration},WikiText2,Phone,{told},,measured,x.txt,1,\n"


@pytest.fixture
def spec(tmp_path: Path) -> Any:
    def make(*rows: str, columns: dict[str, str] | None = None, header: str = HEADER, **more: Any) -> PublishedSpec:
        path = tmp_path / "paper.csv"
        path.write_text(header + "".join(rows), encoding="utf-8")
        return PublishedSpec(path, more.get("where", {}), columns or {"model_bytes": "model_size"}, more.get("name"))

    return make


def test_a_figure_with_all_that_is_known_of_it() -> None:
    path = FOLDER / "self_compression.csv"
    wanted = PublishedSpec(path, {"configuration": "end of training"}, {"bits_per_weight": "bits_per_weight"}, None)
    (found,), notes = read_published([wanted])
    assert notes == []
    assert found.name == "nanoGPT, self-compression, end of training"
    for word in ("Przybyl", "Self-compression article", "https://", "weights after compression", "shakespeare_char"):
        assert word in found.source
    figure = found.figures["bits_per_weight"]
    assert (figure.value, figure.high, figure.kind, figure.ratio) == (Decimal("0.55"), None, "measured", False)
    assert (comparator(figure), published_text(figure, 1.0)) == ("≈", "0.55")


@pytest.mark.parametrize(
    ("value", "unit", "metric", "divisor", "shown"),
    [
        ("16", "GB", "model_bytes", 1e6, "16000"),
        ("0.160", "s", "ttft_ns_p50", 1e6, "160"),
        ("5.90", "ms", "ttft_ns_p50", 1e6, "5.90"),
        ("12884.5", "MiB", "peak_rss_bytes", 1e9, "13.5104"),
        ("6.74", "billion", "parameters", 1, "6740000000"),
        ("0", "GB", "model_bytes", 1e6, "0"),
        ("3.2e3", "ms", "ttft_ns_p50", 1e9, "3.2"),
    ],
)
def test_in_the_unit_of_the_column_with_no_digit_more(
    spec: Any, value: str, unit: str, metric: str, divisor: float, shown: str
) -> None:
    (found,), _ = read_published([spec(row(value=value, unit=unit), columns={metric: "model_size"})])
    assert published_text(found.figures[metric], divisor) == shown


def test_a_range_and_a_ratio(spec: Any) -> None:
    asked = spec(row(value="2", value_high="3", unit="x", qualifier="up_to"))
    figure = read_published([asked])[0][0].figures["model_bytes"]
    assert figure.ratio
    assert (published_text(figure, 1.0), comparator(figure)) == ("2–3", "≤")


def test_rows_by_configuration_or_one_row_of_a_name(spec: Any) -> None:
    rows = (row(configuration="8 bit"), row(configuration="4 bit", value="8"))
    found, _ = read_published([spec(*rows)])
    assert [one.name for one in found] == ["GPT, pruned, 8 bit", "GPT, pruned, 4 bit"]
    (one,), _ = read_published([spec(*rows, where={"configuration": "4 bit"}, name="theirs")])
    assert (one.name, one.figures["model_bytes"].value) == ("theirs", 8 * 10**9)


def test_without_a_source_or_a_number_it_is_left_out_and_the_rest_is_shown(spec: Any) -> None:
    found, notes = read_published([spec(row(source=""), row(value="many"), row(configuration="kept"))])
    assert [one.name for one in found] == ["GPT, pruned, kept"]
    assert notes == [
        "1 figure of paper.csv left out: no source is given.",
        "1 figure of paper.csv left out: no number is given.",
    ]
    bare = "metric,value,unit\nmodel_size,16,GB\n"
    found, notes = read_published([spec(header=bare)])
    assert (found, len(notes)) == ([], 1)


@pytest.mark.parametrize(
    ("rows", "more", "words"),
    [
        ([row(), row()], {}, "2 figures for model_size"),
        ([row(unit="%")], {}, "'%'"),
        ([row(metric="bleu")], {}, "no figure for model_size"),
        ([row()], {"where": {"method": "dense"}}, "no figure for method 'dense'"),
        ([row()], {"where": {"methods": "dense"}}, "no column 'methods'"),
        (["a,b\n" * 2, '"'], {"header": ""}, "is not a CSV file"),
        ([], {"header": ""}, "is not a CSV file"),
        (["a\n"], {"header": "metric,value\n"}, "no column 'unit'"),
    ],
)
def test_each_mistake_is_a_sentence(spec: Any, rows: list[str], more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read_published([spec(*rows, **more)])
    assert caught.value.hint.endswith(".")


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_published([PublishedSpec(tmp_path / "absent.csv", {}, {"model_bytes": "model_size"}, None)])
