"""What is asked of a run: one typed, frozen record. The command line is made from its fields, a file has them as keys,
and Python gives them as arguments of `harness.run`. Imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness.errors import UsageError
from harness.experiment.options import (
    Kind,
    Option,
    choice,
    count,
    file,
    option,
    options_of,
    repeated,
    seconds,
    share,
    sweep,
    switch,
    text,
    time_with_unit,
    values_from,
    whole_number,
)
from harness.experiment.runtime_option_text import read_runtime_options
from harness.experiment.values import parse_bytes, parse_rates, parse_seconds, parse_share, parse_sweep
from harness.flash.names import KINDS, POLICIES, PREDICTORS
from harness.outside_files import expanded, read_mapping
from harness.scenarios.catalogue import SCENARIOS

_QUERIES = ", ".join(
    f"{scenario.queries} of {name}" for name, scenario in SCENARIOS.items() if scenario.repeats and not scenario.on_end
)


MOST_PROCESSES = 10_000
# More than any machine runs at once; tens of thousands end a worker before it says why.
MOST_THREADS = 1024


class NamedModel(NamedTuple):
    """A file, or a name of `harness models list`, and what it is called in tables; None: the name of the file."""

    source: str
    name: str | None = None


def _models(value: Any, name: str) -> tuple[NamedModel, ...]:
    hint = "Give --model a model file, such as model.pte, or a name of `harness models list`."
    if isinstance(value, Mapping):
        value = [NamedModel(_text(source), _text(label)) for label, source in value.items()]
    if isinstance(value, (str, os.PathLike, NamedModel)):
        value = [value]
    if value is not None and not isinstance(value, (list, tuple)):
        raise UsageError(f"{name} is {value!r}, and not a list of files or names.", hint)
    if not value:
        raise UsageError("No model is named.", hint)
    for model in value:
        parts = [model] if not isinstance(model, NamedModel) else list(model[: 1 if model.name is None else 2])
        if wrong := [part for part in parts if not isinstance(part, (str, os.PathLike)) or not str(part)]:
            raise UsageError(f"{name} has {wrong[0]!r} in it, which names no model.", hint)
    return tuple(model if isinstance(model, NamedModel) else _named(os.fspath(model)) for model in value)


def _text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _named(text: str) -> NamedModel:
    """`small=models/a.pte` names a file, where there is none of that very name."""
    name, equals, source = text.partition("=")
    return NamedModel(source, name) if equals and name and source and not os.path.isfile(text) else NamedModel(text)


def _dimension(value: Any, name: str) -> int | Literal["none"]:
    if value == "none":
        return "none"
    if isinstance(value, bool) or not str(value).isdecimal() or len(str(value)) > 3:
        raise UsageError(f"{value!r} is no dimension.", "Give --batch-dim 0, 1 and so on, or --batch-dim none.")
    return int(value)


def _nanoseconds(value: Any, name: str) -> int:
    number = whole_number(value, name)
    if number < 1:
        raise UsageError(f"{name} is {number} ns.", "Give a time above 0, such as 15ms.")
    return number


def _rate(value: Any, name: str) -> float:
    return parse_rates(str(value))[0]


def _cpu_sets(value: Any, name: str) -> tuple[tuple[int, ...], ...]:
    """Each item is a set of processors: a text such as `0,2-3`, a number, or a sequence of numbers."""
    items = value if isinstance(value, (list, tuple)) else [value]
    sets = [
        parse_sweep(item)
        if isinstance(item, str)
        else [count(0).read(cpu, name) for cpu in (item if isinstance(item, (list, tuple)) else [item])]
        for item in items
    ]
    if [] in sets:
        raise UsageError(f"{name} has a set without processors in it.", "Name one at least, such as 0.")
    return tuple(dict.fromkeys(tuple(sorted(cpus)) for cpus in sets))


def _words(known: tuple[str, ...], what: str) -> Kind:
    def check(value: Any, name: str) -> str:
        if value not in known:
            raise UsageError(f"There is no {what} {value!r}.", f"Choose from: {', '.join(known)}.")
        return str(value)

    return sweep(lambda listed: [check(word, what) for word in listed.split(",")], check)


def _times(listed: str) -> list[int]:
    return [round(parse_seconds(part) * 1e9) for part in listed.split(",")]


# Those without a default. Python itself would say in words of its own that they are missing.
_REQUIRED = ("target", "models")
Dimension = int | Literal["none"] | None
_NUMBERS = sweep(parse_sweep, whole_number)
_NUMBERS_FROM_0 = sweep(parse_sweep, count(0, 2**31 - 1).read)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """Everything that a run is asked for, as a frozen record; `with_options` makes another.

    A field takes what the command line takes (`batch="1-8"`, `resolve="5%"`, `latency_bound_ns="15ms"`) or what Python
    has (`batch=[1, 8]`, `resolve=0.05`, `latency_bound_ns=15_000_000`); it then holds the latter. None means: as the
    scenario or the target has it. Raises UsageError for a value that cannot be.
    """

    target: str = option(
        text("NAME"),
        "Where to measure; `harness targets` lists them.",
        section="what",
        default=None,
        short="-t",
    )
    models: tuple[NamedModel, ...] = option(
        Kind(_models, "[NAME=]FILE", repeats=True),
        "A model file, such as .pte, .pt2, .onnx or .gguf, or a name from `harness models list`; NAME=FILE calls it "
        "NAME in tables. Repeat it to compare; the first is the baseline.",
        section="what",
        default=None,
        flag="--model",
        short="-m",
    )
    scenario: str | None = option(
        choice(tuple(SCENARIOS)),
        "What is done with the model.",
        section="what",
        default=None,
        default_words="generate for language models, else single-stream",
    )
    methods: tuple[str, ...] = option(
        repeated(text("NAME")),
        "Which method of a .pte to measure; repeat it to measure several, each as a model of its own.",
        section="what",
        default=(),
        flag="--method",
        default_words="forward, or the only one",
    )
    data_files: tuple[Path, ...] = option(
        repeated(file()),
        "The weights of a .pte that has them in a .ptd; once a --model, in the same order.",
        section="what",
        default=(),
        flag="--data-file",
        default_words="the .ptd of the same name beside it, or the one that ExecuTorch's exporter wrote there",
    )
    device: str | None = option(
        text("DEVICE"),
        "Which device of the target; of arm64: adb[:SERIAL], ssh:HOST, local, qemu[:CPU], or a name in the devices "
        "file; of cuda: a number or UUID of `nvidia-smi -L`.",
        section="what",
        default=None,
        default_words="the one at hand",
    )
    runtime: str | None = option(
        text("NAME"),
        "Which runtime of the target: python or native on x86, eager or graphs on cuda; or one that loads the models "
        "(`harness targets`), where a format has several. Other models keep their own.",
        section="what",
        default=None,
        default_words="the target's first",
    )
    pythons: tuple[Path, ...] = option(
        repeated(file()),
        "Run the models in this interpreter, the python executable of another environment in which harness is "
        "installed. Repeat it to compare versions of a runtime: each model in all of them, interleaved; the first is "
        "the baseline.",
        section="what",
        default=(),
        flag="--python",
        default_words="the one that runs harness",
    )
    devices: Path | None = option(
        file(), "The file that names devices; see `harness devices --help`.", section="expert", default=None
    )
    processes: int | None = option(
        count(1, MOST_PROCESSES),
        "Worker processes of each model, interleaved.",
        section="length",
        default=None,
        short="-n",
        default_words="5; 1 of sustained, and where instructions are counted or cycles estimated: these are exact",
    )
    resolve: float | None = option(
        share(parse_share),
        "Add interleaved blocks of latency processes after the first --processes until differences of so many percent, "
        "such as 5%, would show: until a true one of that size would be found in four of five such runs, in the main "
        "time of the table, for every model. Intervals allow for the looks.",
        section="length",
        default=None,
    )
    max_time_s: float | None = option(
        time_with_unit(parse_seconds),
        "With --resolve: add no block that would end later than so long after measuring began, such as 10m.",
        section="length",
        default=None,
        flag="--max-time",
        unit="s",
    )
    min_duration_s: float | None = option(
        seconds(parse_seconds),
        "Seconds that each process measures, at least.",
        section="length",
        default=None,
        flag="--min-duration",
        unit="s",
        default_words="1; 0 where instructions are counted",
    )
    max_duration_s: float = option(
        seconds(parse_seconds),
        "Seconds that each process measures, at most.",
        section="length",
        default=60.0,
        flag="--max-duration",
        unit="s",
        default_words="60",
    )
    min_iterations: int | None = option(
        count(),
        "Queries of each process, at least; p90 takes 64 and p99 662, and neither is shown of fewer.",
        section="length",
        default=None,
        default_words=f"{_QUERIES}; 3 where instructions are counted",
    )
    max_warmup_s: float = option(
        seconds(parse_seconds),
        "Seconds of warm-up at most; it ends earlier when durations are steady.",
        section="length",
        default=2.0,
        flag="--max-warmup",
        unit="s",
        default_words="2",
    )
    threads: tuple[int, ...] = option(
        sweep(parse_sweep, count(1, MOST_THREADS).read),
        "Threads, as a list or range: 1,2,4 or 1-4.",
        section="conditions",
        default=(1,),
        sweeps=True,
        default_words="1",
    )
    batch: tuple[int, ...] = option(
        _NUMBERS_FROM_0,
        "Batch size, for a model that was exported with a dynamic batch. All dimensions that vary together with the "
        "first input's batch change; all other sizes stay as declared. Of a model with fixed sizes it can only say "
        "which of them is the batch. 0: the file's own.",
        section="conditions",
        default=(0,),
        sweeps=True,
        default_words="0",
    )
    batch_dim: Dimension = option(
        Kind(_dimension, "N|none"),
        "Which dimension of the first input is the batch, counted from 0; none: an execute is one sample. Without it, "
        "the first is taken where it may vary or is 1, and else samples per second are not known.",
        section="conditions",
        default=None,
    )
    prompt_tokens: tuple[int, ...] | None = option(
        _NUMBERS,
        "Length of the prompt.",
        section="conditions",
        default=None,
        sweeps=True,
        unit="tokens",
        default_words="half the context, at most 128",
    )
    new_tokens: tuple[int, ...] | None = option(
        _NUMBERS,
        "Tokens to generate.",
        section="conditions",
        default=None,
        sweeps=True,
        unit="tokens",
        default_words="the rest of the context, at most 128",
    )
    prompts: tuple[str, ...] = option(
        repeated(text("TEXT")),
        "A prompt of language models, as text; repeat it for several, which are asked in turn. All are cut to the "
        "tokens of the shortest, and an answer ends at the model's end token.",
        section="conditions",
        default=(),
        flag="--prompt",
        default_words="stretches of the evaluation text, or random tokens where there is none",
    )
    prompt_file: Path | None = option(
        file(),
        "Prompts as --prompt has them, in a file: one a line, or a .jsonl of objects with `prompt`.",
        section="conditions",
        default=None,
    )
    tokenizers: tuple[Path, ...] = option(
        repeated(file()),
        "The tokenizer of language models: a tokenizer.json of Hugging Face, or a tokenizer.model of SentencePiece or "
        "tiktoken; once for all, or once a --model.",
        section="what",
        default=(),
        flag="--tokenizer",
        default_words="that of the manifest, or the file of such a name next to the model",
    )
    precision: tuple[str, ...] | None = option(
        sweep(lambda listed: listed.split(","), lambda value, name: str(value)),
        "What a GPU computes in: fp32, tf32, fp16, bf16, int8 (bf16 with the weights of linear layers in int8).",
        section="conditions",
        default=None,
        sweeps=True,
        default_words="the file's own, products in float32",
    )
    compile: bool = option(switch(), "torch.compile the model (.pt2 only).", section="conditions", default=False)
    runtime_options: tuple[tuple[str, tuple[str, ...]], ...] = option(
        Kind(read_runtime_options, "NAME=VALUE", repeats=True),
        "Set an option of a runtime (`harness targets --options` lists them). NAME=VALUE,VALUE sweeps, and so does "
        "repeating NAME. It holds for every model whose runtime has it; RUNTIME.NAME=VALUE for that runtime alone.",
        section="conditions",
        default=(),
        flag="--runtime-option",
        sweeps=True,
        default_words="what each runtime has",
    )
    cpus: tuple[tuple[int, ...], ...] = option(
        Kind(_cpu_sets, "LIST", repeats=True),
        "Pin the worker to these processors (0,2-3). Repeat it to sweep.",
        section="conditions",
        default=(),
        sweeps=True,
    )
    clock: str | None = option(
        text("MHZ"),
        "Hold a GPU's clock there for the session (needs root); put back after.",
        section="conditions",
        default=None,
        unit="MHz",
    )
    inputs: Path | None = option(
        file(),
        "Inputs in the model's order, or by its names: .npz, .safetensors, or a .pt2, whose example inputs are meant. "
        "A number is an array without dimensions; None has no array.",
        section="passes",
        default=None,
        default_words="made inputs, which go through all integers that the model takes",
    )
    labels: Path | None = option(
        file(),
        "The classes of labelled samples, whose first dimension counts them in --inputs: an .npy or .npz of integers "
        "from 0. Gives the accuracy of each model over all samples; the first batch of them is timed. Floats are the "
        "numbers that a model should give, and the mean squared error is that of its first output.",
        section="passes",
        default=None,
    )
    quality: bool = option(switch(), "Leave out the quality pass.", section="passes", default=True, flag="--no-quality")
    data: Path | None = option(
        file(),
        "The evaluation text of language models: a copy of the text that comes with harness, or with a tokenizer in a "
        "file any text.",
        section="passes",
        default=None,
    )
    tokens: Path | None = option(
        file(),
        "The evaluation text in a model's own tokens, int64 .npy; for models without a tokenizer in a manifest.",
        section="passes",
        default=None,
    )
    max_eval_tokens: int | None = option(
        count(),
        "Evaluate on at most so many tokens.",
        section="passes",
        default=None,
        unit="tokens",
        default_words="all; 512 under an emulator",
    )
    memory: bool = option(switch(), "Leave out the memory pass.", section="passes", default=True, flag="--no-memory")
    energy: bool = option(
        switch(),
        "Measure energy too, in a pass of its own of ten seconds and more a process; `harness targets` says what it "
        "comes from.",
        section="passes",
        default=False,
    )
    energy_csv: Path | None = option(
        file(must_exist=False),
        "The energy pass with an external meter: its recording, columns time (Unix seconds or ISO 8601 with zone) and "
        "watts or joules. It may grow meanwhile, or be exported at the end, which is waited for.",
        section="passes",
        default=None,
    )
    profile: bool = option(
        switch(),
        "Record operators too, in a pass of its own, and print the heaviest.",
        section="passes",
        default=False,
    )
    rate_queries_per_s: tuple[float, ...] | None = option(
        sweep(parse_rates, _rate),
        "Queries per second that arrive, such as 50 or 10-50:10.",
        section="scenario",
        default=None,
        flag="--rate",
        sweeps=True,
        unit="queries/s",
    )
    latency_bound_ns: tuple[int, ...] | None = option(
        sweep(_times, _nanoseconds, "TIMES"),
        "What p99 may take, such as 15ms. Without --rate the highest rate that holds it is searched for, in trials of "
        "--min-iterations queries (1000) and --max-duration at most.",
        section="scenario",
        default=None,
        flag="--latency-bound",
        sweeps=True,
        unit="ns",
    )
    streams: tuple[int, ...] | None = option(
        _NUMBERS,
        "Samples of one query.",
        section="scenario",
        default=None,
        sweeps=True,
    )
    duration_s: float | None = option(
        time_with_unit(parse_seconds),
        "How long, such as 30m.",
        section="scenario",
        default=None,
        flag="--duration",
        unit="s",
    )
    window: tuple[int, ...] | None = option(
        _NUMBERS_FROM_0,
        "Tokens whose neurons stay in DRAM.",
        section="scenario",
        default=None,
        sweeps=True,
        unit="tokens",
    )
    dram_budget_bytes: tuple[int, ...] | None = option(
        sweep(lambda listed: [parse_bytes(part) for part in listed.split(",")], count(0).read),
        "For neurons in DRAM, such as 2MB.",
        section="scenario",
        default=None,
        flag="--dram-budget",
        sweeps=True,
        unit="bytes",
        default_words="none",
    )
    policy: tuple[str, ...] | None = option(
        _words(POLICIES, "policy"),
        f"How far the ablation's steps go: {', '.join(POLICIES)}.",
        section="scenario",
        default=None,
        sweeps=True,
    )
    predictor: str | None = option(
        choice(PREDICTORS),
        "How the neurons to read are chosen: by the up projection, kept in DRAM, or by trained predictors, which miss "
        "some.",
        section="scenario",
        default=None,
    )
    reader: tuple[str, ...] | None = option(
        _words(KINDS, "reader"),
        f"What reads: {', '.join(KINDS)}.",
        section="scenario",
        default=None,
        sweeps=True,
    )
    depth: tuple[int, ...] | None = option(
        _NUMBERS,
        "Reads at once.",
        section="scenario",
        default=None,
        sweeps=True,
    )
    peer: bool | None = option(
        switch(),
        "Where fio is installed, set the reads against its own of that size and depth, after the first process of each "
        "model: some seconds.",
        section="scenario",
        default=None,
        flag="--peer/--no-peer",
        default_words="peer",
    )
    ablate: bool = option(
        switch(),
        "Measure every policy, and print the table of the ablation.",
        section="scenario",
        default=False,
    )
    skip_existing: bool = option(
        switch(),
        "Go on with the newest session that has jobs of most of these models, from this device and these versions: "
        "those that ended well are not run again, but for those of a block that was cut in the middle.",
        section="results",
        default=False,
    )
    timeout_s: float = option(
        seconds(parse_seconds, above_zero=True),
        "Seconds a worker may take, beside --duration.",
        section="expert",
        default=600.0,
        flag="--timeout",
        unit="s",
        default_words="600",
    )
    lease_timeout_s: float = option(
        seconds(parse_seconds),
        "Seconds to wait while another run holds the device.",
        section="expert",
        default=3600.0,
        flag="--lease-timeout",
        unit="s",
        default_words="3600",
    )

    def __post_init__(self) -> None:
        for each, field in zip(OPTIONS, fields(self), strict=True):
            value = getattr(self, field.name)
            if value is None:
                value = field.default
            if value is not None or field.name in _REQUIRED:
                value = each.kind.read(value, each.field if each.kind.is_switch else each.key)
            object.__setattr__(self, field.name, value)
        self._check()

    def with_options(self, **options: Any) -> RunRequest:
        """Another request, with these fields in place of its own; values as for a new one. Raises UsageError."""
        return replace(self, **values_from(options, OPTIONS, "A run"))

    def _check(self) -> None:
        """What can be checked before a target is known."""
        given: dict[str, list[str]] = {}
        for each, field in zip(OPTIONS, fields(self), strict=True):
            if each.scenario not in (None, self.scenario) and getattr(self, field.name) != field.default:
                given.setdefault(str(each.scenario), []).append(each.flag.partition("/")[0])
        for scenario, flags in given.items():
            raise UsageError(
                f"Only --scenario {scenario} takes {', '.join(flags)}.", f"Add --scenario {scenario}, or leave it out."
            )
        if self.scenario == "server" and self.rate_queries_per_s is None and self.latency_bound_ns is None:
            raise UsageError(
                "A server needs a rate of arrivals, or a bound within which to find the highest.",
                "Give --rate 50, or --latency-bound 15ms, or both.",
            )
        if self.ablate and self.policy is not None:
            raise UsageError("An ablation runs every policy.", "Give --ablate or --policy, not both.")
        for values, what, todo in (
            (self.streams, "A query has at least one sample.", "Give --streams 1 or more."),
            (self.depth, "At least one read is made at once.", "Give --depth 1 or more."),
        ):
            if values is not None and min(values) < 1:
                raise UsageError(what, todo)
        if self.ablate and len(self.pythons) > 1:
            raise UsageError("An ablation compares policies, and not interpreters.", "Give one --python, or none.")
        if self.prompts and self.prompt_file is not None:
            raise UsageError("Prompts are given twice.", "Give --prompt or --prompt-file, not both.")
        if self.labels is not None and self.inputs is None:
            raise UsageError("Labels say nothing without the samples that they are of.", "Give these with --inputs.")
        if self.labels is not None and self.batch_dim not in (None, 0):
            raise UsageError(
                "Labelled samples are in the first dimension.", "Leave out --batch-dim, or leave out --labels."
            )
        if self.min_duration_s is not None and self.min_duration_s > self.max_duration_s:
            raise UsageError(
                f"A process cannot measure {self.min_duration_s:g} s at least and {self.max_duration_s:g} s at most.",
                f"Give --max-duration {self.min_duration_s:g} or more too, or a shorter --min-duration.",
            )
        if self.max_time_s is not None and self.resolve is None:
            raise UsageError("--max-time ends the adding of blocks.", "Add --resolve 5%, or leave it out.")


OPTIONS: tuple[Option, ...] = options_of(RunRequest)
"""The options of a run in the order of the fields of `RunRequest`."""


def request_values(table: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """The fields of a request from the keys of a file that lies in `folder`, from which relative paths start; `where`
    names it in messages. Raises UsageError for an unknown key.
    """
    values = values_from(table, OPTIONS, where)
    for each in OPTIONS:
        if each.kind.is_file and each.field in values:
            values[each.field] = _beside(values[each.field], folder)
    if "models" in values:
        values["models"] = _models_beside(values["models"], folder)
    return values


def read_plan(path: Path) -> dict[str, Any]:
    """The fields of a request in a TOML or JSON file, and `results` where it names that. Raises UsageError."""
    if path.suffix not in (".toml", ".json"):
        raise UsageError(
            f"{path} is no plan, which ends in .toml or .json.",
            f"If it is a model, write `-m {path}`, in Python models=[…].",
        )
    if not path.exists():
        raise UsageError(f"There is no plan {path}.", "Check the path; its keys are the options of `harness run`.")

    def parse(table: Mapping[str, Any]) -> dict[str, Any]:
        plan = dict(table)
        results = plan.pop("results", None)
        if not isinstance(results, str | None) or results == "":
            raise UsageError(f"results is {results!r} in {path.name}, which names no folder.", 'Write it as "results".')
        values = request_values(plan, path.parent, path.name)
        return values if results is None else values | {"results": _beside(results, path.parent)}

    return read_mapping(path, parse, "plan", "`harness run --help` names the options, which are its keys.")


def model_beside(source: str, folder: Path) -> str:
    """A file in `folder`, absolute; whatever else `source` names as it is."""
    path = folder / expanded(source, "A model")
    return str(path.resolve()) if os.path.isfile(path) else source


def _models_beside(value: Any, folder: Path) -> Any:
    return tuple(NamedModel(model_beside(model.source, folder), model.name) for model in _models(value, "models"))


def _beside(value: Any, folder: Path) -> Any:
    if isinstance(value, (list, tuple)):
        return [_beside(item, folder) for item in value]
    return folder.resolve() / value if isinstance(value, str) and "://" not in value else value


RunRequest.__doc__ = f"{RunRequest.__doc__}\n    Fields:\n\n" + "".join(
    f"    {each.field}: {each.field_help}{f' Default: {each.default_words}.' if each.default_words else ''}\n"
    for each in OPTIONS
)
