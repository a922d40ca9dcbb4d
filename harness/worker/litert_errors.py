"""What LiteRT's errors mean, and what a user can do about them."""

from __future__ import annotations

import re

_AGAIN = "Export it again, or copy it again if it came from elsewhere."
_INSTALL = "Install a newer one (pip install -U ai-edge-litert), or convert the model again for an older one."
_MEANINGS = (
    (
        r"builtin opcode '(\w+)' version '(\d+)'",
        "it calls the operator {0} in version {1}, which this LiteRT does not have",
        _INSTALL,
    ),
    (r"Op builtin_code out of range: (\d+)", "it calls operator number {0}, which this LiteRT does not have", _INSTALL),
    (
        r"version (\d+) not equal to supported version",
        "it has version {0} of the format, which is not read",
        _INSTALL,
    ),
    (
        r"[Uu]nresolved custom op: (\w+)",
        "it calls the operator {0}, which LiteRT does not have",
        "Convert the model without it: harness loads no libraries of operators.",
    ),
    (r"not a valid [Ff]latbuffer|[Ff]ailed to (?:load|verify)|could not be verified", "it is damaged", _AGAIN),
)
# The place in LiteRT's source before a message, and the operator behind it.
_PLACE = re.compile(r"\S+\.(?:cc|h):\d+ ")
_NODE = re.compile(r"Node number (\d+) \(([\w ]+)\) failed to (\w+)")
_REPORT = "`harness report` shows what LiteRT printed."


def explain(message: str) -> tuple[str, str]:
    """What happened, without a full stop, and what to do, for the `message` of an exception of LiteRT."""
    for pattern, what, todo in _MEANINGS:
        if (match := re.search(pattern, message)) is not None:
            return what.format(*match.groups()), todo
    text = " ".join(_PLACE.sub("", message).split())
    if (node := _NODE.search(text)) is not None:
        cause = text[: node.start()].rstrip(" .")
        return f"its operator {node[2]} failed to {node[3]}{': ' if cause else ''}{cause}", _REPORT
    return text.rstrip(".") or "it gave no reason", _REPORT
