"""What an exported program (`torch.export`) says of its inputs and outputs: names, dtypes, sizes and what they vary
with, numbers, and below what integers must stay that are used as indices (token ids: the rows of the embedding).
"""

from __future__ import annotations

from typing import Any

# `(table, indices)`, `(self, dim, index)`, and `(self, [indices])` with an entry a dimension.
_LOOKUPS = ("embedding", "embedding_bag", "_embedding_bag")
_ALONG = ("index_select", "gather", "scatter", "scatter_add", "index_copy", "index_add", "index_fill")
_BY_LISTS = ("index", "index_put")
# The same integers in another shape or type.
_COPIES = frozenset(
    [
        "to",
        "_to_copy",
        "clone",
        "alias",
        "view",
        "_unsafe_view",
        "reshape",
        "flatten",
        "unsqueeze",
        "squeeze",
        "expand",
        "permute",
        "transpose",
        "t",
        "slice",
        "select",
        "contiguous",
        "repeat",
        "detach",
        "lift_fresh_copy",
        "expand_as",
        "view_as",
    ]
)


def inputs_of(program: Any) -> list[dict[str, Any]]:
    """The inputs in the order in which `call_spec` flattens them, as `harness.model_description` says."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    inputs = []
    for spec in program.graph_signature.input_specs:
        if spec.kind.name != "USER_INPUT":
            continue
        name = str(getattr(spec.arg, "name", ""))
        node = nodes.get(name)
        described = _value(node.meta.get("val") if node is not None else None) | {"name": name}
        if described["kind"] == "tensor":
            described |= _limits(node)
        inputs.append(described)
    return inputs


def outputs_of(program: Any) -> list[dict[str, Any]]:
    """The outputs, flattened. A size that is known only when the program has run is null."""
    nodes = {node.name: node for node in program.graph.nodes}
    return [
        _value(nodes[name].meta.get("val") if isinstance(name, str) and name in nodes else name)
        for name in program.graph_signature.user_outputs
    ]


def ranges_of(program: Any) -> dict[str, list[int | None]]:
    """The least and the greatest value of each symbol that sizes are named with; null where there is no bound."""
    return {
        str(symbol): [_bound(interval.lower), _bound(interval.upper)]
        for symbol, interval in program.range_constraints.items()
    }


def _bound(value: Any) -> int | None:
    try:
        bound = int(value)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None  # infinity
    return bound if abs(bound) < 1 << 62 else None


def _value(value: Any) -> dict[str, Any]:
    if value is None:
        return {"kind": "none", "dtype": "none", "sizes": []}
    for known in (bool, int, float, str):
        if isinstance(value, known):
            return {"kind": known.__name__, "value": value, "fixed": True, "dtype": "none", "sizes": []}
    if not hasattr(value, "shape"):  # a size that varies, such as SymInt: the example's
        hint = getattr(getattr(value, "node", None), "hint", None)
        kind = {"SymInt": "int", "SymFloat": "float", "SymBool": "bool"}.get(type(value).__name__, "list")
        return {"kind": kind, "dtype": "none", "sizes": []} | ({} if hint is None else {"value": hint})
    return {
        "kind": "tensor",
        "dtype": str(value.dtype).removeprefix("torch."),
        "sizes": [_size(size) for size in value.shape],
        "dynamic": [None if isinstance(size, int) else str(size.node.expr) for size in value.shape],
    }


def _size(size: Any) -> int | None:
    """A dynamic dimension shows its size in the example it was exported with, if it has one."""
    if isinstance(size, int):
        return size
    return None if size.node.hint is None else int(size.node.hint)


def _operator(node: Any) -> str:
    """`embedding` of `aten.embedding.default`."""
    return (
        str(getattr(getattr(node.target, "overloadpacket", None), "__name__", "")) if node.op == "call_function" else ""
    )


def _limits(node: Any) -> dict[str, int]:
    """The least size of what an input, or a copy of it, is an index of, and the greatest."""
    same, limits = [node], []
    for copy in same:
        for user in copy.users:
            operator, arguments = _operator(user), user.args
            if operator in _COPIES and arguments and arguments[0] is copy:
                same.append(user)
            elif operator in _LOOKUPS and arguments[1] is copy:
                limits.append(_length(arguments[0], 0))
            elif operator in _ALONG and arguments[2] is copy:
                limits.append(_length(arguments[0], arguments[1]))
            elif operator in _BY_LISTS:
                limits += [_length(arguments[0], i) for i, entry in enumerate(arguments[1]) if entry is copy]
    known = [limit for limit in limits if limit is not None]
    return {"limit": min(known), "longest": max(known)} if known else {}


def _length(node: Any, dimension: int) -> int | None:
    shape = getattr(node.meta.get("val"), "shape", ())
    size = shape[dimension] if -len(shape) <= dimension < len(shape) else None
    return size if isinstance(size, int) else None
