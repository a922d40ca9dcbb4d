"""How many samples an execute is: what is known, what may be changed, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from harness.batch import Asked, Dimension, find_batch, why_unknown
from harness.errors import UsageError


def tensor(*sizes: int, dynamic: Any = False, dtype: str = "float32") -> dict[str, Any]:
    return {"kind": "tensor", "dtype": dtype, "sizes": list(sizes), "dynamic": dynamic}


def method(inputs: list[dict[str, Any]], *outputs: list[int], **more: Any) -> dict[str, Any]:
    return {"name": "forward", "inputs": inputs, "outputs": [tensor(*sizes) for sizes in outputs], **more}


def batch_of(program: dict[str, Any], batch: int = 0, dimension: Dimension = None, given: Any = None) -> Any:
    batch_known = find_batch("m", program, Asked(batch, dimension, given))
    return batch_known.size, batch_known.sizes


IMAGES = method([tensor(1, 3, 8, 8)], [1, 10])
STATE = method([tensor(1, 5, 8), tensor(2, 1, 16), tensor(2, 1, 16)], [1, 5, 16], [2, 1, 16])
TIME_FIRST = method([tensor(50, 1, 8)], [50, 1, 16])
SOUND = method([tensor(512)], [512])
FIXED = method([tensor(8, 16)], [8, 10])
BOUNDED = method([tensor(8, 16, dynamic=True)], [8, 10])
SYMBOL = method([tensor(3, 16, dynamic=["s0", None])], [3, 10], ranges={"s0": [2, 64]})
TOGETHER = method(
    [tensor(3, 16, dynamic=["s0", None]), tensor(7, 3, dynamic=[None, "s0"]), tensor(3, 4, dynamic=[None, None])],
    [3, 10],
    ranges={"s0": [1, None]},
)


@pytest.mark.parametrize(
    ("program", "size"),
    [
        (IMAGES, 1),
        (STATE, 1),
        (TIME_FIRST, None),
        (SOUND, None),
        (FIXED, None),
        (BOUNDED, 8),
        (SYMBOL, 3),
        (method([]), None),
        (method([tensor()], [1]), None),
        (method([tensor(1, 8)], []), None),
    ],
)
def test_without_an_option_sizes_stay_as_declared_and_nothing_is_guessed(
    program: dict[str, Any], size: int | None
) -> None:
    assert batch_of(program) == (size, tuple(tuple(meta["sizes"]) for meta in program["inputs"]))


def test_a_batch_changes_what_varies_together_and_nothing_else() -> None:
    assert batch_of(TOGETHER, 9) == (9, ((9, 16), (7, 9), (3, 4)))
    two = method([tensor(4, 8, dynamic=True), tensor(100, 8), tensor(4, 2, dynamic=True)], [4, 8])
    assert batch_of(two, 2) == (2, ((2, 8), (100, 8), (2, 2)))


def test_an_input_of_fixed_sizes_that_looks_like_the_batch_is_not_guessed_about() -> None:
    two = method([tensor(4, 8, dynamic=True), tensor(4, 2)], [4, 8])
    with pytest.raises(UsageError, match="input 1, \\[4, 2\\], has fixed sizes") as caught:
        batch_of(two, 2)
    assert "--inputs" in caught.value.hint


@pytest.mark.parametrize(
    ("program", "batch", "words"),
    [
        (BOUNDED, 9, "at most 8, not 9"),
        (SYMBOL, 65, "from 2 to 64, not 65"),
        (SYMBOL, 1, "from 2 to 64, not 1"),
        (FIXED, 4, "fixed sizes \\[8, 16\\], so its batch cannot become 4"),
        (FIXED, 4, "fixed sizes"),
        (IMAGES, 4, "fixed sizes"),
        (method([]), 4, "takes no tensor"),
        (BOUNDED, 1 << 31, "more than any memory"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(program: dict[str, Any], batch: int, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        batch_of(program, batch)
    assert caught.value.hint


def test_sizes_that_are_made_of_the_batch_are_refused() -> None:
    program = method([tensor(3, 16, dynamic=["s0", None]), tensor(6, 2, dynamic=["2*s0", None])], [3, 10])
    with pytest.raises(UsageError, match="A size of m's input 1 is 2\\*s0, where s0 is the batch"):
        batch_of(program, 5)


@pytest.mark.parametrize(("program", "batch"), [(FIXED, 8), (TIME_FIRST, 1), (TIME_FIRST, 50), (IMAGES, 1)], ids=str)
def test_of_fixed_sizes_the_option_says_which_is_the_batch(program: dict[str, Any], batch: int) -> None:
    assert batch_of(program, batch)[0] == batch


def test_one_channel_is_no_batch_of_one() -> None:
    with pytest.raises(UsageError, match="fixed sizes"):
        batch_of(method([tensor(4, 1, 28, 28)], [4, 10]), 1)


@pytest.mark.parametrize(
    ("program", "dimension", "size"),
    [
        (TIME_FIRST, 0, 50),
        (TIME_FIRST, 1, 1),
        (SOUND, "none", 1),
        (SOUND, 0, 512),
        (FIXED, 0, 8),
        (method([]), "none", 1),
    ],
)
def test_the_user_may_say_which_dimension_it_is(program: dict[str, Any], dimension: Dimension, size: int) -> None:
    assert batch_of(program, dimension=dimension)[0] == size


def test_a_dimension_that_varies_changes_with_the_batch() -> None:
    program = method([tensor(50, 4, 8, dynamic=["s1", "s0", None])], [50, 4, 16], ranges={})
    assert batch_of(program, 2, 1) == (2, ((50, 2, 8),))
    with pytest.raises(UsageError, match="Dimension 2 of m's input \\[50, 4, 8\\] is fixed"):
        batch_of(program, 2, 2)
    for dimension in (3, 99):
        with pytest.raises(UsageError, match=f"has no dimension {dimension}"):
            batch_of(program, 0, dimension)
    with pytest.raises(UsageError, match="without a dimension for it"):
        batch_of(program, 2, "none")


def test_given_inputs_are_counted_as_they_are() -> None:
    assert batch_of(SYMBOL, given=((32, 16),)) == (32, ((32, 16),))
    assert batch_of(BOUNDED, given=((2, 16),)) == (2, ((2, 16),))
    assert batch_of(TIME_FIRST, dimension=1, given=((50, 1, 8),)) == (1, ((50, 1, 8),))
    assert batch_of(SYMBOL, 32, given=((32, 16),))[0] == 32
    with pytest.raises(UsageError, match="inputs that were given to m have the sizes \\[32, 16\\], not a batch of 8"):
        batch_of(SYMBOL, 8, given=((32, 16),))


def test_the_reason_names_the_sizes_and_the_option() -> None:
    assert "[50, 1, 8]" in why_unknown("m", ((50, 1, 8),))
    assert "--batch-dim" in why_unknown("m", ((50, 1, 8),))
    assert "--batch-dim none" in why_unknown("m", ())


@pytest.mark.parametrize(
    ("inputs", "output", "size"),
    [
        ([tensor(20, 16, 8, dynamic=True)], [16, 3], None),
        ([tensor(50, 16, 8, dynamic=True), tensor(2, 16, 16, dynamic=True)], [50, 16, 3], None),
        ([tensor(16, 8, dynamic=True), tensor(100, 8, dynamic=True)], [16, 100], None),
        ([tensor(16, 10, 8, dynamic=True), tensor(2, 16, 16, dynamic=True)], [16, 10, 3], 16),
        ([tensor(16, 8, dynamic=True), tensor(100, 8)], [16, 100], 16),
    ],
    ids=["batch second", "time first", "two batches", "state", "a fixed table"],
)
def test_a_pte_whose_sizes_vary_has_its_batch_first_only_where_all_agree(
    inputs: list[dict[str, Any]], output: list[int], size: int | None
) -> None:
    assert batch_of(method(inputs, output))[0] == size
