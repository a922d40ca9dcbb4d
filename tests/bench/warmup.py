"""Scores rules that end a warm-up on processes recorded from their first query on, and on simulated ones.

Where a process became steady is labelled afterwards: outliers are replaced by what lies around them (Hampel), change
points are set by PELT (Killick, Fearnhead and Eckley 2012, doi 10.1080/01621459.2012.737745), and the steady state
begins with the first segment that is level with the end, if nine tenths of what follows are so too; where the last
quarter is not level there is none. After Traini and others, doi 10.1007/s10664-022-10247-x. Queries that were disturbed
are left out: on a shared machine a neighbour on the same core slows it by half, many times a second, which a probe of
pure arithmetic between the queries shows. Prints tables; asserts nothing.

    python tests/bench/warmup.py                              # the processes of warmup.csv.xz
    python tests/bench/warmup.py --record more.csv --cpu 1    # an hour for 200 processes; needs onnx and onnxruntime
    python tests/bench/warmup.py more.csv
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.statistics.steady import SteadyRule, still_warming

Floats = npt.NDArray[np.float64]
# How many queries it asks for before it is content; None: never.
Rule = Callable[[Floats], int | None]

_SHIPPED = Path(__file__).with_name("warmup.csv.xz")
_SUFFIXES = {"executorch": ".pte", "torch": ".pt2", "torch-compile": ".pt2", "onnxruntime": ".onnx"}
_LEAST, _MOST, _LEAST_S, _MOST_S = 2_100, 10_000, 0.5, 8.0
_PROBE_EVERY_NS, _DISTURBED, _CALM_NS, _WAIT_NS = 300_000, 1.15, 10_000_000, 6_000_000_000
_CAP_NS = 2_000_000_000
_ENOUGH = 500


@dataclass(frozen=True)
class Process:
    """The undisturbed durations of a process after its first query, and where and at what level it was steady; None
    where it never was.
    """

    runtime: str
    model: str
    durations_ns: Floats
    start: int | None
    level_ns: float


def pelt(values: Floats, penalty: float, least: int) -> list[int]:
    """Where the segments begin that a change of mean or variance sets apart, none shorter than `least`: the normal
    likelihood, with a penalty a change.
    """
    sums, squares = (np.concatenate([[0.0], np.cumsum(values**power)]) for power in (1, 2))
    best, before = np.full(len(values) + 1, np.inf), np.zeros(len(values) + 1, dtype=np.int64)
    best[0], candidates = -penalty, np.array([0])
    for end in range(least, len(values) + 1):
        length = end - candidates
        variance = (squares[end] - squares[candidates]) / length - ((sums[end] - sums[candidates]) / length) ** 2
        long = length >= least
        cost = np.where(long, best[candidates] + length * np.log(np.maximum(variance, 1e-8)), np.inf)
        chosen = int(np.argmin(cost))
        best[end], before[end] = cost[chosen] + penalty, candidates[chosen]
        candidates = np.append(candidates[~long | (cost <= best[end])], end)
    starts, end = [], len(values)
    while end:
        end = int(before[end])
        starts.append(end)
    return starts[::-1]


def segments(durations_ns: Floats) -> tuple[list[int], Floats]:
    """Where segments begin, and the median of each."""
    from scipy.ndimage import median_filter

    values = np.log(durations_ns)
    around = median_filter(values, 11, mode="nearest")
    spread = 1.4826 * median_filter(np.abs(values - around), 31, mode="nearest")
    values = np.where(np.abs(values - around) > 3 * spread, around, values)
    starts = pelt(values, 15 * np.log(len(values)), 10)
    return starts, np.array([np.exp(np.median(part)) for part in np.split(values, starts[1:])])


def steady_state(starts: list[int], medians: Floats, count: int, tolerance: float) -> tuple[int | None, float]:
    """Where the steady state begins and its level; segments within `tolerance` of that are level with it."""
    ends = np.array([*starts[1:], count])
    lengths = ends - starts
    last = np.clip(ends - 0.75 * count, 0, lengths)
    order = np.argsort(medians)
    level = float(medians[order][np.searchsorted(np.cumsum(last[order]), last.sum() / 2)])
    same = np.abs(medians / level - 1) <= tolerance
    if (last * same).sum() < 0.9 * last.sum():
        return None, level
    for index, start in enumerate(starts):
        if same[index] and (lengths * same)[index:].sum() >= 0.9 * (count - start):
            return start, level
    return None, level


def recorded(path: Path, tolerances: Sequence[float]) -> dict[float, list[Process]]:
    """Every process of a CSV with enough undisturbed queries, labelled at each tolerance."""
    found: dict[float, list[Process]] = {tolerance: [] for tolerance in tolerances}
    for row in pd.read_csv(path, keep_default_na=False).itertuples():
        durations = np.array(row.durations_ns.split(), dtype=np.float64)
        durations[0] = np.nan  # the first inference is no part of a warm-up
        for span in row.disturbed.split():
            begin, end = map(int, span.split("-"))
            durations[begin:end] = np.nan
        durations = durations[~np.isnan(durations)]
        if len(durations) < _ENOUGH:
            continue
        starts, medians = segments(durations)
        for tolerance, processes in found.items():
            label = steady_state(starts, medians, len(durations), tolerance)
            processes.append(Process(row.runtime, row.model, durations, *label))
    return found


def lengths(path: Path) -> pd.DataFrame:
    """How long warm-ups last as they were measured, disturbed queries included: now, and by the rule before."""
    texts = pd.read_csv(path)["durations_ns"]
    series = [np.array(text.split(), dtype=np.float64)[1:] for text in texts]
    series = [durations for durations in series if len(durations) >= _ENOUGH]
    rows = []
    for name in list(RULES)[:2]:
        lasted_ms = [float(each[:end].sum()) / 1e6 if (end := RULES[name](each)) else np.inf for each in series]
        cut = [each > _CAP_NS / 1e6 for each in lasted_ms]
        quartiles = np.percentile(np.minimum(lasted_ms, _CAP_NS / 1e6), [25, 50, 75]).round(1)
        rows.append(
            {"rule": name, "quartiles of ms": quartiles.tolist(), "cut off %": round(100 * float(np.mean(cut)), 1)}
        )
    return pd.DataFrame(rows)


def simulated(count: int, queries: int = 2_000) -> list[Process]:
    """Processes of a calm or a noisy machine of which is known what they do: nothing, a decline, or one step; steady
    when within 3 % of the end.
    """
    random = np.random.default_rng(0)
    processes = []
    for _ in range(count):
        kind, at = random.choice(["flat", "decline", "step"]), np.arange(queries)
        size = np.exp(random.uniform(np.log(0.03), np.log(2)))
        decline = np.exp(-at / np.exp(random.uniform(np.log(2), np.log(300))))
        step = at < np.exp(random.uniform(np.log(4), np.log(700)))
        slower = size * {"flat": 0 * at, "decline": decline, "step": step}[kind]
        noise = np.exp(np.exp(random.uniform(np.log(0.002), np.log(0.06))) * random.standard_normal(queries))
        spikes = np.where(random.random(queries) < 0.02, random.uniform(1.2, 3, queries), 1)
        late = np.flatnonzero(slower > 0.03)
        start = int(late[-1]) + 1 if len(late) else 0
        processes.append(Process("simulated", kind, np.rint(1e6 * (1 + slower) * noise * spikes), start, 1e6))
    return processes


def harness(durations_ns: Floats) -> int | None:
    """The rule of `harness.statistics.steady`."""
    rule = SteadyRule()
    for count, duration in enumerate(durations_ns, 1):
        rule.add(int(duration))
        if rule.steady:
            return count
    return None


def calm(slowest_left_out: int) -> Rule:
    """Until the last 30 vary by less than 2 %, looked at after each query."""

    def rule(durations_ns: Floats) -> int | None:
        windows = np.sort(np.lib.stride_tricks.sliding_window_view(durations_ns, 30), axis=1)
        kept = windows[:, : 30 - slowest_left_out]
        calm_from = np.flatnonzero(kept.std(axis=1) < 0.02 * kept.mean(axis=1))
        return int(calm_from[0]) + 30 if len(calm_from) else None

    return rule


def halves(window: int, difference: float, variation: float | None = None) -> Rule:
    """Until the medians of both halves of a window agree and, if asked for, the middle four fifths of each are calm;
    looked at after each quarter of it.
    """

    def rule(durations_ns: Floats) -> int | None:
        for end in range(window, len(durations_ns) + 1, window // 4):
            both = np.sort(durations_ns[end - window : end].reshape(2, -1), axis=1)
            first, last = np.median(both, axis=1)
            middle = both[:, window // 20 : window // 2 - window // 20]
            quiet = variation is None or bool((middle.std(axis=1) < variation * middle.mean(axis=1)).all())
            if abs(first - last) <= difference * min(first, last) and quiet:
                return end
        return None

    return rule


RULES: Mapping[str, Rule] = {
    "harness": harness,
    "the one before: last 30 < 2 %, slowest tenth left out": calm(3),
    "last 30 < 2 %": calm(0),
    "fixed 10": lambda _: 10,
    "fixed 100": lambda _: 100,
    "fixed 200": lambda _: 200,
    "halves of 100 within .5 %, each < 2 %": halves(100, 0.005, 0.02),
    "halves of 300 within .5 %, each < 2 %": halves(300, 0.005, 0.02),
    "halves of 100 within 1.5 %": halves(100, 0.015),
    "halves of 140 within 1.5 %": halves(140, 0.015),
    "halves of 200 within 1.5 %": halves(200, 0.015),
    "halves of 300 within 1.5 %": halves(300, 0.015),
}


def score(rule: Rule, processes: Iterable[Process]) -> dict[str, float]:
    """Of one rule. What the cap on time cuts off is flagged, so it counts as neither early nor late, but as wasted."""
    early, bias, wasted, cut, asked, lasted = [], [], [], [], [], []
    for process in processes:
        if process.start is None:
            continue
        durations = process.durations_ns
        total = np.cumsum(durations)
        cap = min(len(durations), int(np.searchsorted(total, _CAP_NS)) + 1)
        end = rule(durations)
        cut.append(end is None or end > cap)
        end = cap if end is None or end > cap else end
        asked.append(end)
        lasted.append(total[end - 1] / 1e6)
        wasted.append(max(0, end - process.start) / (len(durations) - process.start))
        if not cut[-1]:
            early.append(end < process.start)
            if len(rest := durations[end : end + 100]) >= 30:
                bias.append(abs(np.median(rest) / process.level_ns - 1))
    within = np.array(bias)
    return {
        "processes": len(asked),
        "too early %": round(100 * float(np.mean(early)), 1) if early else np.nan,
        "next 100 within 3 %": round(100 * float((within < 0.03).mean()), 1) if bias else np.nan,
        "p90 bias %": round(100 * float(np.percentile(within, 90)), 1) if bias else np.nan,
        "steady wasted %": round(100 * float(np.mean(wasted)), 1),
        "cut off %": round(100 * float(np.mean(cut)), 1),
        "median queries": float(np.median(asked)),
        "median ms": round(float(np.median(lasted)), 1),
    }


def table(processes: Sequence[Process]) -> pd.DataFrame:
    """A row a rule; the first is one that knows the label."""
    starts = {id(process.durations_ns): process.start for process in processes}
    known: Rule = lambda durations_ns: max(1, starts[id(durations_ns)] or 0)  # noqa: E731
    return pd.DataFrame(
        [{"rule": name, **score(rule, processes)} for name, rule in {"the label itself": known, **RULES}.items()]
    )


def mser5(warmup_ns: Floats, measured_ns: Floats) -> bool:
    """Whether the smallest standard error of the mean is reached by dropping more than a tenth of what was measured
    (White 1997, doi 10.1177/003754979706900601).
    """
    values = np.concatenate([warmup_ns, measured_ns])
    batches = values[: len(values) // 5 * 5].reshape(-1, 5).mean(axis=1)
    errors = [batches[drop:].var() / (len(batches) - drop) for drop in range(len(batches) // 2 + 1)]
    return 5 * int(np.argmin(errors)) > -(-len(warmup_ns) // 5) * 5 + 0.1 * len(measured_ns)


def first_slower(parts: int, by: float) -> Callable[[Floats, Floats], bool]:
    """Whether the first part of what was measured is slower than all others, by the medians."""

    def check(_: Floats, measured_ns: Floats) -> bool:
        first, *rest = (np.median(part) for part in np.array_split(measured_ns, parts))
        return bool(first > (1 + by) * max(rest))

    return check


CHECKS: Mapping[str, Callable[[Floats, Floats], bool]] = {
    "harness's note": lambda _, measured_ns: still_warming(measured_ns.tolist()),
    "MSER-5": mser5,
    **{
        f"first of {parts} slower by {by:.0%}": first_slower(parts, by)
        for parts in (3, 4, 5, 10)
        for by in (0.02, 0.03, 0.05)
    },
}


def checks(processes: Sequence[Process]) -> pd.DataFrame:
    """How often a check afterwards, of half of what follows the warm-up, is right that measuring began too early."""
    seen = []
    for each in processes:
        end, durations = harness(each.durations_ns), each.durations_ns
        if each.start is not None and end is not None and len(durations) - end >= 300:
            seen.append((durations[:end], durations[end : (end + len(durations)) // 2], end < each.start))
    late = np.array([one[2] for one in seen])
    rows = []
    for name, check in CHECKS.items():
        shown = np.array([check(warmup, measured) for warmup, measured, _ in seen])
        right = int((shown & late).sum())
        counts = {"of": len(seen), "too early": int(late.sum()), "shown": int(shown.sum()), "right": right}
        rows.append({"check": name, **counts})
    return pd.DataFrame(rows)


MAKE_MODELS = """
import sys, torch
from pathlib import Path
from torch import nn
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
torch.manual_seed(0)
folder = Path(sys.argv[1])
layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True, norm_first=True)
def conv(channels):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(2 * channels, 10),
    )
models = {
    "mlp-tiny": (nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)), (1, 64)),
    "mlp": (nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 512)), (4, 512)),
    "conv": (conv(32), (1, 3, 32, 32)),
    "transformer": (nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (1, 32, 128)),
}
for name, (model, sizes) in models.items():
    inputs = (torch.randn(sizes),)
    program = torch.export.export(model.eval(), inputs)
    torch.export.save(program, folder / f"{name}.pt2")
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / f"{name}.pte").write_bytes(lowered.buffer)
    torch.onnx.export(model, inputs, folder / f"{name}.onnx", dynamo=True, external_data=False, verbose=False)
"""


def record(out: Path, rounds: int, cpu: int) -> None:
    """Append a row a process to a CSV, all models and runtimes by turns."""
    os.sched_setaffinity(0, {cpu})
    fastest_ns = min(probe() for _ in range(200_000))
    if not out.exists():
        out.write_text("runtime,model,disturbed,durations_ns\n")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", MAKE_MODELS, folder], check=True)
        models = sorted(path.stem for path in Path(folder).glob("*.pte"))
        for model, (runtime, suffix) in ((m, r) for _ in range(rounds) for m in models for r in _SUFFIXES.items()):
            path = Path(folder, model + suffix)
            command = [sys.executable, __file__, "--process", runtime, str(path), str(fastest_ns)]
            ended = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
            durations, disturbed = json.loads(ended.stdout.splitlines()[-1])
            spans = " ".join(f"{begin}-{end}" for begin, end in disturbed)
            with out.open("a") as file:
                file.write(f"{runtime},{model},{spans},{' '.join(map(str, durations))}\n")
            click.echo(f"{runtime} {model}: {len(durations)} queries", err=True)


def probe() -> int:
    """Nanoseconds of some arithmetic that needs no memory: longer only where the core is shared."""
    start, total = time.perf_counter_ns(), 0
    for number in range(250):
        total += number * number
    return time.perf_counter_ns() - start


def loaded(runtime: str, path: Path) -> Callable[[], object]:
    """One query of a model, which has not been asked yet."""
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        feed = {given.name: np.random.default_rng(0).standard_normal(given.shape, dtype=np.float32)}
        return lambda: session.run(None, feed)
    from harness.job import Files, Job
    from harness.runtime import Preparing, runtime_for
    from harness.worker.inputs import make_inputs

    compiled = runtime == "torch-compile"
    job = Job(target="x86", model=path.stem, model_sha256="", scenario="single-stream", compile=compiled)
    loader = runtime_for(path, "cpu", "executorch" if runtime == "executorch" else "torch")
    if isinstance(loader, Preparing):
        loader.prepare(path)
    model = loader.load(path, job, Files(model=str(path)))
    inputs = model.arrange(make_inputs(job, model.description, None))
    return lambda: model.execute(inputs)


def process(runtime: str, path: Path, fastest_ns: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Durations from the first query on, back to back but for a probe, and between which of them a probe was slow: for
    so long that enough are undisturbed. Begins in a calm moment, if one comes.
    """
    query, clock, slow_ns = loaded(runtime, path), time.perf_counter_ns, _DISTURBED * fastest_ns
    gc.collect()
    gc.disable()
    begin = calm_since = clock()
    while clock() - calm_since < _CALM_NS and clock() - begin < _WAIT_NS:
        if probe() > slow_ns:
            calm_since = clock()
    durations: list[int] = []
    disturbed: list[tuple[int, int]] = []
    probed = undisturbed = 0
    slow_before = False
    begin = last = clock()
    while True:
        start = clock()
        query()
        end = clock()
        durations.append(end - start)
        if end - last < _PROBE_EVERY_NS:
            continue
        slow = min(probe(), probe()) > slow_ns
        if slow or slow_before:
            disturbed.append((probed, len(durations)))
        else:
            undisturbed += len(durations) - probed
        probed, slow_before, last = len(durations), slow, clock()
        enough = undisturbed >= _LEAST and last - begin >= _LEAST_S * 1e9
        if enough or probed >= _MOST or last - begin > _MOST_S * 1e9:
            return durations, disturbed


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True), default=_SHIPPED)
@click.option("--record", "out", type=click.Path(path_type=Path), help="Record processes into this CSV instead.")
@click.option("--rounds", default=13, show_default=True, help="Processes of each model in each runtime.")
@click.option("--cpu", default=0, show_default=True, help="The processor to record on; nothing else should run there.")
@click.option("--process", "one", type=(str, click.Path(path_type=Path), int), hidden=True)
def main(path: Path, out: Path | None, rounds: int, cpu: int, one: tuple[str, Path, int] | None) -> None:
    """Score the rules on the processes of a CSV, or record more of them."""
    if one is not None:
        click.echo(json.dumps(process(*one)))
        return
    if out is not None:
        record(out, rounds, cpu)
        return
    for tolerance, processes in recorded(path, (0.05, 0.03)).items():
        labelled = [one for one in processes if one.start is not None]
        share = f"{len(labelled)} of {len(processes)} recorded processes have a steady state"
        click.echo(f"\n{share} (level: within {tolerance:.0%}); it begins at query (quartiles, p90): ", nl=False)
        click.echo(", ".join(f"{at:.0f}" for at in np.percentile([one.start for one in labelled], [25, 50, 75, 90])))
        click.echo(table(labelled).to_string(index=False))
        click.echo(f"\nChecks afterwards\n{checks(labelled).to_string(index=False)}")
        for name in ("runtime", "model"):
            groups: dict[str, list[Process]] = {}
            for each in labelled:
                groups.setdefault(getattr(each, name), []).append(each)
            rows = [{name: group, **score(harness, members)} for group, members in sorted(groups.items())]
            click.echo(f"\nThe rule of harness by {name}\n{pd.DataFrame(rows).to_string(index=False)}")
    click.echo(f"\nAs measured, with what disturbed them\n{lengths(path).to_string(index=False)}")
    click.echo(f"\nSimulated processes, .2 to 6 % of noise\n{table(simulated(300)).to_string(index=False)}")


if __name__ == "__main__":
    main()
