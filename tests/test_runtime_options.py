"""Options of runtimes: how they are written, which of them hold for a model, and which runs stand together."""

from __future__ import annotations

from typing import Any, cast

import pytest
from fakes.jobs import make_job

from harness.conditions.shared_options import by_options
from harness.errors import UsageError
from harness.experiment.request import RunRequest
from harness.experiment.runtime_options import check_runtime_options, option_combinations
from harness.protocol import Loaded
from harness.runtime import LoadedModel, RuntimeCapabilities, RuntimeOption
from harness.worker.__main__ import _loaded


class Fake:
    """A runtime of which nothing is asked but its options."""

    def __init__(self, name: str, *options: RuntimeOption) -> None:
        self.name = name
        self.capabilities = RuntimeCapabilities(formats=(f".{name}",), options=options)

    def start(self, device: str) -> dict[str, str]:
        return {}

    def describe(self, path: Any) -> Any: ...

    def load(self, path: Any, job: Any, files: Any) -> Any: ...


LEVEL = RuntimeOption(name="level", default="0", help="How far.")
CACHE = RuntimeOption(name="cache", default="f16", help="Its type.", values=("f16", "f32"))
FIRST, SECOND, PLAIN = Fake("first", LEVEL, CACHE), Fake("second.cpp", CACHE), Fake("plain")


def asked(options: Any) -> RunRequest:
    return RunRequest(target="fake", models="m.pte", runtime_options=options)


@pytest.mark.parametrize(
    "given",
    [
        {"level": [0, 4], "cache": "f32"},
        ["level=0,4", "cache=f32"],
        ["level=0", "cache=f32", "level=4", "level=0"],
        (("level", ("0", "4")), ("cache", ("f32",))),
    ],
)
def test_they_are_written_as_a_table_or_as_texts(given: Any) -> None:
    request = asked(given)
    assert request.runtime_options == (("level", ("0", "4")), ("cache", ("f32",)))
    assert request.with_options(threads=2).runtime_options == request.runtime_options


def test_true_and_false_are_on_and_off() -> None:
    assert asked({"spinning": [True, False]}).runtime_options == (("spinning", ("on", "off")),)


@pytest.mark.parametrize(
    "given", ["level", "=4", {"level": None}, {"level": []}, {"level": 1.5}, [3], [("a", "b", "c")]]
)
def test_what_is_no_option_is_one_sentence(given: Any) -> None:
    with pytest.raises(UsageError, match=r"\.$") as caught:
        asked(given)
    assert "NAME=VALUE" in caught.value.hint


def test_a_model_has_those_of_its_runtime_without_defaults() -> None:
    request = asked({"level": [0, 4], "cache": ["f32", "f16"]})
    assert option_combinations(request, FIRST) == [
        (("cache", "f32"),),
        None,
        (("cache", "f32"), ("level", "4")),
        (("level", "4"),),
    ]
    assert option_combinations(request, SECOND) == [(("cache", "f32"),), None]
    assert option_combinations(request, PLAIN) == option_combinations(request, None) == [None]


def test_with_the_name_of_a_runtime_it_is_that_ones_alone() -> None:
    request = asked({"second.cpp.cache": "f16", "cache": "f32"})
    check_runtime_options(request, [FIRST, SECOND])
    assert option_combinations(request, FIRST) == [(("cache", "f32"),)]
    assert option_combinations(request, SECOND) == [None]


def test_a_value_must_be_one_for_every_runtime_that_has_the_option() -> None:
    other = Fake("other", RuntimeOption(name="cache", default="u8", help="Its type.", values=("u8", "f32")))
    check_runtime_options(asked({"cache": "f32"}), [FIRST, other, None])
    with pytest.raises(UsageError, match="other: cache cannot be 'f16'"):
        check_runtime_options(asked({"cache": "f16"}), [FIRST, other])


def test_runs_without_an_option_stand_with_every_value_of_the_others() -> None:
    plain, on, off, small = {}, {"spin": "on"}, {"spin": "off"}, {"cache": "u8"}
    assert by_options([plain, on], []) == [((), [0, 1])]
    assert by_options([plain, on, off], ["spin"]) == [((("spin", "on"),), [0, 1]), ((("spin", "off"),), [0, 2])]
    both = by_options([plain, on, off, small], ["spin", "cache"])
    assert both == [
        ((("spin", "on"), ("cache", "u8")), [0, 1, 3]),
        ((("spin", "off"), ("cache", "u8")), [0, 2, 3]),
    ]
    # Nobody ran the other two combinations of a runtime that has both.
    apart = [{"spin": "on", "cache": "f16"}, {"spin": "off", "cache": "u8"}]
    assert by_options(apart, ["spin", "cache"]) == [
        ((("spin", "on"), ("cache", "f16")), [0]),
        ((("spin", "off"), ("cache", "u8")), [1]),
    ]


def test_settings_have_options_as_given_and_what_the_library_made_of_them() -> None:
    runtime = Fake("fast", CACHE, RuntimeOption(name="flash", default="auto", help="Whether.", values=("auto", "on")))
    said = Loaded(
        program_ns=1, method_ns=1, program_bytes=1, planned_bytes=None, settings={"threads": "1", "flash": "on"}
    )
    model = LoadedModel(cast(Any, None), said, lambda inputs: inputs)
    job = make_job(runtime_options=(("cache", "f32"),))
    settings = _loaded(model, runtime, job).settings
    assert settings == {"runtime": "fast", "threads": "1", "flash": "auto (on)", "cache": "f32"}
