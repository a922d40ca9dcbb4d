"""Language models in LiteRT, by the convention of LiteRT's own exporter: signatures `decode` for one token and
`prefill_N` for N, which share a cache of a fixed size.

Each takes `tokens` int32 [1, N], `input_pos` int32 [N] (the position of each token) and the cache, tensors such as
`kv_cache_k_0`, and gives the cache back under the same names; `decode` gives `logits`. harness's own models have two
things besides: a `prefill_N` with logits of the one token whose place is in `logits_at` int32 [1], and metadata.

To the scenarios such a model is one by ExecuTorch's convention, `forward(tokens, input_pos)`. A prompt goes in in parts
of N tokens. The last part is filled up with copies of its last token at the positions behind it: what they leave in the
cache is masked until tokens that come later take their places. Where `prefill_N` gives no logits, the prompt's last
token goes through `decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.model_description import FORWARD
from harness.protocol import Describe

if TYPE_CHECKING:
    from harness.worker.runtimes.litert_file import LiteRTFile, Signature

LOGITS = "logits"
"""The name of the output that has them."""
_DECODE, _PREFILL = "decode", "prefill"
_TOKENS, _POSITIONS, _LOGITS_AT = "tokens", "input_pos", "logits_at"
_NAMED = (_TOKENS, _POSITIONS, _LOGITS_AT)
_CONTEXT, _VOCABULARY = "get_max_seq_len", "get_vocab_size"

Execute = Callable[["Signature", dict[str, Any], "Signature | None"], Any]
"""Runs a signature on inputs by name, its cache that of the signature that ran last (None: a new sequence, which sees
none of it); the logits [1, m, vocabulary], None where it has none.
"""


@dataclass(frozen=True)
class LanguageModel:
    """The signatures of a language model, those of prompts longest first, and the names of its cache."""

    decode: Signature
    prefills: tuple[Signature, ...]
    cache: tuple[str, ...]
    vocabulary: int
    context: int

    def describe(self, metadata: dict[str, Any]) -> Describe:
        """The model by ExecuTorch's convention; `metadata` is that of its file."""
        names = {"name": _TOKENS, "kind": "tensor", "dtype": "int32", "limit": self.vocabulary}
        tokens = {**names, "sizes": [1, self.context], "dynamic": [None, "length"]}
        position = {"name": _POSITIONS, "kind": "tensor", "dtype": "int32", "sizes": [1], "dynamic": [None]}
        forward = {
            "name": FORWARD,
            "planned_bytes": None,
            "delegates": [],
            "inputs": [tokens, position],
            "outputs": [{"kind": "tensor", "dtype": "float32", "sizes": [1, self.vocabulary]}],
            "ranges": {"length": [1, self.context]},
        }
        facts = {
            _VOCABULARY: self.vocabulary,
            _CONTEXT: self.context,
            "get_max_context_len": self.context,
            "use_kv_cache": True,
        }
        return Describe(format="tflite", methods=[forward], metadata={**metadata, **facts}, delegates=[])


def find_language_model(file: LiteRTFile, metadata: dict[str, Any]) -> LanguageModel | None:
    """What a file is as a language model; None where it is none by this convention."""
    named = {signature.name: signature for signature in file.signatures}
    decode = named.get(_DECODE)
    if decode is None or _length(decode) != 1:
        return None
    outputs = {output["name"]: output for output in decode.outputs}
    cache = tuple(each["name"] for each in decode.inputs if each["name"] not in _NAMED)
    logits = outputs.get(LOGITS)
    if logits is None or len(logits["sizes"]) != 3 or not cache or not _keeps(decode, cache):
        return None
    prefills = [
        signature
        for name, signature in named.items()
        if name.startswith(_PREFILL) and _length(signature) > 0 and _keeps(signature, cache)
    ]
    vocabulary = metadata.get(_VOCABULARY, (logits["sizes"] or [None])[-1])
    positions = next(each for each in decode.inputs if each["name"] == _POSITIONS)
    # A table of positions says how many there are; else of the cache the longest dimension that all tensors share.
    shared = set.intersection(*(set(each["sizes"]) for each in decode.inputs if each["name"] in cache)) - {None}
    context = metadata.get(_CONTEXT, positions.get("limit", max(shared, default=0)))
    if not isinstance(vocabulary, int) or not isinstance(context, int) or vocabulary < 1 or context < 1:
        return None
    prefills = [signature for signature in prefills if _length(signature) <= context]
    return LanguageModel(decode, tuple(sorted(prefills, key=_length, reverse=True)), cache, vocabulary, context)


class _Call(NamedTuple):
    signature: Signature
    feed: dict[str, Any]
    row: int
    begins: bool


class Generation:
    """Runs a language model: makes its inputs beforehand and hands its cache from one signature to the next."""

    def __init__(self, model: LanguageModel, execute: Execute) -> None:
        self._model, self._execute = model, execute
        self._last: Signature | None = None

    def arrange(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Tokens [1, n] and the position of the first, tensors or arrays, to what `execute` takes."""
        import numpy as np

        tokens, input_pos = np.asarray(inputs[0]), int(inputs[1].reshape(-1)[0])
        begin, calls = 0, list[_Call]()
        while begin < tokens.shape[1]:
            signature = self._signature_for(tokens.shape[1] - begin, input_pos + begin)
            # Where a signature gives no logits, the last token is left for another.
            count = min(_length(signature), tokens.shape[1] - begin - (not _answers(signature)))
            calls.append(self._call(signature, tokens[:, begin : begin + count], input_pos + begin))
            begin += count
        return calls

    def execute(self, calls: Sequence[_Call]) -> Sequence[Any]:
        """The logits [1, vocabulary] of the last token."""
        logits, row = None, 0
        for signature, feed, row, begins in calls:  # noqa: B007 - the last row is needed
            logits = self._execute(signature, feed, None if begins else self._last)
            self._last = signature
        assert logits is not None, "the last call gives logits"
        return [logits[:, row]]

    def _signature_for(self, count: int, position: int) -> Signature:
        """What `count` tokens go into first: the shortest `prefill` that takes them all and gives logits, the shortest
        that takes all but the last, else the longest that they fill; none whose end lies behind the context.
        """
        model = self._model
        fitting = [each for each in model.prefills if position + _length(each) <= model.context and count > 1]
        answering = [each for each in fitting if _answers(each) and _length(each) >= count]
        if answering:
            return answering[-1]
        without_last = [each for each in fitting if not _answers(each) and _length(each) >= count - 1]
        full = [each for each in fitting if _length(each) < count]
        return next(iter([*without_last[-1:], *full]), model.decode)

    def _call(self, signature: Signature, tokens: Any, position: int) -> _Call:
        import numpy as np

        length, count = _length(signature), tokens.shape[1]
        if length > count:
            tokens = np.pad(tokens, ((0, 0), (0, length - count)), mode="edge")
        # Of a step the tensor itself: its token is written there once it is known.
        feed = {_TOKENS: tokens, _POSITIONS: np.arange(position, position + length, dtype=np.int32)}
        names = [each["name"] for each in signature.inputs]
        if _LOGITS_AT in names:
            feed[_LOGITS_AT] = np.array([count - 1], np.int32)
        return _Call(signature, feed, 0 if _LOGITS_AT in names else count - 1, position == 0)


def _length(signature: Signature) -> int:
    """How many tokens it takes; 0 for one of another convention."""
    inputs = {each["name"]: each for each in signature.inputs}
    sizes = inputs[_TOKENS]["sizes"] if _TOKENS in inputs and _POSITIONS in inputs else []
    if len(sizes) != 2 or sizes[0] != 1 or not isinstance(sizes[1], int):
        return 0
    integers = [inputs[name] for name in _NAMED if name in inputs]
    if any(each["dtype"] != "int32" for each in integers) or inputs[_POSITIONS]["sizes"] != [sizes[1]]:
        return 0
    return sizes[1]


def _answers(signature: Signature) -> bool:
    return any(each["name"] == LOGITS for each in signature.outputs)


def _keeps(signature: Signature, cache: Sequence[str]) -> bool:
    """Whether it takes this cache and nothing else, and gives it back in the same sizes."""
    inputs = {each["name"]: each for each in signature.inputs if each["name"] not in _NAMED}
    outputs = {each["name"]: each for each in signature.outputs}
    return set(inputs) == set(cache) and all(
        name in outputs and outputs[name]["sizes"] == inputs[name]["sizes"] for name in cache
    )
