"""A comparison laid out as a table for people: sections, units, footnotes, and a caption that says how it was
obtained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.analysis.comparison import Comparison
from harness.analysis.figures import Figure, Versus, missing_interval
from harness.analysis.grouping import RUNTIME, RUNTIME_SETTING
from harness.analysis.numbers import decimals, quantity, scale, signed, times
from harness.analysis.rows import Row
from harness.conditions.fields import CAPTION, LISTED, Condition
from harness.metrics import SECTIONS, Metric
from harness.report.shared_lines import with_one_head
from harness.report.table import SUPERSCRIPT, Cell, Section, Table


@dataclass
class Footnotes:
    """Reasons, numbered in order of first appearance."""

    numbers: dict[str, int] = field(default_factory=dict)

    def mark(self, reason: str) -> str:
        return _raised(self.numbers.setdefault(reason, len(self.numbers) + 1))

    def lines(self) -> list[str]:
        return [f"{_raised(number)} {reason}" for reason, number in self.numbers.items()]


def _raised(number: int) -> str:
    return "".join(SUPERSCRIPT[int(digit)] for digit in str(number))


def comparison_table(comparison: Comparison) -> Table:
    """The comparison for people: sections by kind of metric, models from left to right, each beside its ratio
    to the first.
    """
    footnotes = Footnotes()
    sections = []
    for name in SECTIONS:
        rows = [row for row in comparison.rows if row.metric.section == name and row.shown]
        if rows:
            sections.append(Section(rule(name, rows), tuple(cells_of(row, [row], footnotes) for row in rows)))
    return Table(
        title_of(comparison.condition),
        headings(comparison),
        tuple(sections),
        tuple(caption(comparison)),
        (*footnotes.lines(), *with_one_head(comparison.notes), *comparison.not_shown),
        pinned=2,
        together=2,
        verdict=tuple(comparison.verdict.values()),
    )


def headings(comparison: Comparison) -> tuple[str, ...]:
    """Of the columns: the baseline, then every other model with what compares it."""
    base, *others = comparison.models
    columns = ["", f"{base.label} (baseline)" if others else base.label]
    for model in others:
        columns += [model.label, "vs baseline"]
    return tuple(columns)


def rule(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """The heading of rows that belong together: their name, and over each comparison what it is called."""
    word = next((row.metric.comparison_word for row in rows if any(row.versus)), "")
    return (name, "", *(("", word) * (len(rows[0].figures) - 1)))


def _untimed(comparison: Comparison) -> str:
    """What an emulator gives in place of a latency. Reads alone are not counted in instructions."""
    counted = any(row.metric.unit == "instructions" for row in comparison.rows)
    return "instructions counted, no latency" if counted else "no latency"


def caption(comparison: Comparison) -> list[str]:
    """How the numbers were obtained, in lines of facts, and how to read them."""
    lines = [_facts(*facts) for facts in caption_facts(comparison)]
    if not lines[-1]:  # no runtime said what it ran with
        lines.pop()
    return [*lines, legend(len(comparison.models) > 1, comparison.counted)]


def caption_facts(comparison: Comparison, *, apart: bool = False) -> list[list[str]]:
    """How the numbers were obtained: what was asked and how often it ran, the machine, the versions, when and on which
    data; `apart` as in `conditions_in_words`.
    """
    condition = comparison.condition
    counts = sorted(set(comparison.processes))
    several = len(comparison.models) > 1
    runs_of_each = "–".join(str(count) for count in (counts[0], counts[-1])[: len(counts)]) if counts else "0"
    order = "interleaved " if comparison.interleaved else ""
    return [
        [
            *conditions_in_words(condition, counted=comparison.counted, apart=apart),
            f"{runs_of_each} {order}process{'' if counts == [1] else 'es'}{' per model' if several else ''}",
            *(f"latency {kind}" for kind in comparison.latency_kinds),
            *([_untimed(comparison)] if comparison.counted else []),
        ],
        _machine(comparison.fingerprint),
        [
            *(f"{name} {version}" for name, version in versions(comparison.fingerprint).items()),
            *(f"harness {version}" for version in comparison.harness),
        ],
        [_span("", comparison.dates), _span("session ", comparison.sessions), *_data(condition)],
        settings_in_words(comparison),
    ]


def settings_in_words(comparison: Comparison) -> list[str]:
    """What each runtime really ran with, such as `onnxruntime: provider CPUExecutionProvider, spinning off`, but for
    what the condition says; settings in which models of one runtime differ are said for each model.
    """
    condition = comparison.condition
    said = {("threads", str(condition.threads))}
    for option in (condition.runtime_options or "").split(LISTED):
        name, _, value = option.partition(" ")
        said.add((name, value))
    models_by_runtime: dict[str, dict[str, dict[str, str]]] = {}
    for label, settings in comparison.settings.items():
        if settings:
            own = {
                name: value for name, value in settings.items() if name != RUNTIME_SETTING and (name, value) not in said
            }
            models_by_runtime.setdefault(settings.get(RUNTIME_SETTING, "runtime"), {})[label] = own
    facts = []
    for runtime, by_model in models_by_runtime.items():
        first = next(iter(by_model.values()))
        shared = {name: value for name, value in first.items() if all(s.get(name) == value for s in by_model.values())}
        if any(by_model.values()):
            facts.append(f"{runtime}: {_values(shared)}" if shared else runtime)
        for label, settings in by_model.items():
            if own := {name: value for name, value in settings.items() if name not in shared}:
                facts.append(f"{label}: {_values(own)}")
    return facts


def _values(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())


def legend(several: bool, counted: bool) -> str:
    values = "value [95 % interval over processes]"
    if counted:
        return "counts of one process" + (
            "; reduction: above 1x the model needs less than the baseline" if several else ""
        )
    if not several:
        return values
    return (
        f"{values}; speed-up and reduction [99 % interval]: above 1x the model is better than the baseline; "
        "n.s.: its interval contains 1"
    )


def versions(fingerprint: dict[str, Any]) -> dict[str, str]:
    """The versions of the runtimes that the fingerprint names."""
    return {name.removeprefix(RUNTIME): str(value) for name, value in fingerprint.items() if name.startswith(RUNTIME)}


def _machine(fingerprint: dict[str, Any]) -> list[str]:
    """What of the device's identity a reader wants to see, as far as it is known."""
    words = {
        "cpu_model": "{}",
        # Its finer form, where harness read that.
        "instruction_sets" if fingerprint.get("instruction_sets") else "vector_extensions": "vector extensions {}",
        "system": "{}",
        "frequency_governor": "governor {}",
        "gpu_driver": "NVIDIA driver {}",
    }
    return [word.format(fingerprint[name]) for name, word in words.items() if fingerprint.get(name)]


def cells_of(row: Row, alongside: Sequence[Row], footnotes: Footnotes, label: str | None = None) -> tuple[Cell, ...]:
    """The cells of a row, in the unit and with the decimal places that all rows `alongside`, itself among them, need.
    `label` takes the place of the metric's own, which then is over the rows.
    """
    estimates = [figure.estimate for line in alongside for figure in line.figures if figure.estimate is not None]
    step = scale(row.metric.unit, [estimate.value for estimate in estimates])
    places = max((decimals(estimate.value, estimate.low, estimate.high, step) for estimate in estimates), default=0)
    alike = kind_of_all(alongside)
    label = label_of(row.metric, alike) if label is None else label
    first, *others = (_figure_cell(figure, step, places, alike, footnotes) for figure in row.figures)
    cells = [Cell(label, value=row.metric.name), first]
    for figure, versus in zip(others, row.versus[1:], strict=True):
        cells += [figure, _versus_cell(versus, step, footnotes)]
    return tuple(cells)


def kind_of_all(rows: Sequence[Row]) -> str:
    """How all figures of these rows were obtained; `measured` where they differ, which each then says for itself."""
    kinds = {figure.kind for row in rows for figure in row.figures if figure.estimate is not None}
    return kinds.pop() if len(kinds) == 1 else "measured"


def label_of(metric: Metric, kind: str) -> str:
    """The label of a metric whose figures were obtained so."""
    return metric.label if kind in ("measured", "recorded") else f"{metric.label}, {kind}"


def _figure_cell(figure: Figure, step: tuple[float, str], places: int, labelled: str, footnotes: Footnotes) -> Cell:
    """`labelled` is the kind that the label of the row names already."""
    if figure.estimate is None:
        return Cell(f"–{footnotes.mark(figure.reason)}" if figure.reason else "–", tone="muted")
    text, detail = quantity(figure.estimate.value, figure.estimate.low, figure.estimate.high, step, places)
    if figure.kind == "recorded":
        why = f" ({figure.reason})" if figure.reason else ""
        mark = footnotes.mark(f"recorded in the manifest when the model was made, not measured here{why}")
        return Cell(text, f"recorded{mark}", figure.estimate.value, "muted")
    if figure.kind not in ("measured", labelled):
        text += f" {figure.kind}"
    if figure.reason:
        text += footnotes.mark(figure.reason)
    if reason := missing_interval(figure):
        text += footnotes.mark(reason)
    return Cell(text, detail, figure.estimate.value)


def _versus_cell(versus: Versus | None, step: tuple[float, str], footnotes: Footnotes) -> Cell:
    if versus is None:
        return Cell()
    if versus.value is None:
        return Cell(f"–{footnotes.mark(versus.reason)}" if versus.reason else "–", tone="muted")
    if versus.kind == "difference":
        return Cell(
            signed(versus.value, step) + (footnotes.mark(versus.reason) if versus.reason else ""),
            value=versus.value,
        )
    text, detail = times(versus.value, versus.low, versus.high)
    if versus.resolved is not None and versus.reason:
        return Cell(text + footnotes.mark(versus.reason), detail, versus.value, "muted")
    if versus.resolved is None:
        mark = footnotes.mark(f"no interval ({versus.reason})") if versus.reason else ""
        return Cell(text + mark, value=versus.value)
    if not versus.resolved:
        return Cell(f"{text} n.s.", detail, versus.value, "muted")
    return Cell(text, detail, versus.value, "good" if versus.value > 1 else "bad")


def title_of(condition: Condition) -> str:
    """Where and what was measured, on one line."""
    return _facts(condition.target, condition.device or "unknown device", condition.scenario)


def conditions_in_words(condition: Condition, *, counted: bool, apart: bool = False) -> list[str]:
    """What was asked, field by field; where instructions are counted, pinning would change nothing. `apart`: each part
    of a field that is a list is a fact by itself.
    """
    facts: list[str] = []
    unit = None
    for entry in CAPTION:
        value = getattr(condition, entry.name)
        text = None if counted and value is None else entry.say_in_caption(value)
        if text is None:
            continue
        if entry.unit is not None and entry.unit == unit:
            text = f"{facts.pop().removesuffix(f' {unit}')} + {text}"
        facts += text.split(LISTED) if apart and entry.listed else [text]
        unit = entry.unit
    return facts


def _data(condition: Condition) -> list[str]:
    if condition.data is None and condition.data_sha256 is None:
        return []
    if condition.data_sha256 is None:
        return [f"outputs compared on {condition.data}"]
    return [f"quality on {condition.data or 'unnamed data'} (sha256 {condition.data_sha256[:12]})"]


def _span(word: str, values: tuple[str, ...]) -> str:
    """Up to three values, or the first and the last of more."""
    if len(values) < 4:
        return word + ", ".join(values)
    return f"{word}{values[0]} to {values[-1]} ({len(values)})"


def _facts(*facts: str) -> str:
    return " · ".join(fact for fact in facts if fact)
