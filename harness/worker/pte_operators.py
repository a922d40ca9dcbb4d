"""Who runs the operators of a `.pte`'s method: how many each delegate took, and how many are left to kernels outside.

What no delegate takes runs in ExecuTorch's own kernels without a word, some of which are a hundred times slower.
Numbers of fields are those of ExecuTorch's published schemas (schema/program.fbs, ET12; backends/xnnpack's schema.fbs,
XN01).
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from flatbuffers import number_types, table

from harness.worker.flatbuffer import child, integers, number, string, tables

_PROGRAM_DELEGATE_DATA, _PROGRAM_SEGMENTS = 3, 4
_PLAN_VALUES, _PLAN_CHAINS, _PLAN_DELEGATES = 2, 5, 7
_CHAIN_INSTRUCTIONS = 2
_INSTRUCTION_KIND, _INSTRUCTION = 0, 1
_KERNEL_CALL, _DELEGATE_CALL = 1, 2
_CALL_OPERATOR, _CALL_ARGUMENTS = 0, 1
_DELEGATE_ID, _DELEGATE_DATA = 0, 1
_DATA_LOCATION, _DATA_INDEX, _IN_SEGMENT = 0, 1, 1
_INLINE_DATA = 0
_SEGMENT_OFFSET, _SEGMENT_SIZE = 0, 1
_XNNPACK_HEADER = struct.Struct("<4s4sHIIIQ")
_XNN_NODES = 1
_VALUE_KIND, _VALUE, _TENSOR = 0, 1, 5
_TENSOR_TYPE, _TENSOR_SIZES = 0, 2
# Bytes of c10::ScalarType's numbers.
_BYTES = {0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 2, 6: 4, 7: 8, 11: 1, 15: 2}
# Sizes and branches, which compute nothing of the model.
_BOOKKEEPING = "executorch_prim::"
# Which argument is written where it lies, of operators that fill a cache.
_CACHE = {"aten::index_put_": 0, "aten::index_copy_": 0, "aten::copy_": 0, "llama::update_cache": 1}


def operator_counts(
    plan: table.Table, operators: Sequence[str], program: table.Table, segment: Callable[[int, int], Any]
) -> dict[str, Any]:
    """`delegated`, a list of `delegate`, `calls` and `operators` (None where its format is not known); `kernels`, the
    calls of each operator outside; and `cache_bytes` of the tensors that a call writes where they lie, None where there
    are none. `operators` are those of the plan by number, `segment` gives bytes of the file by offset and size.
    """
    kernels: Counter[str] = Counter()
    calls: Counter[int] = Counter()
    caches: set[int] = set()
    for chain in tables(plan, _PLAN_CHAINS):
        for instruction in tables(chain, _CHAIN_INSTRUCTIONS):
            kind, call = (
                number(instruction, _INSTRUCTION_KIND, number_types.Uint8Flags),
                child(instruction, _INSTRUCTION),
            )
            if call is None:
                continue
            if kind == _DELEGATE_CALL:
                calls[int(number(call, _CALL_OPERATOR, number_types.Int32Flags))] += 1
            elif kind == _KERNEL_CALL:
                name = operators[int(number(call, _CALL_OPERATOR, number_types.Int32Flags))].partition(".")[0]
                if name in _CACHE:
                    caches.add(integers(call, _CALL_ARGUMENTS)[_CACHE[name]])
                if not name.startswith(_BOOKKEEPING):
                    kernels[name] += 1
    delegated: dict[str, list[tuple[int, int | None]]] = {}
    for index, delegate in enumerate(tables(plan, _PLAN_DELEGATES)):
        name = string(delegate, _DELEGATE_ID)
        count = _xnnpack_operators(_payload(delegate, program, segment)) if name == "XnnpackBackend" else None
        delegated.setdefault(name, []).append((calls[index], count))
    return {
        "delegated": [
            {
                "delegate": name,
                "calls": sum(count for count, _ in parts),
                "operators": None
                if any(count is None for _, count in parts)
                else sum(times * (count or 0) for times, count in parts),
            }
            for name, parts in delegated.items()
        ],
        "kernels": dict(sorted(kernels.items())),
        "cache_bytes": sum(_tensor_bytes(plan, index) for index in caches) or None,
    }


def _payload(delegate: table.Table, program: table.Table, segment: Callable[[int, int], Any]) -> bytes:
    """The first bytes of what the delegate was given, as much as its description of a graph takes."""
    reference = child(delegate, _DELEGATE_DATA)
    if reference is None:
        return b""
    index = int(number(reference, _DATA_INDEX, number_types.Uint32Flags))
    if number(reference, _DATA_LOCATION, number_types.Int8Flags) == _IN_SEGMENT:
        found = tables(program, _PROGRAM_SEGMENTS)[index]
        offset, size = (
            int(number(found, field, number_types.Uint64Flags)) for field in (_SEGMENT_OFFSET, _SEGMENT_SIZE)
        )
        return bytes(segment(offset, size))
    data = tables(program, _PROGRAM_DELEGATE_DATA)[index]
    at = data.Offset(4 + 2 * _INLINE_DATA)
    if not at:
        return b""
    start = data.Vector(at)
    return bytes(data.Bytes[start : start + data.VectorLen(at)])


def _xnnpack_operators(payload: bytes) -> int | None:
    """The nodes of XNNPACK's graph; None for a payload of another format, which the delegate alone must understand."""
    if payload[4:8] != b"XH00":
        return None
    try:
        begin = _XNNPACK_HEADER.unpack_from(payload)[3]
        (root,) = struct.unpack_from("<I", payload, begin)
        graph = table.Table(payload, begin + root)
        at = graph.Offset(4 + 2 * _XNN_NODES)
        return int(graph.VectorLen(at)) if at else 0
    except (struct.error, IndexError, ValueError, TypeError):
        return None


def _tensor_bytes(plan: table.Table, index: int) -> int:
    value = tables(plan, _PLAN_VALUES)[index]
    tensor = child(value, _VALUE)
    if tensor is None or number(value, _VALUE_KIND, number_types.Uint8Flags) != _TENSOR:
        return 0
    width = _BYTES.get(int(number(tensor, _TENSOR_TYPE, number_types.Int8Flags)), 0)
    return width * math.prod(integers(tensor, _TENSOR_SIZES))
