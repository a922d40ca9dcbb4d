"""From events of a profile to operators: nothing twice, nothing lost."""

from __future__ import annotations

from harness.targets.native.operators import REST, summarise

EVENTS = [
    ("Method::execute", False, [100.0]),
    ("native_call_where.self", False, [10.0, 14.0]),
    ("OPERATOR_CALL", False, [11.0, 15.0]),
    ("native_call_where.self", False, [1.0]),
    ("Add (ND) #1", True, [5.0]),
    ("Add (ND) #2", True, [7.0]),
    ("DELEGATE_CALL", False, [20.0]),
]


def test_holders_are_not_counted_beside_what_they_hold() -> None:
    rows = {(row["operator"], row["delegated"]): (row["calls"], row["total_ns"]) for row in summarise(EVENTS)}
    assert rows == {("where.self", False): (3, 25), ("Add (ND)", True): (2, 12), (REST, True): (1, 8)}


def test_the_longest_comes_first() -> None:
    totals = [row["total_ns"] for row in summarise(EVENTS)]
    assert totals == sorted(totals, reverse=True)


def test_nothing_gives_nothing() -> None:
    assert summarise([]) == []
