"""What is below a table for a paper: how to read it, how the numbers were obtained, what else to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.analysis.notes import without_advice
from harness.analysis.peers import not_told_apart
from harness.analysis.selection import View
from harness.metrics import Metric
from harness.report.layout import caption
from harness.report.paper.columns import PaperColumn
from harness.report.shared_lines import name_owners, owners_of
from harness.statistics.ratio import RATIO_CONFIDENCE
from harness.statistics.summary import CONFIDENCE


def notes_on(columns: Sequence[PaperColumn], baseline: str) -> list[str]:
    """A legend of what is in the table, facts, warnings. What holds for all views is there once, all else begins with
    what tells its views from the others.
    """
    views = _views(columns)
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


def peer_notes(views: Sequence[View], metric: Metric, shown: Mapping[str, str]) -> list[str]:
    """Which row is the best rounded peer and from which others it cannot be told, and what each compressed model comes
    to against it, under each condition; `shown` are the names of the rows by the labels of the models.
    """
    notes = []
    for view in views:
        where = f"{view.name}: " if view.name else ""
        peer = view.best_rounded_peer
        if peer is None:
            notes.append(f"{where}No row with rounded weights is a peer of the compressed models.")
            continue
        against = view.against[peer]
        alike = [shown[label] for label in not_told_apart(against, view.identities, metric)]
        faster = "faster than every other rounded row of its network"
        apart = f"no difference shows from {', '.join(alike)}" if alike else faster
        notes.append(
            f"{where}Best rounded peer: {shown[peer]}, the fastest row of its network with weights of 8 bits or fewer, "
            f"in any runtime, by {metric.label}; {apart}."
        )
        notes += [
            f"{where}Against the best rounded peer, {shown[peer]}: {against.verdict[label]}"
            for label, identity in view.identities.items()
            if identity.parent is not None and not identity.yardstick and label in against.verdict
        ]
    return notes


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
