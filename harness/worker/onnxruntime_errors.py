"""What ONNX Runtime's errors mean, and what a user can do about them."""

from __future__ import annotations

import re

_STATUS = re.compile(r"\[ONNXRuntimeError\] : \d+ : (\w+) : ")
_LOADING = re.compile(r"Load model from .*? failed:")
# `/onnxruntime_src/.../model.cc:181 void onnxruntime::...(...) ` before the message itself.
_PLACE = re.compile(r"/onnxruntime_src/\S+:\d+ (?:[^()]*\([^()]*\) )?")
_AGAIN = "Export it again, or copy it again if it came from elsewhere."
_INSTALL = "Install a newer one (pip install -U onnxruntime), or export the model again for an older opset."
_MEANINGS = (
    (
        r"(\S+?)\(-?\d+\) is not a registered function/op",
        "it calls the operator {0}, which ONNX Runtime does not have",
        "Export the model without it: harness loads no libraries of operators.",
    ),
    (
        r"No Op registered for (\S+) with domain_version of (\d+)",
        "it calls the operator {0} of opset {1}, which this ONNX Runtime does not have",
        _INSTALL,
    ),
    (r"Opset (\d+) is under development", "its opset {0} is newer than this ONNX Runtime", _INSTALL),
    (
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        "it is of IR version {0}, and this ONNX Runtime reads versions up to {1}",
        _INSTALL,
    ),
    (
        r"Could not find an implementation for (\w+)\((\d+)\)",
        "ONNX Runtime has no kernel on the processor for the operator {0} (opset {1}) with these dtypes",
        "Export the model so that this operator gets a dtype that ONNX Runtime has a kernel for, such as float32.",
    ),
    (
        r"External initializer: (\S+) .*out of bounds",
        "the file of its weights is cut short, or is not of this model ({0} does not lie in it)",
        "Copy both files again.",
    ),
    (
        r"(?:cannot get file size|[Ee]xternal data path|External data file).*",
        "the file of its weights cannot be read",
        "Put it next to the model, under the name that it was exported with.",
    ),
    (
        r"Protobuf parsing failed|does not have a graph|No graph was found|INVALID_PROTOBUF",
        "it is no ONNX model, or damaged",
        _AGAIN,
    ),
)
_REPORT = "`harness report` shows what ONNX Runtime printed."
NAME = "[ONNXRuntimeError]"
"""In every message of its exceptions, which have no type in common."""


def explain(message: str) -> tuple[str, str]:
    """What happened, without a full stop, and what to do, for the `message` of an exception of ONNX Runtime."""
    for pattern, what, todo in _MEANINGS:
        if (match := re.search(pattern, message)) is not None:
            return what.format(*match.groups()), todo
    return shortened(message), _REPORT


def shortened(message: str) -> str:
    """The message without its status, the place in ONNX Runtime's source, and all lines behind the first."""
    text = _PLACE.sub("", _LOADING.sub("", _STATUS.sub("", message.strip())))
    return (text.strip().splitlines() or ["it gave no reason"])[0].strip().rstrip(".")
