"""The tokens and positions that a language model is fed, by each of its conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from harness.protocol import Describe
from harness.worker.generation import GreedyTokens, LanguageInputs, random_prompt

VOCABULARY = 10
SIZES: dict[str, list[int]] = {"first": [1], "scalar": [], "each": [6]}
# Where three tokens stand of which the first stands at 4.
WHERE = {"first": [4], "scalar": 4, "each": [4, 5, 6]}


def described(convention: str = "first", tokens: str = "int64", positions: str = "int64") -> Describe:
    inputs = [{"dtype": tokens, "sizes": [1, 6]}, {"dtype": positions, "sizes": SIZES[convention]}]
    forward = {"name": "forward", "inputs": inputs, "outputs": [{"dtype": "float32", "sizes": [1, VOCABULARY]}]}
    return Describe(format="pte", methods=[forward], metadata={"get_vocab_size": VOCABULARY}, delegates=[])


def prompt(length: int, seed: int = 0, **kinds: str) -> Any:
    return GreedyTokens(described(**kinds), random_prompt(length, VOCABULARY, seed), 1).prompt()[0]


def test_a_prompt_has_all_the_tokens_of_the_vocabulary_about_as_often() -> None:
    counts = torch.bincount(prompt(1000).flatten(), minlength=VOCABULARY).tolist()
    assert len(counts) == VOCABULARY, "none is beyond the vocabulary"
    assert all(50 < count < 150 for count in counts)


def test_the_seed_alone_chooses_the_prompt() -> None:
    assert prompt(20).equal(prompt(20))
    assert not prompt(20).equal(prompt(20, seed=1))
    assert prompt(20).shape == (1, 20)


@pytest.mark.parametrize("convention", SIZES)
def test_positions_follow_the_convention(convention: str) -> None:
    tokens, where = LanguageInputs(described(convention)).at(torch.tensor([[7, 8, 9]]), 4)
    assert (tokens.tolist(), where.tolist()) == ([[7, 8, 9]], WHERE[convention])


@pytest.mark.parametrize("convention", SIZES)
def test_a_prompt_begins_at_position_0_and_a_step_stands_where_it_is_asked(convention: str) -> None:
    tokens = GreedyTokens(described(convention), random_prompt(4, VOCABULARY), 3)
    assert tokens.prompt()[1].tolist() == {"first": [0], "scalar": 0, "each": [0, 1, 2, 3]}[convention]
    for position in (4, 5, 6):
        where = tokens.choose([torch.zeros(1, VOCABULARY)], position)[1]
        assert where.flatten().tolist() == [position]


def test_both_inputs_have_the_dtypes_of_the_program() -> None:
    description = described(tokens="int32", positions="int64")
    tokens = GreedyTokens(description, random_prompt(4, VOCABULARY), 3)
    for made in (tokens.prompt(), tokens.choose([torch.zeros(1, VOCABULARY)], 4)):
        assert [each.dtype for each in made] == [torch.int32, torch.int64]


def one_hot(*tokens: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(tokens), VOCABULARY).float()


@pytest.mark.parametrize(
    "outputs",
    [[one_hot(7)], [one_hot(3, 1, 7)[None]], {"logits": one_hot(3, 7)[None]}, [{"logits": one_hot(7)}]],
    ids=["of the last", "of all", "a dictionary", "a dictionary in a list"],
)
def test_the_likeliest_token_after_the_last_is_fed(outputs: Any) -> None:
    if isinstance(outputs, dict):
        outputs = (outputs,)
    tokens = GreedyTokens(described(), random_prompt(4, VOCABULARY), 3)
    assert tokens.choose(outputs, 4)[0].tolist() == [[7]]
    assert tokens.choose([one_hot(2)], 5)[0].tolist() == [[2]], "and the next time the next"


def test_what_is_fed_is_arranged_as_the_program_takes_it() -> None:
    def arrange(inputs: Sequence[Any]) -> Sequence[Any]:
        return ((), dict(zip(("tokens", "input_pos"), inputs, strict=True)))

    tokens = GreedyTokens(described(), random_prompt(4, VOCABULARY), 3, arrange)
    for made, length in ((tokens.prompt(), 4), (tokens.choose([one_hot(7)], 4), 1)):
        assert made[0] == ()
        assert made[1]["tokens"].shape == (1, length)
