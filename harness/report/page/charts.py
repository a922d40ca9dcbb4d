"""The charts of the page: Altair makes the specifications, the browser has the data.

Colours are CSS variables of the page, so that one drawing serves light, dark and paper. Each row of data brings its
own `color` and `fill` (hollow where the figure was not measured) and, in `tip`, what hovering says.
"""

from __future__ import annotations

from typing import Any

from harness.errors import UsageError

ROW_PX = 22
TREND_PX = 200


def specs_and_bundle() -> tuple[dict[str, Any], str]:
    """Vega specifications by name, whose data are called `points`, and the JavaScript that draws them.

    Raises UsageError where Altair or vl-convert is not installed.
    """
    try:
        import altair as alt
        import vl_convert
    except ImportError as error:
        raise UsageError(
            f"The page's charts are drawn by Vega-Altair, which is not installed ({error.name} is missing).",
            "Install it with `pip install 'edge-harness[html]'`.",
        ) from error
    drawn = {"models": _models(alt), "trend": _trend(alt), "operators": _operators(alt)}
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return {name: _vega(chart) for name, chart in drawn.items()}, bundle


def _models(alt: Any) -> Any:
    """One figure of every model with its interval, from top to bottom. `zero` says whether the axis begins there."""
    rows = alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelLimit=150, domain=False, ticks=False, grid=False))
    along = alt.Scale(zero=alt.ExprRef("zero"), nice=True)
    base = alt.Chart(alt.NamedData("points"))
    figures = alt.Axis(tickCount=6)
    return (
        (
            base.mark_rule(strokeWidth=2, aria=False).encode(
                rows,
                alt.X("low:Q", scale=along, title=None, axis=figures),
                alt.X2("high:Q"),
                alt.Color("color:N", scale=None),
            )
            + base.mark_point(size=60, opacity=1, strokeWidth=2).encode(
                rows,
                alt.X("value:Q", scale=along, title=None, axis=figures),
                alt.Stroke("color:N", scale=None),
                alt.Fill("fill:N", scale=None),
                alt.Tooltip("tip:N"),
                alt.Description("tip:N"),
            )
        )
        .properties(width="container", height=alt.Step(ROW_PX))
        .add_params(alt.param("zero", value=True))
    )


def _trend(alt: Any) -> Any:
    """One figure over sessions, a line a model; it is broken where the machine or a version changed (`segment`)."""
    time = alt.X(
        "time:T",
        title=None,
        scale=alt.Scale(type="utc", padding=12),
        axis=alt.Axis(labelOverlap=True, tickCount=6, grid=False, format={"hours": "%H:%M", "minutes": "%H:%M"}),
    )
    base = alt.Chart(alt.NamedData("points"))
    color = alt.Color("color:N", scale=None)
    up = alt.Scale(zero=False, nice=True)
    return (
        base.mark_line(strokeWidth=1.5, aria=False).encode(
            time,
            alt.Y("value:Q", scale=up, title=None),
            color,
            alt.Detail("segment:N"),
            alt.StrokeOpacity("opacity:Q", scale=None),
        )
        + base.mark_rule(strokeWidth=1.5, opacity=0.6, aria=False).encode(
            time, alt.Y("low:Q", scale=up, title=None), alt.Y2("high:Q"), color
        )
        + base.mark_point(size=40, opacity=1, strokeWidth=1.5).encode(
            time,
            alt.Y("value:Q", scale=up, title=None),
            alt.Stroke("color:N", scale=None),
            alt.Fill("fill:N", scale=None),
            alt.Tooltip("tip:N"),
            alt.Description("tip:N"),
        )
    ).properties(width="container", height=TREND_PX)


def _operators(alt: Any) -> Any:
    """The share of each operator in the time of all, the longest first."""
    return (
        alt.Chart(alt.NamedData("points"))
        .mark_bar(height=12)
        .encode(
            alt.Y(
                "label:N", sort=None, title=None, axis=alt.Axis(labelLimit=190, domain=False, ticks=False, grid=False)
            ),
            alt.X("share:Q", title=None, axis=alt.Axis(format=".0%"), scale=alt.Scale(zero=True)),
            alt.Fill("color:N", scale=None),
            alt.Tooltip("tip:N"),
            alt.Description("tip:N"),
        )
        .properties(width="container", height=alt.Step(ROW_PX))
    )


def _vega(chart: Any) -> dict[str, Any]:
    """The Vega specification of an Altair chart, in the page's own colours and type."""
    text = {"labelColor": "currentColor", "labelFontSize": 12, "tickColor": "var(--line)", "domainColor": "var(--line)"}
    spec: dict[str, Any] = (
        chart.configure(background="transparent", font="system-ui, sans-serif", padding=2)
        .configure_axis(**text, gridColor="var(--line)")
        .configure_view(stroke=None)
        .to_dict(format="vega")
    )
    return spec
