"""What language models generated, as rows of the table `answers`: in tokens, and as text where the tokenizer is
known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.experiment.plan import Subject, prompts_for
from harness.job import Job
from harness.protocol import Answer


def answer_rows(answers: Sequence[Answer], job: Job, subject: Subject) -> list[dict[str, Any]]:
    """A row an answer, without its attempt."""
    prompts = prompts_for(job, subject) if answers else None
    if prompts is None:
        return []
    decode = None if subject.tokenizer is None else subject.tokenizer.decode
    return [
        {
            "prompt": answer.prompt,
            "prompt_tokens": (asked := prompts.tokens[answer.prompt]).tolist(),
            "tokens": answer.tokens,
            "prompt_text": None if decode is None else decode(asked),
            "text": None if decode is None else decode(np.array(answer.tokens, np.int64)),
        }
        for answer in answers
    ]
