"""What a reader must know beside the figures: failures, flags, too few processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pandas as pd

from harness.analysis.figures import plural
from harness.analysis.flags import meaning, sentence
from harness.analysis.grouping import (
    RUNTIME_SETTING,
    YARDSTICK_SETTING,
    Model,
    Run,
    at_own_rates,
    different_fields,
    is_of,
    runtimes_of,
    setting_values,
)
from harness.analysis.numbers import percent
from harness.analysis.rows import Row
from harness.metrics.metric import Measure
from harness.scenarios.catalogue import SCENARIOS
from harness.statistics.early_stopping import fewest_samples
from harness.statistics.proportion import share_interval
from harness.statistics.steady import SLOWER, still_warming
from harness.store.stored_job import read_job

ENOUGH = 5
EXPECTED_SQNR_DB = ((0.5, 40.0), (0.2, 25.0))
"""From which share of the reference's bytes on a rounded model's outputs have at least so many dB of signal to noise.
Of one float32 network in ExecuTorch, ONNX Runtime, OpenVINO and llama.cpp, 8 bits were seen to leave 35 to 43 dB.
"""
# How long a process was to measure, by the field of its job.
_LENGTHS: dict[str, Callable[[Any], str]] = {
    "min_duration_s": "at least {:g} s".format,
    "min_iterations": "at least {} queries".format,
    "max_duration_s": "at most {:g} s".format,
    "max_warmup_s": "warm-up of at most {:g} s".format,
}
# Phases of whole queries, whose median is shown, and how a latency was obtained that varies.
_QUERIES = ("steady", "multi_stream", "generate")
_TIMED = ("measured", "emulated")


@dataclass(frozen=True)
class FlagCount:
    """A flag, and on how many processes of each model it was raised: `processes` of all `of` that made these
    `passes`.
    """

    flag: str
    processes: int
    of: int
    passes: tuple[str, ...]
    by_model: tuple[tuple[str, int], ...]


def count_flags(runs: Sequence[Run], models: Sequence[Model]) -> list[FlagCount]:
    """Every flag of `runs`, in order of first appearance."""
    flags = dict.fromkeys(flag for run in runs for flag in run["flags"] or ())
    counts = []
    for flag in flags:
        raised = [run for run in runs if flag in (run["flags"] or ())]
        by_model = tuple((model.label, sum(is_of(run, model) for run in raised)) for model in models)
        passes = tuple(dict.fromkeys(run["measure"] for run in raised))
        of = sum(run["measure"] in passes for run in runs)
        counts.append(FlagCount(flag, len(raised), of, passes, by_model))
    return counts


def notes_on(runs: Sequence[Run], models: Sequence[Model], samples: pd.DataFrame) -> list[str]:
    """Sentences on the runs of one condition; `samples` are those of the runs that succeeded."""
    good = [run for run in runs if run["status"] == "ok"]
    return [
        *_failures(runs),
        *_different(good),
        *_runtimes(good, models),
        *_settings(good, models),
        *_yardsticks(good, models),
        *_inputs(good),
        *_prompts(good),
        *_sizes(good),
        *_sample(good),
        *_lengths(good),
        *_few(good, models),
        *_few_queries(good, samples),
        *_warming(good, models, samples),
        *_threads(good),
        *_sustained(good, models),
        *_searched(good, models),
        *_passes(good),
        *(_flag_note(count) for count in count_flags(good, models)),
    ]


def _yardsticks(runs: Sequence[Run], models: Sequence[Model]) -> list[str]:
    known = [model.label for model in models if setting_values(runs, model).get(YARDSTICK_SETTING)]
    if not known:
        return []
    return [
        f"{', '.join(known)} {'is a yardstick' if len(known) == 1 else 'are yardsticks'}, hand-written loops for this "
        "network that run no other: they show how far the others are from the processor, and are no recommendation."
    ]


def _failures(runs: Sequence[Run]) -> list[str]:
    counts: dict[tuple[str, str, str], int] = {}
    for run in runs:
        if run["status"] != "ok":
            words = (run["error_kind"] or run["status"], run["error_message"] or "no message")
            key = (run["model"], run["measure"], ": ".join(words))
            counts[key] = counts.get(key, 0) + 1
    return [
        f"FAILED: {plural(count, f'{measure} process')} of {model}: {_stop(what)}"
        for (model, measure, what), count in counts.items()
    ]


def _different(good: Sequence[Run]) -> list[str]:
    fields = different_fields(good)
    return (
        [f"WARNING: measured under different conditions, compared at your request: {'; '.join(fields)}."]
        if fields
        else []
    )


def _inputs(good: Sequence[Run]) -> list[str]:
    """Models that take other shapes are given other inputs; the reader should know."""
    hashes = {read_job(run["job_json"]).inputs_sha256 for run in good if run["measure"] == "latency"}
    return ["The models were given different inputs."] if len(hashes - {None}) > 1 else []


def _prompts(good: Sequence[Run]) -> list[str]:
    """Where the prompts of language models came from: the work of some depends on the text. The flash scenario says it
    among its options.
    """
    models_by_source: dict[str, dict[str, None]] = {}
    for run in good:
        if run["measure"] != "latency" or (scenario := SCENARIOS.get(run["scenario"])) is None or scenario.in_flash:
            continue
        job = read_job(run["job_json"])
        if job.prompt_tokens is not None:
            ends = ", answers up to the end token" if job.end_tokens else ""
            models_by_source.setdefault(f"{job.prompts or 'random tokens'}{ends}", {})[run["model"]] = None
    if len(models_by_source) == 1:
        return [f"Prompts: {next(iter(models_by_source))}."]
    parts = [f"of {' and '.join(models)} {source}" for source, models in models_by_source.items()]
    return [f"Prompts {'; '.join(parts)}."] if parts else []


def _sizes(good: Sequence[Run]) -> list[str]:
    """Which sizes inputs had where the file does not fix them; and where models got different ones, so that their times
    are not of the same work.
    """
    models_by_sizes: dict[tuple[int | None, str], dict[str, None]] = {}
    sizes_of: dict[tuple[int | None, ...], set[str]] = {}
    for run in good:
        sizes = read_job(run["job_json"]).input_sizes if run["measure"] == "latency" else None
        if sizes is not None:
            shapes = ", ".join(str(list(size)) for size in sizes)
            models_by_sizes.setdefault((run["batch"], shapes), {})[run["model"]] = None
            sizes_of.setdefault((run["batch"], *map(len, sizes)), set()).add(shapes)
    by_batch: dict[int | None, list[str]] = {}
    for (batch, shapes), models in models_by_sizes.items():
        by_batch.setdefault(batch, []).append(f"of {' and '.join(models)} are {shapes}")
    notes = [
        f"{'The' if batch is None else f'At batch {batch} the'} inputs {', those '.join(parts)}."
        for batch, parts in by_batch.items()
    ]
    if any(len(different) > 1 for different in sizes_of.values()):
        notes.append(
            "WARNING: these models got inputs of different sizes, so their times may not be of the same work: where "
            "they can take the same, give it with --inputs."
        )
    return notes


def _sample(good: Sequence[Run]) -> list[str]:
    """A loss on a part of a text is another than that on all of it."""
    jobs = [read_job(run["job_json"]) for run in good if run["measure"] == "quality" and run["data_sha256"]]
    most = {job.max_tokens for job in jobs if job.max_tokens is not None}
    tokens = " or ".join(map(str, sorted(most)))
    return [f"Quality was evaluated on at most {tokens} tokens of the text."] if most else []


def _lengths(good: Sequence[Run]) -> list[str]:
    """Sessions that were told to measure for different times are one table: the reader should know, since more queries
    give a surer tail.
    """
    jobs = [(run["model"], read_job(run["job_json"]).fields) for run in good if run["measure"] == "latency"]
    differing = [name for name in _LENGTHS if len({fields.get(name) for _, fields in jobs} - {None}) > 1]
    models: dict[str, Counter[str]] = {}
    for model, fields in jobs if differing else ():
        asked = [_LENGTHS[name](fields[name]) for name in differing if fields.get(name) is not None]
        models.setdefault(", ".join(asked) or "not recorded", Counter())[model] += 1
    parts = []
    for words, counts in models.items():
        processes = [f"{plural(count, 'process')} of {model}" for model, count in counts.items()]
        parts.append(f"{words} ({', '.join(processes)})")
    joined = "This table joins processes that were told to measure for different times: "
    return [f"{joined}{'; '.join(parts)}."] if parts else []


def _few(good: Sequence[Run], models: Sequence[Model]) -> list[str]:
    """Peak memory hardly differs between processes, and an estimate not at all, so that only latency needs many."""
    timed = [run for run in good if run["measure"] == "latency" and run["latency_kind"] in _TIMED]
    counts = {model.label: sum(is_of(run, model) for run in timed) for model in models}
    few = {label: count for label, count in counts.items() if 0 < count < ENOUGH}
    if not few:
        return []
    first, *more = few.items()
    counted = f"{plural(first[1], 'process')} of {first[0]}" + "".join(f", {count} of {label}" for label, count in more)
    if len(set(few.values())) == 1 and few.keys() == counts.keys():
        counted = f"{plural(first[1], 'process')}{' per model' if more else ''}"
    return [f"Latency rests on {counted}; an interval needs at least {ENOUGH} to be trusted: `--processes {ENOUGH}`."]


def _few_queries(good: Sequence[Run], samples: pd.DataFrame) -> list[str]:
    """A median of few queries is as likely too high as too low; the reader should know that they were few."""
    timed = [r["attempt_id"] for r in good if r["measure"] == "latency" and r["latency_kind"] in _TIMED]
    asked = samples[samples["attempt_id"].isin(timed) & samples["phase"].isin(_QUERIES)]
    counts = asked.groupby(["attempt_id", "phase"], observed=True).size()
    fewest, enough = int(counts.min()) if len(counts) else 0, fewest_samples(0.5)
    if not 0 < fewest < enough:
        return []
    return [
        f"Medians rest on {'one query' if fewest == 1 else f'{fewest} queries'} per process, and a median takes "
        f"{enough}: `--min-iterations {enough}`."
    ]


def _warming(good: Sequence[Run], models: Sequence[Model], samples: pd.DataFrame) -> list[str]:
    """Processes that were still getting faster when they were measured."""
    timed = [run for run in good if run["measure"] == "latency" and run["latency_kind"] in _TIMED]
    queries = samples[samples["phase"].isin(_QUERIES)]
    durations = {str(attempt): values.tolist() for attempt, values in queries.groupby("attempt_id")["duration_ns"]}
    warming = [run for run in timed if still_warming(durations.get(run["attempt_id"], []))]
    counts = {model.label: sum(is_of(run, model) for run in warming) for model in models}
    return [
        f"{plural(count, 'process')} of {label} {'was' if count == 1 else 'were'} still warming up: the first quarter "
        f"of the queries was {percent(SLOWER)} slower than any later one, or more (`--max-warmup 10`)."
        for label, count in counts.items()
        if count
    ]


def _threads(good: Sequence[Run]) -> list[str]:
    """Threads wait for one another in loops, so that a count depends on how they were scheduled."""
    if any(run["latency_kind"] is None and (run["threads"] or 1) > 1 for run in good if run["measure"] == "latency"):
        return ["Instruction counts are exact at one thread alone; with more they vary by about half a percent."]
    return []


def _sustained(good: Sequence[Run], models: Sequence[Model]) -> list[str]:
    """Minutes of two models cannot alternate: each heats the device for itself."""
    if len(models) > 1 and any(_on_end(run["scenario"]) for run in good):
        return ["Each process ran its minutes on end, one model after the other: minute is compared with like minute."]
    return []


def _on_end(scenario: str) -> bool:
    return scenario in SCENARIOS and SCENARIOS[scenario].on_end


def _searched(good: Sequence[Run], models: Sequence[Model]) -> list[str]:
    """A model that holds a higher rate makes its queries wait longer: latencies at two rates are no comparison."""
    if len(models) > 1 and at_own_rates(good):
        return ["Latencies from arrival are each at the model's own highest rate; `--rate` compares them at one."]
    return []


def _runtimes(good: Sequence[Run], models: Sequence[Model]) -> list[str]:
    """Which runtime each model ran in, where they are not the same; of models that are one in several interpreters,
    only what its name does not say.
    """
    models_by_runtime: dict[tuple[str, ...], list[str]] = {}
    compared = any(read_job(run["job_json"]).versions_of is not None for run in good)
    runtimes = {model.label: runtimes_of([run for run in good if is_of(run, model)]) for model in models}
    for label, names in runtimes.items():
        if compared:
            names = tuple(
                name
                for name in names
                if name not in label and not all(name in others for others in runtimes.values() if others)
            )
        if names:
            models_by_runtime.setdefault(names, []).append(label)
    if len(models_by_runtime) < 2:
        return []
    parts = "; ".join(f"{', '.join(labels)} in {', '.join(names)}" for names, labels in models_by_runtime.items())
    return [f"The models ran in different runtimes: {parts}."]


def _settings(good: Sequence[Run], models: Sequence[Model]) -> list[str]:
    """Models of one runtime that it ran with other settings than the first of them, and a model whose processes had
    different ones: their figures differ for that, too.
    """
    timed = [run for run in good if run["measure"] == "latency"]
    notes, first_of_runtime = [], dict[str, tuple[str, dict[str, str]]]()
    for model in models:
        values = setting_values(timed, model)
        if mixed := [f"{name} ({' / '.join(different)})" for name, different in values.items() if len(different) > 1]:
            notes.append(f"WARNING: the processes of {model.label} ran with different settings: {'; '.join(mixed)}.")
        settings = {name: " or ".join(different) for name, different in values.items()}
        runtime = settings.get(RUNTIME_SETTING, "the runtime")
        other, usual = first_of_runtime.setdefault(runtime, (model.label, settings)) if settings else ("", settings)
        apart = [
            f"{name.replace('_', ' ')} {settings.get(name, 'none')} / {usual.get(name, 'none')}"
            for name in dict.fromkeys((*usual, *settings))
            if settings.get(name) != usual.get(name)
        ]
        if apart:
            notes.append(f"Settings of {runtime} differ, {model.label} / {other}: {'; '.join(apart)}.")
    return notes


def warn_of_other_outputs(rows: Sequence[Row], runs: Sequence[Run], models: Sequence[Model]) -> list[str]:
    """A sentence for each model whose outputs are so far from the reference's that it is no compressed form of it."""
    references = {run["reference_sha256"] for run in runs}
    named = next((model.label for model in models if model.sha256 is not None and model.sha256 in references), None)
    return [
        f"WARNING: the outputs of {model.label} are far from those of {named or 'its reference'}: {row.metric.label} "
        f"{figure.estimate.value:.3g} {row.metric.unit}, and below {row.metric.lowest:g} {row.metric.unit} a model is "
        "no compressed form of the other. Check that both are of the same network and take the same inputs."
        for row in rows
        for model, figure in zip(models, row.figures, strict=True)
        if row.metric.lowest is not None and figure.estimate is not None and figure.estimate.value < row.metric.lowest
    ]


def warn_of_unlike_outputs(rows: Sequence[Row], runs: Sequence[Run], models: Sequence[Model]) -> list[str]:
    """A sentence for each model whose outputs differ from the reference's by more than its file's size explains.

    An exporter that loses a scale gives a file that loads, runs and looks plausible: torchao's int8 weight-only through
    XNNPACK (executorch 1.5.1) takes as many bytes as float32 and is 12 to 17 dB from it. Files whose manifest names a
    method are left out: it changes outputs by itself, and the file was compared with its model when it was made.
    """
    references = {run["reference_sha256"] for run in runs}
    by_name = {row.metric.name: row for row in rows}
    first = next((place for place, model in enumerate(models) if model.sha256 and model.sha256 in references), None)
    if first is None or not {"sqnr_db", "model_bytes"} <= by_name.keys():
        return []
    sizes, distances = by_name["model_bytes"].figures, by_name["sqnr_db"]
    notes = []
    for model, size, distance in zip(models, sizes, distances.figures, strict=True):
        whole = sizes[first].estimate
        made = any(run["method"] not in (None, "baseline") for run in runs if is_of(run, model))
        if made or whole is None or size.estimate is None or distance.estimate is None:
            continue
        share, db = size.estimate.value / whole.value, distance.estimate.value
        expected = next((least for from_share, least in EXPECTED_SQNR_DB if share >= from_share), None)
        if expected is not None and (distances.metric.lowest or 0.0) <= db < expected:
            notes.append(
                f"WARNING: {model.label} takes {share:.2f} of the bytes of {models[first].label}, but its outputs "
                f"differ more than such rounding explains: {db:.3g} dB, where at least {expected:g} dB are usual. If "
                "it is the same network with rounded weights, its exporter may have lost a scale: compare the file "
                "with its model in eager PyTorch. If it was trained on, this is expected."
            )
    return notes


def how_sure_accuracies_are(rows: Sequence[Row], models: Sequence[Model]) -> list[str]:
    """A sentence with the interval of each accuracy, which is of so many labelled samples."""
    by_name = {row.metric.name: row for row in rows}
    if not {"accuracy_top1", "labelled_samples"} <= by_name.keys():
        return []
    parts, counts = [], set()
    pairs = zip(by_name["accuracy_top1"].figures, by_name["labelled_samples"].figures, strict=True)
    for model, (accuracy, samples) in zip(models, pairs, strict=True):
        if accuracy.estimate is None or samples.estimate is None:
            continue
        count = round(samples.estimate.value)
        low, high = share_interval(accuracy.estimate.value, count)
        parts.append(f"{model.label} {100 * accuracy.estimate.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]")
        counts.add(count)
    on = " or ".join(map(str, sorted(counts)))
    return [f"Accuracy, top 1, of {on} labelled samples [95 % interval]: {', '.join(parts)}."] if parts else []


def without_advice(notes: Sequence[str], flags: Sequence[FlagCount]) -> list[str]:
    """The notes of a comparison for a paper, whose readers do not measure again: flags without what to do."""
    shorter = {_flag_note(flag): _flag_note(flag, meaning) for flag in flags}
    return [shorter.get(note, note) for note in notes]


def _passes(good: Sequence[Run]) -> list[str]:
    """How many processes each pass had, where a flag counts those of several: more than take turns for latency."""
    if not any(len(count.passes) > 1 for count in count_flags(good, ())):
        return []
    counts = Counter(run["measure"] for run in good)
    first = [name for name in get_args(Measure) if name in counts]
    parts = [f"{counts[name]} for {name}" for name in dict.fromkeys([*first, *counts])]
    return [f"{plural(len(good), 'process')}: {', '.join(parts)}."]


def _flag_note(count: FlagCount, words: Callable[[str], str] = sentence) -> str:
    spread = {number for _, number in count.by_model}
    models = (
        ""
        if len(spread) == 1 or count.processes == count.of
        else " (" + ", ".join(f"{label} {number}" for label, number in count.by_model if number) + ")"
    )
    passes = f"{count.passes[0]} " if len(count.passes) == 1 else ""
    return f"{_of(count.processes, count.of, passes)}{models}: {words(count.flag)}."


def _of(count: int, total: int, which: str = "") -> str:
    processes = plural(total, f"{which}process")
    return f"All {processes}" if count == total and total > 1 else f"{count} of {processes}"


def _stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."
