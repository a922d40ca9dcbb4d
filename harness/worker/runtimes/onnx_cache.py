"""Language models in ONNX, which take their cache as inputs and give it back, longer by the new tokens, as outputs; and
those of OpenVINO, whose runtime keeps it in states.

Recognised by names. Hugging Face's: `input_ids` [1, n], `past_key_values.N.key` and `.value`, `present.N.key` and
`.value`, and where there are such `position_ids` [1, n], `cache_position` [n] and `attention_mask` [1, past + n].
harness's own models have these, and `logits_at` [m]: the places of the new tokens whose logits are wanted, since a
prompt needs those of its last token alone. Shorter forms are known too: `tokens`, `past.N.k`, and ExecuTorch's
`input_pos` [1]. Models with states have no cache among their inputs, and as optimum-intel writes them `beam_idx` [1],
the sequence whose states each goes on from.

To the scenarios such a model is one by ExecuTorch's convention, `forward(tokens, input_pos)`: a call at position 0
begins a new sequence, with a cache of length 0, or with its states as they were first. Outputs go back in as the arrays
of numpy that a run returns: kept as OrtValue they would not be copied, but a token of a model of 6 layers took a tenth
longer (onnxruntime 1.22 and 1.32).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.model_description import FORWARD, Input
from harness.protocol import Describe
from harness.runtime import Execute

Run = Callable[[list[str], dict[str, Any]], Sequence[Any]]
"""Names of outputs and inputs by name to these outputs, all of them arrays of numpy."""

_TOKENS = ("input_ids", "tokens")
_POSITIONS = ("position_ids", "cache_position", "input_pos")
_MASK, _LOGITS_AT, _LOGITS, _BEAM = "attention_mask", "logits_at", "logits", "beam_idx"
_PAST = re.compile(r"past(?:_key_values|_key_value)?[._](\d+)[._](?:self[._])?(k|v|key|value)")
_PRESENT = re.compile(r"present(?:_key_values|_key_value)?[._](\d+)[._](?:self[._])?(k|v|key|value)")
_FLOATS = ("float32", "float16")
# Where neither the metadata nor a table of positions says how many tokens a model takes.
_ASSUMED_CONTEXT = 1024


@dataclass(frozen=True)
class CachedModel:
    """A language model that keeps its cache: its inputs by what they are for, and for each input of its cache the
    output that takes its place. There are none where it is `stateful`.
    """

    tokens: Input
    positions: Input | None
    mask: Input | None
    logits_at: Input | None
    logits: Input
    pasts: dict[str, Input]
    presents: dict[str, str]
    vocabulary: int
    context: int
    beam: Input | None = None
    stateful: bool = False

    @property
    def all_logits(self) -> bool:
        """Whether it can give the logits of all new tokens."""
        return len(self.logits["sizes"]) == 3 and (self.logits_at is not None or self.logits["sizes"][1] is None)

    def describe(self, metadata: dict[str, Any], form: str) -> Describe:
        """The model by ExecuTorch's convention; `metadata` is that of its file, `form` its format."""
        tokens = {**self.tokens, "sizes": [1, self.longest], "dynamic": [None, "length"], "limit": self.vocabulary}
        position = {"name": "input_pos", "kind": "tensor", "dtype": "int64", "sizes": [1], "dynamic": [None]}
        sizes = [1, self.longest if self.logits_at is None else 1, self.vocabulary][-len(self.logits["sizes"]) :]
        forward = {
            "name": FORWARD,
            "planned_bytes": None,
            "delegates": [],
            "inputs": [tokens, position],
            "outputs": [{"kind": "tensor", "dtype": self.logits["dtype"], "sizes": sizes}],
            "ranges": {"length": [1, self.longest]},
        }
        facts = {
            "get_vocab_size": self.vocabulary,
            "get_max_seq_len": self.context,
            "get_max_context_len": self.context,
            "use_kv_cache": True,
        }
        return Describe(format=form, methods=[forward], metadata={**metadata, **facts}, delegates=[])

    @property
    def longest(self) -> int:
        """How many tokens it takes at once."""
        declared = self.tokens["sizes"][1]
        return self.context if declared is None else min(int(declared), self.context)


def find_cached_model(
    all_inputs: Sequence[Input], all_outputs: Sequence[Input], metadata: dict[str, Any], *, stateful: bool = False
) -> CachedModel | None:
    """What a model with these inputs and outputs is as a language model; None where it is none that is recognised.
    `stateful`: it keeps states from call to call.
    """
    inputs = {str(described["name"]): described for described in all_inputs}
    outputs = {str(described["name"]): described for described in all_outputs}
    present = {_place(match): name for name in outputs if (match := _PRESENT.fullmatch(name))}
    pasts = {name: inputs[name] for name in inputs if _PAST.fullmatch(name)}
    presents = {name: present.get(_place(_PAST.fullmatch(name)), "") for name in pasts}
    tokens = next((inputs.pop(name) for name in _TOKENS if name in inputs), None)
    logits = outputs.get(_LOGITS) or next((out for name, out in outputs.items() if name not in present.values()), None)
    positions = next((inputs.pop(name) for name in _POSITIONS if name in inputs), None)
    mask, logits_at, beam = inputs.pop(_MASK, None), inputs.pop(_LOGITS_AT, None), inputs.pop(_BEAM, None)
    if tokens is None or logits is None or not all(presents.values()) or inputs.keys() != pasts.keys():
        return None
    if bool(pasts) == stateful:  # no cache at all, or one of each kind
        return None
    integers = [known for known in (tokens, positions, mask, logits_at, beam) if known is not None]
    if len(tokens["sizes"]) != 2 or any(known["dtype"] not in ("int64", "int32") for known in integers):
        return None
    if any(past["dtype"] not in _FLOATS or _open_place(past) is None for past in pasts.values()):
        return None
    vocabulary = metadata.get("get_vocab_size", (logits["sizes"] or [None])[-1] or tokens.get("limit"))
    context = metadata.get("get_max_seq_len", (positions or {}).get("limit", _ASSUMED_CONTEXT))
    if not isinstance(vocabulary, int) or not isinstance(context, int) or vocabulary < 1 or context < 1:
        return None
    return CachedModel(tokens, positions, mask, logits_at, logits, pasts, presents, vocabulary, context, beam, stateful)


class Generation:
    """Runs a cached model: makes its inputs beforehand and keeps its cache between calls. Of one that is stateful the
    runtime does that, and `reset` makes its states what they were first.
    """

    def __init__(self, model: CachedModel, run: Run, reset: Callable[[], None] | None = None) -> None:
        import numpy as np

        assert model.stateful == (reset is not None)
        self._model, self._run, self._reset = model, run, reset
        self._empty = {name: np.zeros(_empty(past), past["dtype"]) for name, past in model.pasts.items()}
        self._past = self._empty
        self._outputs = [str(model.logits["name"]), *model.presents.values()]
        # Of each step's mask so many ones are a view: all of them together would grow with the square of the context.
        self._ones = np.ones((1, model.context), model.mask["dtype"] if model.mask else np.int64)

    def arrange(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Tokens [1, n] and the position of the first, tensors or arrays, to what `execute` takes."""
        return self._arranged(*inputs)

    def execute(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """The logits of the last token; of all new ones where the model has no `logits_at`."""
        feed, begins = inputs
        if begins:
            self._past = self._empty
            if self._reset is not None:
                self._reset()
        logits, *presents = self._run(self._outputs, {**feed, **self._past})
        self._past = dict(zip(self._model.presents, presents, strict=True))
        return [logits]

    def all_logits(self) -> Execute | None:
        """Tokens [1, T] to the logits of every position [1, T, vocabulary], where the model can."""
        if not self._model.all_logits:
            return None
        import numpy as np

        return lambda given: self.execute(self._arranged(given[0], np.zeros(1, np.int64), every=True))

    def _arranged(self, tokens: Any, input_pos: Any, *, every: bool = False) -> Sequence[Any]:
        import numpy as np

        model, begin, count = self._model, int(input_pos.reshape(-1)[0]), tokens.shape[1]
        # Shares the memory of what is given: of a step the token is written there once it is known.
        feed = {model.tokens["name"]: np.asarray(tokens).astype(model.tokens["dtype"], copy=False)}
        if (positions := model.positions) is not None:
            single = positions["sizes"] == [1] and not (positions.get("dynamic") or [None])[0]
            places = np.arange(begin, begin + (1 if single else count), dtype=positions["dtype"])
            feed[positions["name"]] = places.reshape((1, -1) if len(positions["sizes"]) == 2 else (-1,))
        if model.mask is not None:
            feed[model.mask["name"]] = self._ones[:, : begin + count]
        if model.logits_at is not None:
            feed[model.logits_at["name"]] = np.arange(0 if every else count - 1, count, dtype=model.logits_at["dtype"])
        if model.beam is not None:
            feed[model.beam["name"]] = np.zeros(1, model.beam["dtype"])
        return feed, begin == 0


def _place(match: re.Match[str] | None) -> tuple[str, str]:
    """Number and kind of a cache's tensor, such as ("3", "k")."""
    assert match is not None, "asked of a name that is one"
    return match[1], match[2][0]


def _open_place(past: Input) -> int | None:
    """The dimension of a cache that grows: the only one behind the first that the file leaves open, or the first."""
    places = [place for place, name in enumerate(past.get("dynamic", ())) if name is not None]
    behind = [place for place in places if place > 0]
    return behind[0] if len(behind) == 1 else None


def _empty(past: Input) -> list[int]:
    place = _open_place(past)
    return [0 if index == place else int(size) for index, size in enumerate(past["sizes"])]
