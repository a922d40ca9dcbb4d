"""What a work claims of its method, next to the rows of that method: one figure each, with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report.conftest import Session

from harness.analysis.published_figures import read_claims
from harness.analysis.spec import parse_spec, read_spec
from harness.errors import UsageError
from harness.report.paper.table import paper_table
from harness.report.rendering import render_paper

CSV = """paper,source,where,model,method,metric,value,value_high,qualifier,unit,kind
Small,arXiv:1234.56789,abstract,net,tiny,speedup,2.5,,up_to,x,ratio
Small,arXiv:1234.56789,abstract,net,tiny,quality_kept,98,99,about,%,ratio
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.csv").write_text(CSV)
    return tmp_path


def claim(**changes: Any) -> dict[str, Any]:
    return {"method": "gptq", "file": "small.csv", "where": {"metric": "speedup"}} | changes


def test_a_claim_is_a_figure_in_a_few_words_with_its_source(folder: Path) -> None:
    spec = parse_spec({"claims": [claim(), claim(method="awq", where={"metric": "quality_kept"})]}, folder)
    claims = read_claims(spec.claims)
    assert claims["gptq"].text == "speedup up to 2.5×; net, tiny"
    assert claims["awq"].text == "quality kept about 98–99 %; net, tiny"
    assert claims["gptq"].source == "Small, arXiv:1234.56789, abstract"


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ([claim(where={})], "no where"),
        ([{"method": "gptq"}], "no file"),
        ([claim(colour="red")], "colour"),
        ([claim(file="none.csv")], "none.csv"),
        ([claim(where={"metric": 3})], "not text"),
        ([claim(where={"method": "tiny"})], "2 figures"),
        ([claim(where={"method": "nobody"})], "no figures"),
        ([claim(where={"hue": "red"})], "hue"),
        ([claim(), claim()], "Two"),
    ],
)
def test_what_is_no_claim_is_refused(folder: Path, claims: list[Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_claims(parse_spec({"claims": claims}, folder).claims)


def test_the_claims_of_the_zoo_are_found() -> None:
    assert "gptq" in read_claims(read_spec(Path("zoo.toml")).claims)


def test_it_is_on_the_first_row_of_its_method_in_every_medium(session: Session, folder: Path) -> None:
    for model, method in (("base", "baseline"), ("four", "gptq"), ("three", "gptq")):
        session.add(model, samples={"steady": [100]}, method=method, model_bytes=9)
    spec = parse_spec({"columns": ["model_bytes"], "claims": [claim()]}, folder)
    table = paper_table(session.tables(), spec, claims=read_claims(spec.claims))
    assert [row.cells[-1].text for row in table.rows] == ["", "speedup up to 2.5×; net, tiny", ""]
    assert [len(row.cells[-1].reasons) for row in table.rows] == [0, 1, 1]
    for fmt in ("latex", "markdown", "html", "csv"):
        text = render_paper(table, fmt)  # type: ignore[arg-type]
        assert "net, tiny" in text
        assert "1234.56789" in text
