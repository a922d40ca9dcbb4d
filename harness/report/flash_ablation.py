"""What `harness flash ablate` prints: the table in the published form, measured or projected, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from harness.analysis.figures import plural
from harness.analysis.numbers import quantity, scale, times
from harness.conditions.workload import prompts_words
from harness.flash.ablation.from_results import Ablation
from harness.flash.ablation.projection import Projection, project, sizes
from harness.flash.ablation.rounds import Conditions, Row
from harness.flash.ablation.summary import Summary, summarise
from harness.flash.ablation.trace import Aggregates, Trace, aggregates
from harness.flash.device_model.profile import find
from harness.flash.io.geometry import Geometry
from harness.flash.io.proof import HIDDEN_CACHE, host_note
from harness.flash.io.reader import DIRECT
from harness.report.machine import dump_json
from harness.report.rendering import render_tables
from harness.report.table import Cell, Section, Table
from harness.statistics.summary import Estimate

_NONE = "none reads as many bytes as attention and all else have, though the runtime holds these in memory of its own."

_MEASURED = ("", "DRAM", "flash → DRAM", "throughput", "I/O latency", "speed-up", "memory", "compute", "hits")
_PROJECTED = ("", "flash → DRAM", "reads", "throughput", "I/O latency")


def measured(
    rows: Sequence[Row], trace: Trace, conditions: Conditions, more_notes: Sequence[str], as_json: bool
) -> str:
    """The ablation that was measured, with its intervals, or all of it as JSON. `more_notes` are the caller's."""
    summaries = summarise(rows, conditions.window)
    shares = aggregates(trace, conditions.window)
    notes = [*_invalid(summaries), *_cached(rows), *filter(None, [host_note()]), *more_notes]
    if as_json:
        facts = {
            "trace": trace.description,
            "aggregates": asdict(shares),
            "conditions": asdict(conditions),
            "policies": [asdict(summary) for summary in summaries],
            "rows": [asdict(row) for row in rows],
            "notes": notes,
        }
        return dump_json("ablation", facts)
    rounds = 1 + max(row.round for row in rows)
    caption = (
        _trace_line(trace, conditions.window, shares),
        f"{rows[0].kind} · depth {conditions.depth} · {rounds} alternated rounds in one process · medians per token, "
        "after the window has filled",
        "value [95 % interval over rounds]; speed-up of the I/O latency [99 % interval]; n.s.: it contains 1, or there "
        "is none; no interval: one round, or the interval spans more than three powers of ten",
    )
    section = Section(("",) * len(_MEASURED), tuple(_row(summary, summaries[0]) for summary in summaries))
    table = Table("Feed-forward weights from flash per token", _MEASURED, (section,), caption, tuple(notes))
    return render_tables([table], "terminal")


def stored(ablations: Sequence[Ablation], as_json: bool) -> str:
    """The ablations of a session's language models, each a table, or all of them as JSON."""
    if as_json:
        note = HIDDEN_CACHE if any(ablation.virtual for ablation in ablations) else None
        return dump_json("ablation", {"ablations": [asdict(ablation) for ablation in ablations], "note": note})
    return render_tables([table_of(ablation) for ablation in ablations], "terminal")


def table_of(ablation: Ablation) -> Table:
    """The ablation of one model."""
    job = ablation.job
    budget = job.get("dram_budget_bytes")
    caption = (
        f"{job['prompt_tokens']} prompt + {job['new_tokens']} new tokens · {prompts_words(job.get('prompts_sha256'))}",
        f"window {job['window']} · neurons chosen: {job['predictor']} · DRAM for them: "
        f"{'no limit' if budget is None else f'at most {budget:,} bytes'}",
        f"{job['reader']} · depth {job['depth']} · {plural(ablation.processes, 'interleaved process')} per policy · "
        "medians of decoded tokens, after the window has filled",
        "value [95 % interval over processes]; speed-up of the I/O latency [99 % interval]; n.s.: it contains 1, or "
        "there is none; no interval: one process, or the interval spans more than three powers of ten",
    )
    notes = [*_invalid(ablation.rows, "processes"), *_replayed(ablation), *_agreement(ablation), _NONE]
    notes += [HIDDEN_CACHE] if ablation.virtual else []
    section = Section(
        ("",) * (len(_MEASURED) + 2),
        tuple(_row(row, ablation.rows[0], _peer(row), _time(row, "token")) for row in ablation.rows),
    )
    columns = (*_MEASURED, "against fio", "total per token")
    return Table(f"{ablation.model}, feed-forward weights from flash", columns, (section,), caption, tuple(notes))


def _replayed(ablation: Ablation) -> list[str]:
    if all("compute" in row.unmeasured for row in ablation.rows):
        return ["Only the reads were made on this device, those of a run elsewhere: nothing was computed."]
    return []


def _agreement(ablation: Ablation) -> list[str]:
    """What the tokens and the loss are, set against those of the whole model."""
    notes = []
    if ablation.agreement is not None:
        all_agree = ablation.agreement == 1
        share = (
            "All tokens" if all_agree else f"At least {100 * ablation.agreement:.4g} % of the tokens of each process"
        )
        notes.append(f"{share} are those of the whole model.")
    if quality := ablation.quality:
        added = quality["loss_nats"] - quality["whole_loss_nats"]
        notes.append(
            f"Loss over {quality['predicted_tokens']:.0f} tokens: {quality['loss_nats']:.4f} nats per token, "
            f"{added:+.4f} against the whole model; {100 * quality['argmax_agreement']:.4g} % of its choices agree."
        )
    if active := quality.get("predictor_active"):
        vain = quality["predictor_false_alarms"] / max(quality["predictor_predicted"], 1)
        notes.append(
            f"Predictors missed {quality['predictor_missed']:,.0f} of {active:,.0f} active neurons "
            f"({100 * quality['predictor_missed'] / active:.2g} %) there, and {100 * vain:.2g} % of what they named is "
            "read needlessly."
        )
    return notes


def projected(geometry: Geometry, trace: Trace, window: int, depth: int, device: str, as_json: bool) -> str:
    """The ablation as a device profile has it."""
    profile = find(device)
    steps = project(profile.limits, trace, window, depth, geometry.stride, geometry.shape.rest_bytes)
    shares = aggregates(trace, window)
    notes = [*profile.doubts(sizes(geometry.stride), depth), *profile.notes]
    if as_json:
        facts = {
            "projected": True,
            "profile": profile.as_json(),
            "trace": trace.description,
            "aggregates": asdict(shares),
            "window": window,
            "depth": depth,
            "policies": [asdict(step) for step in steps],
            "notes": notes,
        }
        return dump_json("projection", facts)
    caption = (
        _trace_line(trace, window, shares),
        f"{profile.name}: {profile.summary} · depth {depth} · means per token, after the window has filled",
        "estimated by the device model; nothing was measured",
    )
    section = Section(("",) * len(_PROJECTED), tuple(_step(step) for step in steps))
    table = Table("Feed-forward weights from flash per token, PROJECTED", _PROJECTED, (section,), caption, tuple(notes))
    return render_tables([table], "terminal")


def _trace_line(trace: Trace, window: int, shares: Aggregates) -> str:
    return (
        f"trace: {trace.description} · {plural(len(trace.active), 'token')} · {plural(len(trace.neurons), 'layer')} · "
        f"window {window}: {100 * shares.active:.1f} % active, {100 * shares.loaded:.2f} % newly loaded, "
        f"{100 * shares.resident:.1f} % resident"
    )


def _row(summary: Summary, first: Summary, *more: Cell) -> tuple[Cell, ...]:
    ratio = _absent(summary, "io")
    if summary is first:
        ratio = Cell("baseline", tone="muted")
    elif summary.speed_up is not None:
        low, high = summary.speed_up.low, summary.speed_up.high
        text, detail = times(summary.speed_up.value, low, high)
        ratio = Cell(text + ("" if summary.speed_up.resolved else " n.s."), detail or "no interval")
    return (
        Cell(summary.policy),
        _plain(summary.dram_bytes, "bytes"),
        _plain(summary.flash_bytes, "bytes"),
        _estimate(summary.throughput, "bytes", "/s") or _absent(summary, "throughput"),
        _time(summary, "io"),
        ratio,
        _time(summary, "mem"),
        _time(summary, "compute"),
        _absent(summary) if summary.hit_rate is None else Cell(f"{100 * summary.hit_rate:.0f} %"),
        *more,
    )


def _time(summary: Summary, name: str) -> Cell:
    return _estimate(getattr(summary, name), "ns") or _absent(summary, name)


def _absent(summary: Summary, name: str = "") -> Cell:
    """What has no positive value where rounds are valid is nothing: a policy that keeps nothing has nothing to look
    up.
    """
    known = any(proof.valid for proof in summary.proofs) and name not in summary.unmeasured
    return Cell("none" if known else "not measured", tone="muted")


def _peer(summary: Summary) -> Cell:
    ratio = summary.peer_ratio
    return Cell("not compared", tone="muted") if ratio is None else Cell(f"{ratio:.2f}x", value=ratio)


def _step(step: Projection) -> tuple[Cell, ...]:
    rate = Cell("nothing read", tone="muted") if not step.io_ns else _plain(step.bytes_per_s, "bytes", "/s")
    return (
        Cell(step.policy),
        _plain(step.flash_bytes, "bytes"),
        Cell(f"{step.reads:,.0f}"),
        rate,
        _plain(step.io_ns, "ns"),
    )


def _plain(value: float, unit: str, suffix: str = "") -> Cell:
    divisor, name = scale(unit, [value])
    return Cell(f"{value / divisor:.4g} {name}{suffix}", value=value)


def _estimate(estimate: Estimate | None, unit: str, suffix: str = "") -> Cell | None:
    if estimate is None:
        return None
    divisor, name = scale(unit, [estimate.value])
    text, detail = quantity(estimate.value, estimate.low, estimate.high, (divisor, name + suffix))
    return Cell(text, detail or "no interval", estimate.value)


def _invalid(summaries: Sequence[Summary], of: str = "rounds") -> list[str]:
    """A sentence for each policy of which a round, or a process, does not count."""
    notes = []
    for summary in summaries:
        refused = [proof for proof in summary.proofs if not proof.valid]
        if refused:
            which = f"{len(refused)} of {len(summary.proofs)} {of} of {summary.policy}"
            notes.append(f"{which} do not count: {refused[0].reason}.")
    return notes


def _cached(rows: Sequence[Row]) -> list[str]:
    """The state that rounds through the page cache began with."""
    if rows[0].kind in DIRECT:
        return []
    known = [row.cached for row in rows if row.cached is not None]
    if not known:
        return ["How much of the files the page cache held as rounds began is not known."]
    return [f"The page cache held {100 * min(known):.0f} to {100 * max(known):.0f} % of a file as a round began."]
