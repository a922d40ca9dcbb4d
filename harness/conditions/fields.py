"""What the models of one table have in common: each field of a condition declared once, with all that is known of it.

Whatever sorts runs into tables, names a condition in words, filters by one or writes one into a file goes through
`FIELDS`. A field is added by one line in `Condition`: a column of `runs`, or whatever a stored job says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from harness.conditions.workload import workload_words
from harness.job import Job
from harness.store.stored_job import StoredJob, read_job

LISTED = ", "


@dataclass(frozen=True, kw_only=True)
class ConditionField:
    """`name` is that of the attribute of `Condition`, and of the column in files.

    words: a value in words that tell the condition from others; without them the field never does.
    absent: None in such words.
    caption: a value in the line of facts under a table's title, where it differs from `words`; false is left out there.
    absent_caption: None in that line; without it None is left out.
    place: its place in that line, from the left; None: not there, since the title or another line has it.
    listed: a value is a list of facts, joined by commas, of which conditions may share some.
    unit: neighbours of one unit are joined: 64 prompt + 32 new tokens.
    from_job: the value out of a stored job; without it the value is that of the column of `runs` by this name.
    keyed: a column that differs between tables.
    decides_quality: quality depends on it too; of columns they come first.
    of_data: of the quality pass alone, so that sessions without one have the same condition otherwise.
    filter: the type of the value that a table or a figure may ask for; None: it may not.
    later: there are stored conditions from before there was such a field, whose ids it leaves as they are.
    """

    name: str = ""
    words: Callable[[Any], str] | None = str
    absent: str | None = None
    caption: Callable[[Any], str] | None = None
    absent_caption: str | None = None
    place: int | None = 99
    listed: bool = False
    unit: str | None = None
    from_job: Callable[[StoredJob], Any] | None = None
    keyed: bool = False
    decides_quality: bool = False
    of_data: bool = False
    filter: type | None = None
    later: bool = False

    def say(self, value: Any) -> str:
        """The value, None included, in words that tell the condition from others."""
        if value is None:
            return self.absent or f"unknown {self.name.replace('_', ' ')}"
        return (self.words or str)(value)

    def say_in_caption(self, value: Any) -> str | None:
        """The value in the line of facts under a title; None where there is nothing to say."""
        if value:
            return (self.caption or self.words or str)(value)
        return self.absent_caption if value is None else None


def column(filter: type, **facts: Any) -> Any:
    """A field that is a column of `runs` from the beginning; tables differ by it, and may ask for it."""
    return field(metadata={"field": ConditionField(keyed=True, filter=filter, **facts)})


def of_data(words: Callable[[Any], str] | None, **facts: Any) -> Any:
    """A field of the data that quality was measured on; None without such data."""
    return field(default=None, metadata={"field": ConditionField(words=words, of_data=True, place=None, **facts)})


def of_job(from_job: Callable[[StoredJob], Any], **facts: Any) -> Any:
    """A field that a stored job says; None in rows from before it did."""
    return field(default=None, metadata={"field": ConditionField(from_job=from_job, later=True, **facts)})


def option_words(options: Iterable[tuple[str, str]]) -> str | None:
    """Options of a runtime with their values, such as `spinning on, accuracy_level 4`; None where there are none."""
    return LISTED.join(f"{name} {value}" for name, value in sorted(options)) or None


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _compiled(compiled: bool) -> str:
    return "compiled" if compiled else "not compiled"


@dataclass(frozen=True)
class Condition:
    """What the models of one table have in common. `cpus` is None where processes were not pinned, `runtime` where the
    target's own was used, `precision` where the file's own was, `data` where no quality was measured; the token
    counts are None where the scenario has none, `load` where it asks nothing beyond these.
    """

    target: str = column(str, decides_quality=True, place=None)
    device: str | None = column(str, decides_quality=True, place=None)
    scenario: str = column(str, place=None)
    threads: int | None = column(int, words=_threads, place=4)
    cpus: str | None = column(
        str, words="CPUs {}".format, absent="not pinned", absent_caption="not pinned to CPUs", place=5
    )
    runtime: str | None = column(str, words="{} runtime".format, absent="the target's own runtime", place=6)
    compile: bool = column(bool, words=_compiled, caption=lambda _: "torch.compile", place=7)
    batch: int | None = column(int, words="batch {}".format, place=3)
    prompt_tokens: int | None = column(int, words="{} prompt tokens".format, unit="tokens", place=0)
    new_tokens: int | None = column(int, words="{} new tokens".format, unit="tokens", place=1)
    data: str | None = of_data("on {}".format, absent="no quality data")
    data_sha256: str | None = of_data(None)
    precision: str | None = of_job(
        lambda job: job.precision,
        filter=str,
        decides_quality=True,
        absent="the file's own precision",
        caption="computed in {}".format,
        place=8,
    )
    load: str | None = of_job(workload_words, absent="no load of its own", listed=True, place=2)
    versions_of: str | None = of_job(
        lambda job: job.versions_of,
        words="versions for {}".format,
        absent="this interpreter alone",
        decides_quality=True,
        place=10,
    )
    runtime_options: str | None = of_job(
        lambda job: option_words(job.runtime_options or ()),
        filter=str,
        absent="default options of the runtime",
        listed=True,
        place=9,
    )


FIELDS: tuple[ConditionField, ...] = tuple(
    replace(entry.metadata["field"], name=entry.name) for entry in fields(Condition)
)
KEY: tuple[str, ...] = tuple(entry.name for entry in FIELDS if entry.keyed)
"""The columns of `runs` by which tables differ, those that decide quality first."""
ASKED: tuple[str, ...] = tuple(entry.name for entry in FIELDS if not entry.of_data)
"""What was asked of all models alike: a condition without the data of its quality."""
FILTERS: dict[str, type] = {entry.name: entry.filter for entry in FIELDS if entry.filter is not None}
"""What a table or a figure may ask for, and the type of its value."""
TELLING: tuple[ConditionField, ...] = tuple(
    sorted((entry for entry in FIELDS if entry.words is not None), key=lambda entry: entry.of_data)
)
"""Fields in the order in which they tell conditions apart."""
CAPTION: tuple[ConditionField, ...] = tuple(
    sorted((entry for entry in FIELDS if entry.place is not None), key=lambda entry: entry.place or 0)
)
"""Fields in the order of the line of facts under a title."""


def condition_of(run: Mapping[str, Any], data: str | None = None, data_sha256: str | None = None) -> Condition:
    """The condition of a row of `runs`, whose quality was measured on these data."""
    job = read_job(run["job_json"])
    values = {
        entry.name: run[entry.name] if entry.from_job is None else entry.from_job(job)
        for entry in FIELDS
        if not entry.of_data
    }
    return Condition(**values, data=data, data_sha256=data_sha256)


def planned_condition(job: Job, device: str) -> Condition:
    """The condition that a job will be stored under on that device."""
    cpus = None if job.cpus is None else ",".join(map(str, job.cpus))
    return condition_of({**asdict(job), "device": device, "cpus": cpus, "job_json": job.canonical_json()})


def without_data(condition: Condition) -> Condition:
    """The condition of whatever depends on no data."""
    data: dict[str, Any] = {entry.name: None for entry in FIELDS if entry.of_data}
    return replace(condition, **data)


def lasting_facts(condition: Condition) -> dict[str, Any]:
    """The fields for an id that a new field does not change: a later one that is None is left out."""
    later = {entry.name for entry in FIELDS if entry.later}
    return {name: value for name, value in asdict(condition).items() if name not in later or value is not None}


def tell_apart(conditions: Sequence[Condition]) -> list[tuple[str, ...]]:
    """What tells each condition from the others, as few words as do; a number where only options of a job do."""
    words_of_each: list[tuple[str, ...]] = [()] * len(conditions)
    for entry in TELLING:
        texts = _differing(entry, [getattr(condition, entry.name) for condition in conditions])
        more = [(*words, text) for words, text in zip(words_of_each, texts, strict=True)]
        if len(set(more)) > len(set(words_of_each)):
            words_of_each = more
    if len(set(words_of_each)) < len(words_of_each):
        return [(*words, f"condition {number}") for number, words in enumerate(words_of_each, 1)]
    return words_of_each


def _differing(entry: ConditionField, values: Sequence[Any]) -> list[str]:
    """Each value in words; of a listed field without the parts that all have, where every value has others."""
    texts = [entry.say(value) for value in values]
    if not entry.listed or None in values:
        return texts
    parts = [text.split(LISTED) for text in texts]
    own = [LISTED.join(part for part in own_parts if not all(part in other for other in parts)) for own_parts in parts]
    return own if all(own) else texts
