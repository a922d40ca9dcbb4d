"""The page put together: one HTML file with its data, its style and its scripts inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from harness.analysis.figures import plural
from harness.report.page.charts import specs_and_bundle
from harness.report.page.data import page_data

_FOLDER = Path(__file__).parent
# In the order in which they need one another.
_SCRIPTS = ("widgets", "shared", "comparisons", "trends", "models", "runs", "page")


def render_page(
    results: Path, session: str = "all", *, baseline: str | None = None, allow_different: bool = False
) -> str:
    """A folder of results as one HTML page that loads nothing, the same for the same rows.

    Arguments and errors as in `page_data`; UsageError where what draws the charts is not installed.
    """
    data = page_data(results, session, baseline=baseline, allow_different=allow_different)
    return assemble(data, *specs_and_bundle())


def assemble(data: Mapping[str, Any], specs: Mapping[str, Any], bundle: str) -> str:
    """`data` as of `page_data`, the Vega specifications by name, and the JavaScript that draws them."""
    jinja = Environment(loader=FileSystemLoader(_FOLDER, encoding="utf-8"), autoescape=True)
    # ASCII, with <, >, & and ' written as \u003c and so on: no name can end the script element that it stands in.
    jinja.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    script = "".join(_read(f"{name}.js") for name in _SCRIPTS)
    return jinja.get_template("template.html").render(
        title="harness report",
        summary=_summary(data),
        problems=data["problems"],
        data=data,
        specs=specs,
        style=Markup(_read("page.css")),
        bundle=Markup(bundle),
        script=Markup(script),
        script_hashes=" ".join(_hash(text) for text in (bundle, script)),
    )


def _summary(data: Mapping[str, Any]) -> str:
    runs, models = data["runs"], data["models"]
    days = sorted({run["started"][:10] for run in runs})
    return " · ".join(
        (
            f"{len(runs):,} run{'' if len(runs) == 1 else 's'}",
            plural(len({(model["name"], model["sha256"]) for model in models}), "model"),
            plural(len({run["session"] for run in runs}), "session"),
            ", ".join(dict.fromkeys(model["target"] for model in models)),
            days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
        )
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """How a content security policy names an inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
