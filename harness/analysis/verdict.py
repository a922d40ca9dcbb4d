"""What a comparison comes to, in one sentence for each model: how fast, how large and how good next to the baseline."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.figures import Figure, Versus
from harness.analysis.grouping import Model
from harness.analysis.numbers import times
from harness.analysis.rows import Row
from harness.metrics import Metric


def verdict(models: Sequence[Model], rows: Sequence[Row]) -> dict[str, str]:
    """A sentence for each model but the first, which is the baseline, by its label, from the figures alone; none for a
    model that is compared by nothing.
    """
    sentences = {models[number].label: _sentence(number, models, rows) for number in range(1, len(models))}
    return {label: sentence for label, sentence in sentences.items() if sentence is not None}


def _sentence(number: int, models: Sequence[Model], rows: Sequence[Row]) -> str | None:
    base, model = models[0].label, models[number].label
    lead = next((text for row in rows if (text := _lead(row, number, base)) is not None), None)
    asides = [text for row in rows if (text := _aside(row, number)) is not None]
    if lead is None and not asides:
        return None
    first = f"{model} {lead}" if lead is not None else f"{model} next to {base}"
    return f"{first}{'; ' if lead is not None else ': '}{'; '.join(asides)}." if asides else f"{first}."


def _lead(row: Row, number: int, base: str) -> str | None:
    """What the model does to the baseline by this metric; None where it does not lead a verdict or has no ratio."""
    versus, phrase = row.versus[number], row.metric.lead
    if phrase is None or versus is None or versus.value is None:
        return None
    if versus.resolved is False:
        ratio, interval = times(versus.value, versus.low, versus.high)
        return f"shows no difference from {base} in {row.metric.label} ({ratio} {interval})"
    turned = phrase.worse is not None and versus.value < 1
    value, low, high = versus.value, versus.low, versus.high
    if turned:
        value, low, high = 1 / value, None if high is None else 1 / high, None if low is None else 1 / low
    ratio = " ".join(part for part in times(value, low, high) if part)
    words = (phrase.worse if turned and phrase.worse is not None else phrase.better).format(ratio)
    return f"{words} {base}{_how(row.figures[number], versus)}"


def _how(figure: Figure, versus: Versus) -> str:
    """How the figures were obtained where they were not measured, and that there is no interval where they vary."""
    facts = [figure.kind] if figure.kind != "measured" else []
    if versus.resolved is None and versus.reason is not None and not facts:
        facts.append("no interval")
    return f" ({', '.join(facts)})" if facts else ""


def _aside(row: Row, number: int) -> str | None:
    """What the model costs or loses besides; None where it is not known."""
    metric, phrase, versus, figure = row.metric, row.metric.aside, row.versus[number], row.figures[number]
    if phrase is None:
        return None
    if metric.compare is None:
        # Such a figure is itself against the reference, which has none.
        known = figure.estimate is not None and row.figures[0].estimate is None
        return phrase.better.format(_value(metric, figure)) if known else None
    if versus is None or versus.value is None or versus.resolved is False:
        return None
    if metric.compare == "difference":
        return phrase.better.format(_difference(metric, versus.value))
    if 0.995 <= versus.value < 1.005:  # it would be written as 1x
        return None
    if versus.value < 1 and phrase.worse is not None:
        return phrase.worse.format(f"{1 / versus.value:.3g}x")
    return phrase.better.format(f"{versus.value:.3g}x")


def _difference(metric: Metric, value: float) -> str:
    if value == 0:
        return "the same"
    return f"{100 * value:+.3g} percentage points" if metric.unit == "1" else f"{value:+.2g} {metric.unit}"


def _value(metric: Metric, figure: Figure) -> str:
    assert figure.estimate is not None
    value = figure.estimate.value
    return f"{value:.3g} dB" if metric.unit == "dB" else f"{100 * value:.4g} %"
