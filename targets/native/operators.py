"""An ETDump read with ExecuTorch's Inspector: which operators took the time, and in which delegate.

`python -m harness.targets.native.operators FILE` prints a row of JSON an operator. The Inspector imports the whole
exporter, so that it has a process of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import WorkerError
from harness.protocol import Ops

_LIMIT_S = 600
# Events that hold others, which would be counted twice, and loading.
_HOLDERS = ("OPERATOR_CALL", "Method::init", "Program::load_method", "Method::execute")
_DELEGATE_CALL = "DELEGATE_CALL"
_KERNEL = "native_call_"
REST = "(delegate call, not attributed)"


def operators(profile: Path, delegates: Sequence[str]) -> Iterator[Ops]:
    """The operators of a profile. Kernels of the portable and optimized libraries have no delegate; the others have the
    model's only one, or "delegate" where there are several, since ETDump does not say which. Raises WorkerError.
    """
    command = [sys.executable, "-P", "-m", __name__, str(profile)]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_LIMIT_S).stdout
        rows = json.loads(printed.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise WorkerError("profile", "ExecuTorch's Inspector cannot read the profile.", "Run it again.") from error
    name = delegates[0] if len(delegates) == 1 else "delegate"
    for row in rows:
        yield Ops(
            operator=row["operator"],
            delegate=name if row["delegated"] else None,
            calls=row["calls"],
            total_ns=row["total_ns"],
        )


def summarise(events: Sequence[tuple[str, bool, Sequence[float]]]) -> list[dict[str, object]]:
    """Rows `operator`, `delegated`, `calls`, `total_ns`, the longest first, from events: name, whether it ran inside a
    delegate, its durations in nanoseconds.

    A delegate numbers what it runs ("Add (ND) #2"): the numbers are left out. What a delegate's call took beyond what
    it attributes to its operators is a row of its own, so that nothing is lost: XNNPACK rounds each down to whole
    microseconds, which hides most of a small model's.
    """
    totals: dict[tuple[str, bool], list[float]] = {}
    within = calls = around = 0.0
    for name, delegated, durations in events:
        spent = sum(durations)
        if name == _DELEGATE_CALL:
            around, calls = around + spent, calls + len(durations)
        if name in _HOLDERS or name == _DELEGATE_CALL or not (delegated or name.startswith(_KERNEL)):
            continue
        within += spent if delegated else 0.0
        label = re.sub(r" #\d+$", "", name) if delegated else name.removeprefix(_KERNEL)
        row = totals.setdefault((label, delegated), [0, 0.0])
        row[0] += len(durations)
        row[1] += spent
    if calls:
        totals[REST, True] = [calls, max(0.0, around - within)]
    return [
        {"operator": label, "delegated": delegated, "calls": int(count), "total_ns": round(spent)}
        for (label, delegated), (count, spent) in sorted(totals.items(), key=lambda item: -item[1][1])
    ]


def _main() -> None:
    from executorch.devtools import Inspector
    from executorch.devtools.inspector import TimeScale

    inspector = Inspector(etdump_path=sys.argv[1], source_time_scale=TimeScale.NS, target_time_scale=TimeScale.NS)
    events = [
        (event.name, bool(event.is_delegated_op), [float(value) for value in event.perf_data.raw])
        for block in inspector.event_blocks
        if block.name == "Execute"
        for event in block.events
        if event.perf_data is not None
    ]
    print(json.dumps(summarise(events)))


if __name__ == "__main__":
    _main()
