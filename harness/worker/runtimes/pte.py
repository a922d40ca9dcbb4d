"""What an ExecuTorch program says of itself before it is loaded: the header of a `.pte` and the tables of its
flatbuffer.

The Python bindings give neither the size of the planned arena nor the names of the delegates, and the package that
could (`executorch.exir`) takes seconds to import. So the few fields needed are read directly, by their numbers in
ExecuTorch's published schema (schema/program.fbs, file identifier ET12; flatbuffers never renumber fields). Damaged
files are expected here.
"""

from __future__ import annotations

import json
import mmap
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flatbuffers import number_types, table

from harness.errors import ModelError
from harness.worker.flatbuffer import checked, string, tables
from harness.worker.pte_inputs import Values
from harness.worker.pte_operators import operator_counts

_PROGRAM_PLANS = 1
_PLAN_NAME, _PLAN_OPERATORS, _PLAN_DELEGATES, _PLAN_BUFFER_SIZES = 0, 6, 7, 8
_DELEGATE_ID = 0
_OPERATOR_NAME, _OPERATOR_OVERLOAD = 0, 1


@dataclass(frozen=True)
class MethodHeader:
    """A method of a program. `planned_bytes` is its arena as the ahead-of-time memory planner sized it; `operators`
    are those that it calls, such as `aten::add.out`; `inputs` what the file says of each input beyond its dtype and
    sizes (`harness.worker.pte_inputs`); `external`: it has weights that lie in another file (`.ptd`); `counts` says who
    runs its operators (`harness.worker.pte_operators`).
    """

    name: str
    planned_bytes: int
    operators: tuple[str, ...]
    delegates: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    external: bool = False
    counts: dict[str, Any] = field(default_factory=dict)

    @property
    def constant(self) -> bool:
        """A method that returns a value and computes nothing: metadata."""
        return not self.operators and not self.delegates and not self.inputs


def read_methods(path: Path, *, counted: bool = False) -> list[MethodHeader]:
    """The methods of a `.pte`, with the counts of their operators where asked for: these read more of the file, which
    no memory pass must see. Raises ModelError for a file that is missing, empty, cut short or no ExecuTorch program.
    """
    again = "Export it again, or copy it again if it came from elsewhere."
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise ModelError(f"{path} is empty.", again)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if data[4:8] != b"ET12":
                    raise ModelError(
                        f"{path} is not an ExecuTorch program (no ET12 identifier).",
                        "Give a .pte made by ExecuTorch, or a .pt2 made by torch.export.save.",
                    )
                _check_length(path, data, size)
                return _methods(data, counted)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    except (struct.error, IndexError, ValueError, TypeError, UnicodeDecodeError, OverflowError) as error:
        raise ModelError(
            f"{path} is damaged: its program tables cannot be read ({type(error).__name__}).", again
        ) from error


def _check_length(path: Path, data: mmap.mmap, size: int) -> None:
    """The extended header says how long the file must be; the runtime would run a shorter one on whatever lies behind
    it.
    """
    if data[8:12] != b"eh00":
        return
    (length,) = struct.unpack_from("<I", data, 12)
    program_size, segment_base = struct.unpack_from("<QQ", data, 16)
    (segment_size,) = struct.unpack_from("<Q", data, 32) if length >= 32 else (0,)
    if size < (expected := max(program_size, segment_base + segment_size)):
        raise ModelError(f"{path} is cut short: {size} bytes of {expected}.", "Copy or export it again.")


def _methods(data: Any, counted: bool) -> list[MethodHeader]:
    (root,) = struct.unpack_from("<I", data, 0)
    program = table.Table(data, root)
    (base,) = struct.unpack_from("<Q", data, 24) if data[8:12] == b"eh00" else (0,)

    def segment(offset: int, size: int) -> bytes:
        return bytes(data[base + offset : base + offset + size])

    count = partial(operator_counts, program=program, segment=segment) if counted else None
    return [_method(plan, count) for plan in tables(program, _PROGRAM_PLANS)]


def _method(
    plan: table.Table, counting: Callable[[table.Table, tuple[str, ...]], dict[str, Any]] | None
) -> MethodHeader:
    sizes_at = plan.Offset(4 + 2 * _PLAN_BUFFER_SIZES)
    sizes: list[int] = []
    if sizes_at:
        start = plan.Vector(sizes_at)
        count = checked(plan.VectorLen(sizes_at))
        # Entry 0 belongs to the constants and is not an arena.
        sizes = [plan.Get(number_types.Int64Flags, start + 8 * i) for i in range(1, count)]
    delegates = tuple(dict.fromkeys(string(delegate, _DELEGATE_ID) for delegate in tables(plan, _PLAN_DELEGATES)))
    operators = tuple(_operator(operator) for operator in tables(plan, _PLAN_OPERATORS))
    values = Values(plan, operators)
    return MethodHeader(
        string(plan, _PLAN_NAME),
        sum(sizes),
        operators,
        delegates,
        tuple(values.inputs()),
        tuple(values.outputs()),
        values.external(),
        {} if counting is None else counting(plan, operators),
    )


def _operator(operator: table.Table) -> str:
    name, overload = string(operator, _OPERATOR_NAME), string(operator, _OPERATOR_OVERLOAD)
    return f"{name}.{overload}" if overload else name


def main(path: str) -> None:
    """Print the methods of a file as JSON."""
    print(json.dumps([asdict(method) for method in read_methods(Path(path), counted=True)]))


if __name__ == "__main__":
    main(sys.argv[1])
