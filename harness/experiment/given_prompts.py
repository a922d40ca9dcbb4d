"""The prompts that a user gives, in the tokens of each model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.errors import DataError, UsageError
from harness.experiment.model_source import Say
from harness.experiment.plan import Subject
from harness.experiment.request import RunRequest
from harness.language.prompts import GivenPrompts, encoded_prompts, read_prompts
from harness.model_description import is_language_model
from harness.outside_files import printable


def with_given_prompts(
    subjects: Mapping[str, Subject], request: RunRequest, say: Say
) -> tuple[dict[str, Subject], list[tuple[Subject, UsageError]]]:
    """The models with the prompts of the request, all of one length, and the language models that cannot be given them
    with the reason. Raises UsageError where the prompts cannot be read.
    """
    if request.prompt_file is not None:
        texts = read_prompts(request.prompt_file)
        source = f"{len(texts)} {'prompt' if len(texts) == 1 else 'prompts'} of {printable(request.prompt_file.name)}"
    elif request.prompts:
        texts = list(request.prompts)
        source = "the given prompt" if len(texts) == 1 else f"{len(texts)} given prompts"
    else:
        return dict(subjects), []
    refused, encoded = [], {}
    for name, subject in subjects.items():
        if not is_language_model(subject.description):
            continue
        try:
            if subject.tokenizer is None:
                raise UsageError(
                    f"{name} has no tokenizer, so that it cannot be given a text.", "Give its --tokenizer."
                )
            encoded[name] = encoded_prompts(texts, subject.tokenizer)
        except (UsageError, DataError) as error:
            refused.append((subject, UsageError(error.message, error.hint)))
    if not encoded and not refused:
        raise UsageError("None of the models is a language model, which takes a prompt.", "Leave out --prompt.")
    lengths = [len(tokens) for prompts in encoded.values() for tokens in prompts]
    if lengths and max(lengths) > min(lengths) and request.prompt_tokens is None:
        say(
            f"prompts have {min(lengths)} to {max(lengths)} tokens and are cut to the first {min(lengths)}, so that "
            "all samples are of one kind of work"
        )
    left_out = {subject.name for subject, _ in refused}
    return {
        name: replace(subject, prompts=GivenPrompts(encoded[name], source, min(lengths)))
        if name in encoded
        else subject
        for name, subject in subjects.items()
        if name not in left_out
    }, refused
