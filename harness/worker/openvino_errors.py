"""What OpenVINO's errors mean, and what a user can do about them."""

from __future__ import annotations

import re

_PLACES = r"(?:Exception from |Check '.*' failed at )src/\S*:\d+:?"
_AGAIN = "Export it again, or copy it again if it came from elsewhere."
_INSTALL = "Install a newer one (pip install -U openvino), or export the model without it: harness loads no extensions."
_MEANINGS = (
    (
        r"Cannot create (\S+) layer .* from unsupported opset: (\S+)",
        "it calls the operator {0} of {1}, which this OpenVINO does not have",
        _INSTALL,
    ),
    (
        r"Opset (\S+) doesn't contain the operation with type: (\S+)",
        "it calls the operator {1} of {0}, which this OpenVINO does not have",
        _INSTALL,
    ),
    (
        r"(?:No conversion rule found for|OpenVINO does not support the following ONNX) operations: (.+)",
        "it calls {0}, which this OpenVINO does not have",
        _INSTALL,
    ),
    (
        r"Incorrect weights in bin file",
        "the file of its weights is cut short, or is not of this model",
        "Copy both files again.",
    ),
    (
        r"Invalid usage of method for externally stored data in file",
        "the file of its weights is missing, cut short, or not of this model",
        "Copy both files again.",
    ),
    (
        r"Empty weights data in bin file or bin file cannot be found",
        "the file of its weights is empty",
        "Copy both files again.",
    ),
    (r"Unable to read the model|pugi::status_ok|codec can't decode", "it is no model of OpenVINO, or damaged", _AGAIN),
    (
        r"doesn't support (\S+) operation with dynamic rank. Operation name: (\S+)",
        "it does not say how many dimensions {1} has",
        "Export it with the shapes of its inputs.",
    ),
)


def is_openvino(line: str) -> bool:
    """Whether an exception whose message begins with this line is one of its own: all of them are RuntimeError."""
    return re.match(_PLACES, line) is not None


def explain(message: str) -> tuple[str, str]:
    """What happened, without a full stop, and what to do, for the `message` of an exception of OpenVINO."""
    for pattern, what, todo in _MEANINGS:
        if (match := re.search(pattern, message)) is not None:
            return what.format(*(group.strip().rstrip(".,") for group in match.groups())), todo
    return shortened(message), _AGAIN


def shortened(message: str) -> str:
    """The message without the places in OpenVINO's source, and all lines behind the first that says something."""
    lines = [line.strip() for line in message.splitlines()]
    said = [line for line in lines if line and not re.fullmatch(_PLACES, line)]
    return (said or ["it gave no reason"])[0].rstrip(".:")
