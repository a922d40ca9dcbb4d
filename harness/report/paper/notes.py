"""What is below a table for a paper: how to read it, how the numbers were obtained, what else to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.analysis.comparison import Comparison
from harness.analysis.notes import without_advice
from harness.analysis.numbers import times
from harness.analysis.peers import not_told_apart
from harness.analysis.selection import View
from harness.metrics import Metric
from harness.report.layout import caption
from harness.report.paper.columns import PaperColumn
from harness.report.shared_lines import name_owners, owners_of
from harness.statistics.ratio import RATIO_CONFIDENCE
from harness.statistics.summary import CONFIDENCE


def notes_on(columns: Sequence[PaperColumn], asked: Sequence[PaperColumn], baseline: str) -> list[str]:
    """A legend of what is in the table, its `columns`; facts and warnings on all that were `asked` for. What holds for
    all views is there once, all else begins with what tells its views from the others.
    """
    views = _views(asked)
    words = [view.words for view in views]
    facts: dict[tuple[int, ...], list[str]] = {}
    for line, owners in owners_of([_facts(view) for view in views]).items():
        facts.setdefault(owners, []).append(line)
    common_first = sorted(facts.items(), key=lambda item: -len(item[0]))
    every_condition = "Under each condition: " if len(views) > 1 else ""
    warnings = owners_of([without_advice(view.comparison.notes, view.comparison.flags) for view in views])
    return [
        _legend(columns, baseline),
        *(name_owners(words, owners) + " · ".join(lines) for owners, lines in common_first),
        *_files(views),
        *((name_owners(words, owners) or every_condition) + line for line, owners in warnings.items()),
    ]


def name_left_out(columns: Sequence[PaperColumn]) -> list[str]:
    """Which columns have no value in any row, a sentence for each reason why. Where there are no values, nobody misses
    the ratios.
    """
    names_by_reason: dict[str, list[str]] = {}
    without_value = set()
    for column in columns:
        what = (column.header, column.group)
        if column.kind == "value":
            without_value.add(what)
        elif what in without_value:
            continue
        reasons = "; ".join(dict.fromkeys(reason for cell in column.cells.values() for reason in cell.reasons))
        words = ", ".join(word for word in (*what, column.word) if word)
        names_by_reason.setdefault(reasons, []).append(words)
    return [
        f"Column{'s' if len(names) > 1 else ''} left out, since no row has a value ({reasons}): {'; '.join(names)}."
        for reasons, names in names_by_reason.items()
    ]


def peer_notes(views: Sequence[View], shown: Mapping[str, str]) -> list[str]:
    """Which rows are the best rounded peers, by which figures, and from which others they cannot be told, and what each
    compressed model comes to against them, under each condition; `shown` are the names of the rows by the labels of the
    models.
    """
    notes = []
    for view in views:
        where = f"{view.name}: " if view.name else ""
        compressed = [
            label for label, each in view.identities.items() if each.parent is not None and not each.yardstick
        ]
        metrics_of: dict[str, list[Metric]] = {}
        for metric, peer in view.best_rounded_peers:
            metrics_of.setdefault(peer, []).append(metric)
        if compressed and not metrics_of:
            notes.append(f"{where}No row with rounded weights is a peer of the compressed models.")
        for peer, metrics in metrics_of.items():
            notes.append(f"{where}{_chosen(view, peer, metrics, shown)}")
            by = f" by {_listed(metrics)}" if len(metrics_of) > 1 else ""
            notes += [
                f"{where}Against the best rounded peer{by}, {shown[peer]}: {claim}"
                for label in compressed
                for claim in _claims(view.against[peer], label, metrics)
            ]
    return notes


def _chosen(view: View, peer: str, metrics: Sequence[Metric], shown: Mapping[str, str]) -> str:
    """By which figures a row is a best rounded peer, and from which others it cannot be told by each of them."""
    alike = []
    for metric in metrics:
        if others := not_told_apart(view.against[peer], view.identities, metric):
            by = f" by {metric.label}" if len(metrics) > 1 else ""
            alike.append(f"no difference shows from {', '.join(shown[label] for label in others)}{by}")
    return (
        f"Best rounded peer: {shown[peer]}, the fastest row of its network with weights of 8 bits or fewer, "
        f"in any runtime, by {_listed(metrics)}; "
        f"{'; '.join(alike) or 'faster than every other rounded row of its network'}."
    )


def _claims(against: Comparison, label: str, metrics: Sequence[Metric]) -> list[str]:
    """What a model comes to against a peer, the first model of `against`, that was chosen by these metrics: the verdict
    where it is by one of them, else how fast the model is by each.
    """
    place = next(number for number, model in enumerate(against.models) if model.label == label)
    ratios = {row.metric.name: row.versus[place] for row in against.rows}
    leading = next((row.metric for row in against.rows if row.metric.lead and ratios[row.metric.name]), None)
    if leading in metrics and label in against.verdict:
        return [against.verdict[label]]
    sentences = []
    for metric in metrics:
        versus, peer = ratios.get(metric.name), against.models[0].label
        if versus is None or versus.value is None:
            continue
        ratio = " ".join(part for part in times(versus.value, versus.low, versus.high) if part)
        if versus.resolved is False:
            sentences.append(f"{label} shows no difference from {peer} by {metric.label} ({ratio}).")
        else:
            sentences.append(f"{label} is {ratio} as fast as {peer} by {metric.label}.")
    return sentences


def _listed(metrics: Sequence[Metric]) -> str:
    return " and ".join(metric.label for metric in metrics)


def _views(columns: Sequence[PaperColumn]) -> list[View]:
    """The views that figures come from; of several that say the same, one is enough."""
    views: list[View] = []
    for column in sorted(columns, key=lambda column: len(column.views)):
        if not any(known is view for known in views for view in column.views):
            views += column.views[:1]
    return views


def _legend(columns: Sequence[PaperColumn], baseline: str) -> str:
    cells = [cell for column in columns for cell in column.cells.values()]
    kinds = {column.kind for column in columns}
    words = ", ".join(dict.fromkeys(column.word for column in columns if column.kind in ("ratio", "mean")))
    parts = [f"Value [{_percent(CONFIDENCE)} interval over processes]"] if "value" in kinds else []
    if words:
        parts.append(f"{words} [{_percent(RATIO_CONFIDENCE)} interval] against {baseline}: above 1 the model is better")
    if "of_bound" in kinds:
        parts.append(
            f"of the bound [{_percent(RATIO_CONFIDENCE)} interval]: how many times as long as hand-written loops took "
            "for the same weights; they know this one network and run no other, so that they are a yardstick, no "
            "recommendation and never the best"
        )
    if any(cell.resolved is False for cell in cells):
        parts.append("n.s.: its interval contains 1")
    if "difference" in kinds:
        parts.append(f"difference to {baseline}: below 0 the model is better")
    if "mean" in kinds:
        parts.append("geometric mean over the conditions shown, its interval on the wide side")
    if any(cell.bold for cell in cells):
        parts.append(
            "bold: best of its column, and different from every other model (their ratio's "
            f"{_percent(RATIO_CONFIDENCE)} interval excludes 1, or both are exact)"
        )
    legend = "; ".join(parts)
    return f"{legend[:1].upper()}{legend[1:]}."


def _facts(view: View) -> list[str]:
    """The caption of the comparison without its legend, with iterations, and the governor even where it is unknown."""
    first, machine, *others, _ = caption(view.comparison)
    if not view.comparison.fingerprint.get("frequency_governor"):
        machine = f"{machine} · governor unknown" if machine else "governor unknown"
    condition = view.comparison.condition
    parts = (condition.target, condition.device or "unknown device", condition.scenario)
    where = " · ".join(word for word in parts if word not in view.words)
    return [where, machine, f"{first} · {view.iterations}" if view.iterations else first, *others]


def _files(views: Sequence[View]) -> list[str]:
    """Models of one name that are different files under different conditions."""
    hashes: dict[str, dict[str, None]] = {}
    for view in views:
        for model in view.comparison.models:
            if model.sha256 is not None:
                hashes.setdefault(model.label, {})[model.sha256[:8]] = None
    return [
        f"{label} is a different file under different conditions ({', '.join(prefixes)})."
        for label, prefixes in hashes.items()
        if len(prefixes) > 1
    ]


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")
