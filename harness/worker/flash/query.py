"""One query of the flash scenario: a sequence from its prompt to its last token, and what each token cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError
from harness.flash.language_model.engine import Step, generate
from harness.job import Files, Job
from harness.protocol import Samples
from harness.scenarios.queries import Clock, Series

SEQUENCES = 4
_PARTS = ("decode_io", "decode_mem", "decode_compute", "decode_read")


class FlashQuery:
    """Asks one sequence after the other, and the first again after the last; neurons stay in DRAM from one to the next.

    Durations are sums of what was timed, checking rows against their checksums not included. Phases: `prefill` (all
    tokens of a prompt), `generate` (all tokens), and of each further token `decode` = `decode_io` (nothing was computed
    for want of rows) + `decode_mem` + `decode_compute`; `decode_read` is how long the reader was busy, which is more
    than `decode_io` only where computing went on meanwhile.
    """

    def __init__(
        self, token_step: Callable[[int, int], Step], sequences: npt.NDArray[np.int64], new_tokens: int, clock: Clock
    ) -> None:
        self._token_step, self._sequences, self._new, self._clock = token_step, sequences, new_tokens, clock
        self._asked = 0
        self.phases = {phase: Series() for phase in ("prefill", "decode", "generate", *_PARTS)}
        self.forget()

    def forget(self) -> None:
        """Begin to count anew; the sequences go on where they are."""
        self.asked_bytes = self._bytes = self._reads = self._hits = self._active = 0
        self._chosen: list[tuple[int, list[int]]] = []

    def __call__(self) -> int:
        index = self._asked % len(self._sequences)
        self._asked += 1
        prompt, chosen = self._sequences[index], []
        begun, prefill_ns, decode_ns = self._clock(), 0, 0
        started = begun
        for position, (token, done) in enumerate(generate(self._token_step, prompt, self._new)):
            cost = done.cost
            taken = cost.wait_ns + cost.mem_ns + cost.compute_ns
            self.asked_bytes += cost.asked_bytes
            if token is not None:
                chosen.append(token)
            if position < len(prompt):
                prefill_ns += taken
            else:
                decode_ns += taken
                parts = (cost.wait_ns, cost.mem_ns, cost.compute_ns, cost.io_ns)
                for phase, part in zip(("decode", *_PARTS), (taken, *parts), strict=True):
                    self._add(phase, started, part)
                self._bytes += cost.asked_bytes
                self._reads += cost.reads
                self._hits += cost.hits
                self._active += sum(map(len, done.active))
            started = self._clock()
        self._add("prefill", begun, prefill_ns)
        self._add("generate", begun, prefill_ns + decode_ns)
        self._chosen.append((index, chosen))
        return prefill_ns + decode_ns

    def first(self) -> Samples:
        """The first prompt: nothing of the layers was in DRAM."""
        series = self.phases["prefill"]
        return Samples(phase="first", start_ns=series.start_ns[:1], duration_ns=series.duration_ns[:1])

    def totals(self) -> dict[str, int]:
        """Of all decoded tokens together: bytes asked of flash, reads, active neurons, and those of them in DRAM."""
        return {
            "decode_flash_bytes": self._bytes,
            "decode_flash_reads": self._reads,
            "decode_active_neurons": self._active,
            "decode_hits": self._hits,
        }

    def agreement(self, expected: list[list[int]]) -> float:
        """The share of all tokens chosen that are those `expected` of their sequence."""
        pairs = [(a, b) for index, chosen in self._chosen for a, b in zip(chosen, expected[index], strict=True)]
        return sum(a == b for a, b in pairs) / len(pairs)

    def _add(self, phase: str, start_ns: int, duration_ns: int) -> None:
        self.phases[phase].start_ns.append(start_ns)
        self.phases[phase].duration_ns.append(duration_ns)


def prompts(job: Job, files: Files, vocabulary: int) -> npt.NDArray[np.int64]:
    """Prompts int64 [4, prompt_tokens]: stretches of the text at equal distances, or random without one.

    Raises UsageError for a window that is none, or that the prompt does not fill, and for a text that is too short or
    not in the model's tokens.
    """
    length, window = job.prompt_tokens or 1, job.window or 0
    if not 1 <= window <= length:
        raise UsageError(
            f"A window of {window} tokens "
            + ("keeps nothing." if window < 1 else f"is longer than the prompt of {length}."),
            f"Give a window of 1 to {length}, or a longer prompt.",
        )
    if files.tokens is None:
        return np.random.default_rng(job.seed).integers(0, vocabulary, (SEQUENCES, length))
    from harness.language.token_file import read_tokens

    text = read_tokens(Path(files.tokens)).astype(np.int64)
    if len(text) < length:
        raise UsageError(f"The text has {len(text)} tokens, a prompt takes {length}.", "Give a longer text.")
    starts = np.linspace(0, len(text) - length, SEQUENCES).astype(np.int64)
    chosen = np.stack([text[start : start + length] for start in starts])
    if chosen.max() >= vocabulary:
        raise UsageError(
            f"The text has token {chosen.max()}, the model knows {vocabulary} tokens.",
            "Give the text in the model's own tokens (--tokens).",
        )
    return chosen
