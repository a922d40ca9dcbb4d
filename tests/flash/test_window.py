"""Which neurons are resident after each token, and in which slots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.flash.ablation.window import Window

NEURONS = 12
texts = st.lists(st.sets(st.integers(0, NEURONS - 1), max_size=NEURONS), min_size=1, max_size=25)


def indices(neurons: set[int]) -> np.ndarray:
    return np.array(sorted(neurons), dtype=np.int64)


@given(texts, st.integers(1, 6))
def test_the_neurons_of_the_last_tokens_are_resident_each_in_a_slot_of_its_own(text: list[set[int]], k: int) -> None:
    # The slots are followed from the outside alone, by what the steps say is read into which.
    slots = max(len(set().union(*text[max(0, t - k + 1) : t + 1])) for t in range(len(text)))
    window, owner = Window(NEURONS, k, slots), {}
    before: set[int] = set()
    for t, active in enumerate(text):
        step = window.step(indices(active))
        wanted = set().union(*text[max(0, t - k + 1) : t + 1])
        assert set(step.load.tolist()) == active - before
        assert step.dropped == len(before - wanted)
        kept = {slot: neuron for slot, neuron in owner.items() if neuron in before & wanted}
        assert not set(kept) & set(step.load_slots.tolist())  # nobody's row is overwritten
        owner = kept | dict(zip(step.load_slots.tolist(), step.load.tolist(), strict=True))
        assert sorted(owner.values()) == sorted(wanted)  # each once, and nothing else
        assert all(0 <= slot < slots for slot in owner)
        assert [owner[slot] for slot in step.slots_of_active.tolist()] == sorted(active)
        assert window.resident == len(wanted)
        before = wanted


@given(texts, st.integers(1, 6))
def test_one_slot_less_than_the_window_needs_is_refused_with_both_numbers(text: list[set[int]], k: int) -> None:
    needs = [len(set().union(*text[max(0, t - k + 1) : t + 1])) for t in range(len(text))]
    if not (most := max(needs)):
        return
    window = Window(NEURONS, k, most - 1)
    for active in text[: needs.index(most)]:
        window.step(indices(active))
    with pytest.raises(UsageError) as caught:
        window.step(indices(text[needs.index(most)]))
    assert caught.value.message == (
        f"The DRAM budget has {most - 1} neurons of a layer, and a window of {k} tokens needs {most}."
    )


def test_a_neuron_used_again_as_its_token_leaves_is_not_read_again() -> None:
    window = Window(4, 2, 2)
    for active in ({0}, {1}):
        window.step(indices(active))
    assert window.step(indices({0})).load.size == 0


def test_the_window_remembers_what_its_caller_overwrites() -> None:
    window, buffer = Window(4, 1, 2), indices({0, 1})
    window.step(buffer)
    buffer[:] = (2, 3)
    assert window.step(buffer).dropped == 2


@pytest.mark.parametrize("tokens", [0, -1])
def test_a_window_of_no_tokens_is_refused(tokens: int) -> None:
    with pytest.raises(UsageError, match=f"A window of {tokens} tokens keeps nothing."):
        Window(4, tokens, 4)


@pytest.mark.parametrize("active", [[1, 0], [1, 1], [-1], [4]])
def test_neurons_out_of_order_or_of_another_layer_are_refused(active: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending and of this layer"):
        Window(4, 2, 4).step(np.array(active, dtype=np.int64))
