"""What the tables of a `.pte` say of a method's inputs beyond dtype and sizes: which are numbers and their values,
whether sizes may vary, and below what integers must stay that are used as indices (token ids: the rows of the
embedding).

Numbers of fields and of union members are those of ExecuTorch's published schema (schema/program.fbs, ET12).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from flatbuffers import number_types, table

from harness.worker.flatbuffer import child, integers, number, string, tables

_PLAN_VALUES, _PLAN_INPUTS, _PLAN_OUTPUTS, _PLAN_CHAINS = 2, 3, 4, 5
_VALUE_KIND, _VALUE = 0, 1
_KINDS = {0: "none", 1: "none", 2: "int", 3: "bool", 4: "float", 5: "tensor", 6: "str"}
_TENSOR, _INT, _TENSOR_LIST, _OPTIONAL_TENSOR_LIST = 5, 2, 10, 11
_TENSOR_SIZES, _TENSOR_DYNAMISM, _TENSOR_EXTRA = 2, 8, 9
_EXTRA_LOCATION, _LOCATION_EXTERNAL = 2, 1
_CHAIN_INSTRUCTIONS = 2
_INSTRUCTION_KIND, _INSTRUCTION = 0, 1
_KERNEL_CALL = 1
_CALL_OPERATOR, _CALL_ARGUMENTS = 0, 1

# Which argument is the table and which the indices, of operators that look rows up.
_LOOKUPS = {
    "aten::embedding": (0, 1),
    "quantized_decomposed::embedding_byte": (0, 5),
    "quantized_decomposed::embedding_2bit": (0, 5),
    "quantized_decomposed::embedding_4bit": (0, 5),
}
# `(self, dim, index, ...)`.
_ALONG = ("aten::index_select", "aten::gather", "aten::scatter", "aten::scatter_add")
# `(self, indices, ...)`, a list with an entry a dimension.
_BY_LISTS = ("aten::index", "aten::index_put")
# The same integers in another shape or type.
_COPIES = (
    "aten::_to_copy",
    "dim_order_ops::_to_dim_order_copy",
    "dim_order_ops::_clone_dim_order",
    "aten::clone",
    "aten::alias_copy",
    "aten::view_copy",
    "executorch_prim::et_view",
    "aten::unsqueeze_copy",
    "aten::squeeze_copy",
    "aten::expand_copy",
    "aten::permute_copy",
    "aten::transpose_copy",
    "aten::t_copy",
    "aten::slice_copy",
    "aten::select_copy",
    "aten::repeat",
)


class Values:
    """The values of an execution plan, whose operators are `operators`, by index."""

    def __init__(self, plan: table.Table, operators: tuple[str, ...]) -> None:
        self._plan, self._operators = plan, operators

    @cached_property
    def _values(self) -> list[table.Table]:
        return tables(self._plan, _PLAN_VALUES)

    def inputs(self) -> Iterator[dict[str, Any]]:
        """`kind` of each input, `dynamic` of tensors, `value` of numbers, `limit` of indices."""
        for index in integers(self._plan, _PLAN_INPUTS):
            described = self._described(index)
            if described["kind"] == "tensor":
                described |= self._limits(index)
            yield described

    def outputs(self) -> Iterator[dict[str, Any]]:
        """`kind` of each output."""
        for index in integers(self._plan, _PLAN_OUTPUTS):
            yield {"kind": _KINDS.get(self._kind(index), "list")}

    def external(self) -> bool:
        """Whether a tensor's data are in another file."""
        return any(
            extra is not None and number(extra, _EXTRA_LOCATION, number_types.Int8Flags) == _LOCATION_EXTERNAL
            for value in self._values
            if number(value, _VALUE_KIND, number_types.Uint8Flags) == _TENSOR
            and (tensor := child(value, _VALUE)) is not None
            for extra in [child(tensor, _TENSOR_EXTRA)]
        )

    def _kind(self, index: int) -> int:
        return int(number(self._values[index], _VALUE_KIND, number_types.Uint8Flags))

    def _described(self, index: int) -> dict[str, Any]:
        kind = _KINDS.get(self._kind(index), "list")
        content = child(self._values[index], _VALUE)
        if content is None:
            return {"kind": kind}
        if kind == "tensor":
            return {"kind": kind, "dynamic": number(content, _TENSOR_DYNAMISM, number_types.Int8Flags) != 0}
        types = {"int": number_types.Int64Flags, "bool": number_types.BoolFlags, "float": number_types.Float64Flags}
        if kind in types:
            # The runtime refuses any other value than that of the export.
            return {"kind": kind, "value": number(content, 0, types[kind]), "fixed": True}
        return {"kind": kind, "value": string(content, 0)} if kind == "str" else {"kind": kind}

    @cached_property
    def _calls(self) -> list[tuple[str, list[int]]]:
        """Operator without its overload, and arguments, in the order of execution; the last argument is its result."""
        calls = []
        for chain in tables(self._plan, _PLAN_CHAINS):
            for instruction in tables(chain, _CHAIN_INSTRUCTIONS):
                call = child(instruction, _INSTRUCTION)
                if call is None or number(instruction, _INSTRUCTION_KIND, number_types.Uint8Flags) != _KERNEL_CALL:
                    continue
                operator = self._operators[int(number(call, _CALL_OPERATOR, number_types.Int32Flags))]
                calls.append((operator.partition(".")[0], integers(call, _CALL_ARGUMENTS)))
        return calls

    def _limits(self, index: int) -> dict[str, int]:
        """The least size of what a value, or a copy of it, is an index of, and the greatest."""
        same, limits = {index}, []
        for operator, arguments in self._calls:
            if operator in _COPIES and arguments[0] in same:
                same.add(arguments[-1])
            elif operator in _LOOKUPS:
                rows, indices = _LOOKUPS[operator]
                if arguments[indices] in same:
                    limits.append(self._size(arguments[rows], 0))
            elif operator in _ALONG and arguments[2] in same:
                limits.append(self._size(arguments[0], self._integer(arguments[1])))
            elif operator in _BY_LISTS:
                limits += [
                    self._size(arguments[0], dimension)
                    for dimension, entry in enumerate(self._list(arguments[1]))
                    if entry in same
                ]
        known = [limit for limit in limits if limit is not None]
        return {"limit": min(known), "longest": max(known)} if known else {}

    def _size(self, index: int, dimension: int | None) -> int | None:
        tensor = child(self._values[index], _VALUE) if self._kind(index) == _TENSOR else None
        if tensor is None or dimension is None:
            return None
        sizes = integers(tensor, _TENSOR_SIZES)
        return sizes[dimension] if -len(sizes) <= dimension < len(sizes) else None

    def _integer(self, index: int) -> int | None:
        content = child(self._values[index], _VALUE) if self._kind(index) == _INT else None
        return None if content is None else int(number(content, 0, number_types.Int64Flags))

    def _list(self, index: int) -> list[int]:
        content = child(self._values[index], _VALUE)
        return (
            integers(content, 0)
            if content is not None
            and self._kind(index)
            in (
                _TENSOR_LIST,
                _OPTIONAL_TENSOR_LIST,
            )
            else []
        )
