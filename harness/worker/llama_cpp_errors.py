"""What llama.cpp's words mean, and what a user can do about them. It has no error codes: a call returns nothing, and
the reason is in its log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MEMORY = re.compile(r"unable to allocate|failed to allocate|bad_alloc|cannot allocate|ggml_aligned_malloc", re.I)
_PLACE = re.compile(r"^\w+: ")
_LOADING = re.compile(r"error loading model(?: \w+)?: ")
# What the caller did not get, said after the reason.
_CONSEQUENCE = re.compile(r"failed to (?:load model|initialize (?:the context|batch)|create context|decode)", re.I)
_AGAIN = "Convert it again, or copy it again if it came from elsewhere."
_MEANINGS = (
    (
        r"unknown model architecture: '(.*?)'",
        "it is of the architecture {0}, which this llama.cpp does not have",
        "Install a newer one (pip install -U llama-cpp-python), or choose another model.",
    ),
    (
        r"unsupported model architecture: '(.*?)'",
        "it is of the architecture {0}, which is no language model",
        "Give the file of the language model.",
    ),
    (r"data is not within the file bounds|is corrupted or incomplete", "it is cut short", "Copy it again."),
    (
        r"tensor '(\S+)' has wrong shape; expected (.*?), got (.*?)(?:, 1)*$",
        "its tensor {0} is {2} and its metadata ask for {1}",
        _AGAIN,
    ),
    (r"missing tensor '(\S+)'", "it lacks the tensor {0}", _AGAIN),
    (r"tensor '(\S+)' not found", "it lacks the tensor {0}", _AGAIN),
    (r"key not found in model: (\S+)", "its metadata lack {0}", _AGAIN),
    (
        r"cannot find tokenizer merges|error loading model vocabulary: (.*)",
        "its tokenizer is not complete",
        'Convert it again, or without one: `tokenizer.ggml.model` may be "none" where `vocab_size` is there.',
    ),
)


def explain(lines: Sequence[str]) -> tuple[str, str]:
    """What happened, without a full stop, and what to do, from the warnings and errors in llama.cpp's log."""
    reasons = [line for line in map(shortened, lines) if line and not _CONSEQUENCE.search(line)]
    for line in reversed(reasons):
        for pattern, what, todo in _MEANINGS:
            if (match := re.search(pattern, line)) is not None:
                return what.format(*match.groups()), todo
    return (reasons[-1] if reasons else "it gave no reason"), _AGAIN


def shortened(line: str) -> str:
    """A line of the log without the function that it is from and what was being done."""
    return " ".join(_LOADING.sub("", _PLACE.sub("", line.strip())).split()).rstrip(".")
