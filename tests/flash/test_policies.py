"""What each row of the ablation reads in a token."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from harness.flash import names
from harness.flash.ablation.policies import POLICIES, Demand, Policy, demands, load_all, named
from harness.flash.ablation.trace import from_masks, synthetic

ROW, REST = 8192, 10**6
# Two layers of 4 and 2 neurons. Window 2: token 2 reads neuron 3 of the first layer, and 0 of the second again.
FIRST = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1]]
SECOND = [[1, 0], [0, 1], [0, 0]]
TRACE = from_masks([np.array(rows, dtype=bool) for rows in (FIRST, SECOND)], "by hand")


def test_each_row_of_the_ablation_adds_one_thing() -> None:
    on = [
        [name for name in ("hybrid", "predictor", "window", "bundled", "pipeline") if getattr(policy, name)]
        for policy in POLICIES
    ]
    assert [len(names) for names in on] == [0, 1, 2, 3, 4, 5]
    assert all(set(before) < set(after) for before, after in pairwise(on))
    assert [policy.name.removeprefix("+ ") for policy in POLICIES] == [
        "none",
        "hybrid",
        "predictor",
        "windowing",
        "bundling",
        "pipeline",
    ]


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        *zip(
            POLICIES,
            [
                [Demand(REST + 12 * ROW, (), ROW, 0)] * 3,
                [Demand(12 * ROW, (), ROW, 0)] * 3,
                [Demand(0, (4, 2), ROW, 0), Demand(0, (2, 2), ROW, 0), Demand(0, (4, 0), ROW, 0)],
                [Demand(0, (4, 2), ROW, 0), Demand(0, (0, 2), ROW, 1), Demand(0, (2, 0), ROW, 1)],
                [Demand(0, (2, 1), 2 * ROW, 0), Demand(0, (0, 1), 2 * ROW, 1), Demand(0, (1, 0), 2 * ROW, 1)],
                [Demand(0, (2, 1), 2 * ROW, 0), Demand(0, (0, 1), 2 * ROW, 1), Demand(0, (1, 0), 2 * ROW, 1)],
            ],
            strict=True,
        )
    ],
    ids=[policy.name for policy in POLICIES],
)
def test_demands_worked_out_by_hand(policy: Policy, wanted: list[Demand]) -> None:
    assert list(demands(policy, TRACE, window=2, row_bytes=ROW, rest_bytes=REST)) == wanted


def test_published_bytes_of_opt_row_by_row() -> None:
    # "LLM in a flash", table 3, at an eighth of a layer's neurons: GB per token of 32 layers after the window filled.
    trace = synthetic((2048,), 100, active_fraction=0.105, zipf_exponent=1.2, persistence=0.5, seed=3)
    gigabytes = [
        np.mean([demand.bytes for demand in demands(policy, trace, 5, ROW)][5:]) * 32 * 8 / 1e9 for policy in POLICIES
    ]
    assert gigabytes[2] == pytest.approx(0.902, rel=0.03)
    assert gigabytes[3:] == pytest.approx([0.201] * 3, rel=0.03)


def test_bundling_halves_the_reads_and_leaves_the_bytes() -> None:
    trace = synthetic((256,), 30, active_fraction=0.1, zipf_exponent=1.2, persistence=0.5, seed=3)
    plain, bundled = (list(demands(policy, trace, 5, ROW)) for policy in POLICIES[3:5])
    assert [demand.bytes for demand in plain] == [demand.bytes for demand in bundled]
    assert [demand.reads for demand in plain] == [2 * demand.reads for demand in bundled]


def test_what_is_not_kept_is_read_anew_into_the_first_slots() -> None:
    step = load_all(np.array([3, 5, 9]))
    assert step.load.tolist() == [3, 5, 9]
    assert step.load_slots.tolist() == step.slots_of_active.tolist() == [0, 1, 2]


def test_the_names_on_the_command_line_are_those_of_the_policies() -> None:
    assert tuple(policy.name.removeprefix("+ ") for policy in POLICIES) == names.POLICIES
    assert [named(name) for name in names.POLICIES] == list(POLICIES)
