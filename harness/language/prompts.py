"""Which prompts a language model is asked: given ones, stretches of the evaluation text, or random tokens.

Of a sparse model, and of one whose work depends on its tokens, time depends on the text: random tokens, or the same
token again and again, flatter such a model's caches. All prompts of a run have one length, so that the samples of a
phase are of one kind of work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError
from harness.language.tokenizer import Tokenizer, Tokens
from harness.outside_files import printable

PROMPTS_OF_TEXT = 8
"""How many stretches of the evaluation text are asked in turn."""
EVALUATION_TEXT = "the evaluation text"
_HOW = "Write a prompt a line, or in a .jsonl an object with `prompt` a line."


@dataclass(frozen=True)
class Prompts:
    """Prompts of one length: `tokens` int64 [prompts, length], where they came from in words, and whether the user gave
    them, so that an answer ends where the model ends it.
    """

    tokens: npt.NDArray[np.int64]
    source: str
    given: bool

    @property
    def sha256(self) -> str:
        """Names the tokens."""
        return hashlib.sha256(np.ascontiguousarray(self.tokens).tobytes() + str(self.tokens.shape).encode()).hexdigest()


@dataclass(frozen=True)
class GivenPrompts:
    """Prompts of a user in the tokens of a model, as many of each as all models take: `length` of them."""

    tokens: Sequence[Tokens]
    source: str
    length: int


def read_prompts(path: Path) -> list[str]:
    """The prompts in a file: a line each, or in a `.jsonl` the `prompt` of a line's object. Empty lines are no prompts.

    Raises UsageError naming a line that is none, or where there is no prompt.
    """
    name = printable(path.name)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"The prompts {path} cannot be read ({error.strerror}).", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is no text in UTF-8.", _HOW) from error
    prompts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        prompts.append(_of_json(name, number, line) if path.suffix == ".jsonl" else line)
    if not prompts:
        raise UsageError(f"{name} has no prompt in it.", _HOW)
    return prompts


def _of_json(name: str, number: int, line: str) -> str:
    try:
        prompt = json.loads(line)["prompt"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UsageError(f"Line {number} of {name} is no JSON object with `prompt`.", _HOW) from error
    if not isinstance(prompt, str) or not prompt:
        raise UsageError(f"The prompt in line {number} of {name} is no text.", _HOW)
    return prompt


def encoded_prompts(texts: Sequence[str], tokenizer: Tokenizer) -> list[Tokens]:
    """Given prompts in the tokens of a model. Raises UsageError for one that has no tokens, DataError for one that its
    tokens cannot say.
    """
    encoded = [tokenizer.encode_prompt(text) for text in texts]
    if empty := [text for text, tokens in zip(texts, encoded, strict=True) if not len(tokens)]:
        raise UsageError(f"The prompt {empty[0][:40]!r} has no tokens.", "Give a longer one.")
    return encoded


def cut(prompts: Sequence[Tokens], length: int) -> npt.NDArray[np.int64]:
    """The first `length` tokens of each: int64 [prompts, length]."""
    return np.stack([prompt[:length] for prompt in prompts])


def stretches(text: Tokens, length: int) -> npt.NDArray[np.int64] | None:
    """Stretches of a text at equal distances: int64 [8, length]; None of a text that is shorter than one."""
    if len(text) < length:
        return None
    starts = np.linspace(0, len(text) - length, PROMPTS_OF_TEXT).astype(np.int64)
    return np.stack([text[start : start + length] for start in dict.fromkeys(starts.tolist())])
