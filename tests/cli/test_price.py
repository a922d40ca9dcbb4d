"""`harness models price`, through the runner, the session and the store: on workers that say what was agreed, and once
on real ones.
"""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.target import CAPABILITIES, DONE, HELLO, FakeTarget, Script, fails, samples, say
from models_on_disk import Models

import harness.experiment.plan
import harness.experiment.run as experiment
from harness.cli.models import models as commands
from harness.cli.models import pricing as pricing_command
from harness.errors import UsageError
from harness.job import Files, Job
from harness.models.gpt.network import GPT
from harness.models.zoo import pricing, recipes
from harness.protocol import Describe
from harness.store.dataset import read_tables

pytestmark = pytest.mark.usefixtures("unsynced", "toy")

RECIPE = """
method = "self-compression"
parent = "parent"
precision = "int4"
data_sha256 = ""
[models.toy.architecture]
vocabulary_size = 11
context = 8
layers = 1
heads = 2
width = 16
[models.toy.training]
steps = 1
batch = 1
seed = 0
rate = 1.0
[models.toy.compression]
gamma = 1.0
target_bits = 1.0
"""
CHANNELS = {"qkv": 24, "fc": 32}
DRIFT = (1.0, 1.1, 1.3)
# How long the program without half of a kind takes, as a share of the whole one, block by block.
CLEAR = {"qkv": (0.8,) * 3, "fc": (0.5,) * 3}
WHOLE_NS = 1_000_000
LANGUAGE_MODEL = Describe(
    format="pte",
    methods=[
        {
            "name": "forward",
            "inputs": [{"dtype": "int64", "sizes": [1, 7]}, {"dtype": "int64", "sizes": [1]}],
            "outputs": [{"dtype": "float32", "sizes": [1, 11]}],
        }
    ],
    metadata={"get_vocab_size": 11, "use_kv_cache": True, "get_max_seq_len": 8, "get_max_context_len": 8},
    delegates=[],
)
TIMED = replace(CAPABILITIES, formats=(".pte",), scenarios=("generate",))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zoo has one model, a tiny one."""
    zoo = recipes.parse(tomllib.loads(f"[models.toy]{RECIPE}"))
    monkeypatch.setattr(pricing_command, "packaged", lambda: zoo)


@pytest.fixture
def unexported(monkeypatch: pytest.MonkeyPatch) -> None:
    def export(_: GPT, path: Path, precision: str) -> None:
        path.write_text(path.name)

    monkeypatch.setattr(pricing, "export_pte", export)


@pytest.fixture
def price(monkeypatch: pytest.MonkeyPatch, unexported: None, tmp_path: Path) -> Callable[..., Result]:
    """`harness models price` with further arguments, on a fake target whose workers take `shares` of the time."""

    def run(
        *arguments: str, shares: dict[str, tuple[float, ...]] = CLEAR, target: FakeTarget | None = None, blocks: int = 3
    ) -> Result:
        fake = target or FakeTarget(worker(shares), capabilities=TIMED)
        for module in (pricing_command, experiment):
            monkeypatch.setattr(module, "find_target", lambda name: fake)
        options = ["price", "toy", "-t", "fake", "--blocks", str(blocks), "--results", str(tmp_path / "results")]
        return CliRunner().invoke(commands, [*options, *arguments], catch_exceptions=False, env={"COLUMNS": "200"})

    return run


def worker(shares: dict[str, tuple[float, ...]], broken: str = "") -> Callable[[Job, Files], Script]:
    """Workers on a machine that gets slower; the one of the program `broken` fails. A prompt takes ten tokens' time."""

    def script(job: Job, files: Files) -> Script:
        if job.measure == "describe":
            return (HELLO, say(LANGUAGE_MODEL), DONE)
        kind = job.model.rpartition("-")[2]
        if kind == broken:
            return (HELLO, fails("model", "It is damaged."))
        share = shares[kind][job.block] if kind in shares else 1.0
        taken = round(WHOLE_NS * DRIFT[job.block] * share)
        return (HELLO, samples(taken, taken, phase="decode"), samples(10 * taken, phase="prefill"), DONE)

    return script


def fragment(text: str) -> dict[str, Any]:
    """The prices of the TOML that follows the table."""
    document = tomllib.loads(text[text.index("# toy in") :])
    prices: dict[str, Any] = document["models"]["toy"]["compression"]["prices"]
    return prices


MEAN_NS = WHOLE_NS * math.prod(DRIFT) ** (1 / 3)


def test_prices_are_what_was_saved_over_what_was_removed(price: Callable[..., Result]) -> None:
    ended = price("--json")
    assert ended.exit_code == 0
    said = json.loads(ended.stdout)["data"]
    assert (said["condition"]["scenario"], said["condition"]["target"]) == ("generate", "fake")
    assert said["whole"]["estimate"]["value"] == pytest.approx(MEAN_NS)
    found = {each["kind"]: each for each in said["prices"]}
    assert {kind: each["channels"] for kind, each in found.items()} == {"proj": None, "out": None} | CHANNELS
    for kind, saved in (("qkv", 0.2), ("fc", 0.5)):
        expected = pytest.approx(MEAN_NS * saved / CHANNELS[kind], rel=1e-5)
        # The machine drifts by a third, but every block alike: the interval has no width.
        assert [found[kind]["saved"][key] for key in ("value", "low", "high")] == [expected] * 3
        assert (found[kind]["reason"], found[kind]["saved"]["processes"]) == (None, 3)
    for kind in ("proj", "out"):
        assert found[kind]["saved"] is None
        assert found[kind]["reason"].startswith("saves nothing")


def test_a_prompt_has_prices_of_its_own(price: Callable[..., Result]) -> None:
    found = {each["kind"]: each for each in json.loads(price("--phase", "prefill", "--json").stdout)["data"]["prices"]}
    assert found["fc"]["saved"]["value"] == pytest.approx(10 * MEAN_NS * 0.5 / 32, rel=1e-5)


def test_the_fragment_fits_a_recipe(price: Callable[..., Result]) -> None:
    text = price().stdout
    measured = {"qkv": pytest.approx(MEAN_NS * 0.2 / 24, 1e-3), "fc": pytest.approx(MEAN_NS / 64, 1e-3)}
    assert fragment(text) == measured | {"proj": 0, "out": 0}
    document = tomllib.loads(f"[models.toy]{RECIPE}\n{text[text.index('# toy in') :]}")
    section = recipes.parse(document).find("toy").compression
    assert section is not None
    assert section.prices == fragment(text)


def test_table_and_fragment_say_how_they_were_obtained(price: Callable[..., Result]) -> None:
    text = price().stdout
    table, _, toml = text.partition("# toy in")
    what = "toy in int4-channel, decode · fake · fake device · generate"
    for words in (what, "3 interleaved processes", "Fake 3000"):
        assert words in table
        assert words in f"# toy in{toml}"
    assert "latency estimated" in table
    assert "latency estimated" in toml
    assert " µs estimated" in table
    assert "session " in toml


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ((1.2, 0.9, 0.8), "not resolved: the interval contains 0; give more --blocks"),
        ((1.2, 1.21, 1.22), "the program is slower without these rows"),
    ],
)
def test_what_may_be_noise_is_no_price(price: Callable[..., Result], noise: tuple[float, ...], words: str) -> None:
    text = price(shares=CLEAR | {"fc": noise}).stdout
    assert f"• fc: {words}." in text
    assert set(fragment(text)) == {"qkv", "proj", "out"}


def test_results_are_kept_under_names_that_no_model_has(price: Callable[..., Result], tmp_path: Path) -> None:
    price("--precision", "int8")
    runs = read_tables(tmp_path / "results").runs
    names = ["random-toy-int8-whole", *(f"random-toy-int8-half-{kind}" for kind in CHANNELS)]
    assert runs["model"].tolist() == [*names, *names[::-1], *names]  # interleaved, ABBA
    assert set(runs["measure"]) == {"latency"}


def test_a_program_that_fails_has_no_price_and_the_exit_code_says_so(price: Callable[..., Result]) -> None:
    ended = price(target=FakeTarget(worker(CLEAR, broken="fc"), capabilities=TIMED))
    assert ended.exit_code == 1
    assert set(fragment(ended.stdout)) == {"qkv", "proj", "out"}
    assert "# fc: not measured: It is damaged." in ended.stdout


def test_without_the_whole_program_there_are_no_prices(price: Callable[..., Result]) -> None:
    ended = price("--json", target=FakeTarget(worker(CLEAR, broken="whole"), capabilities=TIMED))
    assert ended.exit_code == 1
    for each in json.loads(ended.stdout)["data"]["prices"]:
        assert each["saved"] is None
        assert ("It is damaged." if each["kind"] in CHANNELS else "saves nothing") in each["reason"]


def test_where_no_process_ends_well_nothing_is_printed(price: Callable[..., Result]) -> None:
    ended = price(target=FakeTarget((HELLO, fails("model", "It is damaged.")), capabilities=TIMED))
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "It is damaged." in ended.stderr


def test_a_target_that_cannot_time_it_is_refused_before_anything_is_made(price: Callable[..., Result]) -> None:
    for change in ({"latency": None}, {"formats": (".tflite",)}, {"scenarios": ("single-stream",)}):
        fake = FakeTarget(capabilities=replace(TIMED, **change))
        with pytest.raises(UsageError, match="cannot time a language model"):
            price(target=fake)
        assert fake.launched == []


def test_unknown_names_are_explained() -> None:
    for arguments, words in ((["gpt-5", "-t", "x86"], "'gpt-5'"), (["toy", "-t", "abacus"], "'abacus'")):
        with pytest.raises(UsageError, match=words):
            CliRunner().invoke(commands, ["price", *arguments], catch_exceptions=False)


def test_two_blocks_are_too_few_for_an_interval(price: Callable[..., Result]) -> None:
    assert price(blocks=2).exit_code == 2


def test_help_has_an_example() -> None:
    assert "harness models price selfcomp" in CliRunner().invoke(commands, ["price", "--help"]).stdout


def test_real_workers_are_timed(models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Real programs on this machine, as little as can be measured. Cut or not they are one and the same here, since the
    exporter takes its time: nothing can have been saved.
    """
    configured = harness.experiment.plan.configurations

    def briefly(*arguments: Any) -> list[Job]:
        return [replace(job, min_iterations=3, min_duration_s=0, max_warmup_s=0) for job in configured(*arguments)]

    monkeypatch.setattr(harness.experiment.plan, "configurations", briefly)
    monkeypatch.setattr(pricing, "export_pte", lambda _, path, precision: shutil.copy(models.lm, path))
    monkeypatch.setattr(pricing, "LAYERS", ("fc",))
    arguments = ["price", "toy", "-t", "x86", "--blocks", "5", "--json", "--results", str(tmp_path)]
    ended = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert ended.exit_code == 0, ended.stderr
    said = json.loads(ended.stdout)["data"]
    assert (said["whole"]["kind"], said["whole"]["estimate"]["value"] > 0) == ("measured", True)
    (found,) = (each for each in said["prices"] if each["kind"] == "fc")
    assert (found["channels"], found["saved"]["processes"]) == (32, 5)
    assert found["saved"]["low"] < found["saved"]["value"] < found["saved"]["high"]
