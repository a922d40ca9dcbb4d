"""The three ways in which language models take positions, each on models that fail on a wrong one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from language_on_disk import CONTEXT, CONVENTIONS, VOCABULARY
from native_driving import samples_of, scalars_of
from native_requests import Worker

from harness.protocol import Done, Error

CONVENTION = pytest.mark.parametrize("convention", CONVENTIONS)
PROMPT, NEW = 5, 4


def _integers(convention: str, values: object) -> np.ndarray:
    """In the dtype of the model of this convention."""
    return np.asarray(values, dtype=np.int32 if convention == "first" else np.int64)


def _prompt(convention: str, count: int = PROMPT) -> dict[str, np.ndarray]:
    return {"prompts": _integers(convention, [[(3 * i) % VOCABULARY for i in range(count)]])}


def _first(convention: str, count: int) -> np.ndarray:
    """The positions of a prompt."""
    return _integers(convention, {"first": [0], "scalar": 0, "each": list(range(count))}[convention])


@CONVENTION
def test_every_token_is_given_at_its_position(worker: Worker, programs: Path, convention: str) -> None:
    path = programs / f"strict_{convention}.pte"
    events, _ = worker.ask(
        path, _prompt(convention), scenario="generate", prompt_tokens=PROMPT, new_tokens=NEW, min_iterations=3
    )
    assert isinstance(events[-1], Done), events[-1]
    series = samples_of(events)
    queries = len(series["prefill"].start_ns)
    assert queries >= 3
    assert len(series["decode"].start_ns) == queries * (NEW - 1)
    assert len(series["ttft"].start_ns) == len(series["generate"].start_ns) == queries


@pytest.mark.parametrize("convention", ["scalar", "each"])
def test_arm64_gives_every_token_at_its_position(emulated: Worker, programs: Path, convention: str) -> None:
    job = {"scenario": "generate", "prompt_tokens": PROMPT, "new_tokens": NEW, "min_iterations": 2}
    events, _ = emulated.ask(programs / f"strict_{convention}.pte", _prompt(convention), **job)
    assert isinstance(events[-1], Done), events[-1]


@CONVENTION
def test_a_wrong_position_would_be_seen(worker: Worker, programs: Path, convention: str) -> None:
    """Else the tests above could not fail."""
    path = programs / f"strict_{convention}.pte"
    tokens = _prompt(convention)["prompts"]
    good = {"set0_arg0": tokens, "set0_arg1": _first(convention, PROMPT)}
    assert isinstance(worker.ask(path, good)[0][-1], Done)
    bad = good | {"set0_arg1": good["set0_arg1"] + _integers(convention, 1)}
    end = worker.ask(path, bad)[0][-1]
    assert isinstance(end, Error)
    assert "indices_ptr[0]" in end.message, "ExecuTorch's own words"


@CONVENTION
def test_a_prompt_gets_its_positions_in_single_stream_too(worker: Worker, programs: Path, convention: str) -> None:
    events, _ = worker.ask(programs / f"strict_{convention}.pte", _prompt(convention), prompt_tokens=PROMPT)
    assert isinstance(events[-1], Done), events[-1]
    assert len(samples_of(events)["steady"].start_ns) == 3


@CONVENTION
def test_tokens_and_positions_may_be_given_as_any_other_inputs(worker: Worker, programs: Path, convention: str) -> None:
    from torch import from_numpy
    from torch.nn.functional import softmax

    with np.load(programs / "language.npz") as file:
        prompt, logits = file["prompt"], file["logits"]
    inputs = {"set0_arg0": prompt.reshape(1, -1), "set0_arg1": _first(convention, PROMPT).astype(np.int64)}
    found = worker.outputs(programs / f"lm_{convention}.pte", inputs)["set0_output0"].reshape(-1, VOCABULARY)[-1]
    np.testing.assert_allclose(
        softmax(from_numpy(found).double(), -1), softmax(from_numpy(logits), -1), rtol=1e-4, atol=1e-7
    )


@CONVENTION
def test_the_loss_on_a_text_is_that_of_torch(worker: Worker, programs: Path, convention: str) -> None:
    with np.load(programs / "language.npz") as file:
        text, expected = file["text"], float(file["loss"])
    path = programs / f"lm_{convention}.pte"
    events, arrays = worker.ask(path, tokens={"tokens": text}, measure="quality", scenario="generate")
    assert isinstance(events[-1], Done), events[-1]
    found = scalars_of(events)
    assert found["predicted_tokens"] == 3 * CONTEXT
    assert found["loss_nats"] == pytest.approx(expected, rel=1e-5)
    assert not arrays, "logits are left only of a bounded text"
    events, arrays = worker.ask(
        path, tokens={"tokens": text}, measure="quality", scenario="generate", max_tokens=CONTEXT
    )
    assert scalars_of(events)["predicted_tokens"] == CONTEXT
    logits = arrays["logits"].astype(np.float64)
    assert logits.shape == (CONTEXT, VOCABULARY)
    chosen = logits[np.arange(CONTEXT), text[1 : CONTEXT + 1]]
    mean = float(np.mean(np.log(np.exp(logits).sum(-1)) - chosen))
    assert scalars_of(events)["loss_nats"] == pytest.approx(mean, rel=1e-6)


def test_a_second_method_gives_the_logits_of_a_window_at_once(worker: Worker, programs: Path) -> None:
    with np.load(programs / "language.npz") as file:
        text, expected = file["text"], float(file["loss"])
    job = {"measure": "quality", "scenario": "generate"}
    found = scalars_of(worker.ask(programs / "lm_all.pte", tokens={"tokens": text}, **job)[0])
    assert found["predicted_tokens"] == 3 * CONTEXT
    assert found["loss_nats"] == pytest.approx(expected, rel=1e-5)
    assert found["max_abs_difference_between_methods"] == pytest.approx(1.0, abs=1e-4)


def test_a_text_that_the_model_cannot_read_is_refused(worker: Worker, programs: Path) -> None:
    path = programs / "lm_each.pte"
    job = {"measure": "quality", "scenario": "generate"}
    foreign = np.full(2 * CONTEXT, VOCABULARY)
    assert f"token {VOCABULARY}" in worker.refusal(path, tokens={"tokens": foreign}, **job).message
    short = worker.refusal(path, tokens={"tokens": np.zeros(CONTEXT, dtype=np.int64)}, **job)
    assert f"has {CONTEXT} tokens" in short.message
    whole = worker.ask(path, tokens={"tokens": np.zeros(CONTEXT + 1, dtype=np.int64)}, **job)[0]
    assert scalars_of(whole)["predicted_tokens"] == CONTEXT
    plain = worker.refusal(programs / "looked_up.pte", tokens={"tokens": foreign}, **job)
    assert "no language model" in plain.message


def test_a_prompt_that_is_too_long_is_refused_by_its_length(worker: Worker, programs: Path) -> None:
    job = {"scenario": "generate", "new_tokens": 1}
    events, _ = worker.ask(programs / "strict_each.pte", _prompt("each", CONTEXT - 1), prompt_tokens=CONTEXT - 1, **job)
    assert isinstance(events[-1], Done), events[-1]
    refused = worker.refusal(programs / "strict_each.pte", _prompt("each", CONTEXT), prompt_tokens=CONTEXT, **job)
    assert refused.kind == "usage"
    assert f"at most {CONTEXT - 1} tokens at once, the prompt has {CONTEXT}" in refused.message
    assert f"--prompt-tokens {CONTEXT - 1}" in refused.todo


def test_a_model_of_no_convention_does_not_generate(worker: Worker, programs: Path) -> None:
    for name in ("looked_up", "unlike"):  # the latter by its constants, but it takes no positions
        refused = worker.refusal(programs / f"{name}.pte", _prompt("each"), scenario="generate", prompt_tokens=PROMPT)
        assert refused.kind == "usage"
        assert "no language model" in refused.message


def test_a_model_that_answers_with_no_logits_is_refused_and_one_token_a_call_is_said(
    worker: Worker, programs: Path
) -> None:
    path = programs / "counting.pte"
    tokens = {"tokens": np.zeros(CONTEXT + 1, dtype=np.int64)}
    one = {"prompts": np.array([[7]])}
    for refused in (
        worker.refusal(path, one, scenario="generate", prompt_tokens=1, new_tokens=2),
        worker.refusal(path, tokens=tokens, measure="quality", scenario="generate"),
    ):
        assert refused.kind == "model"
        assert "no tensor of logits" in refused.message
    refused = worker.refusal(path, _prompt("each"), scenario="generate", prompt_tokens=PROMPT)
    assert f"exactly 1 token at once, the prompt has {PROMPT}" in refused.message
    assert "--prompt-tokens 1" in refused.todo
