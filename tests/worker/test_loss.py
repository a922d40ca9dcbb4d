"""The loss over an evaluation text, on scripted logits: which windows are asked, what is said without a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError, UsageError
from harness.protocol import Describe, Event, Loaded, Progress, Scalar
from harness.runtime import LoadedModel
from harness.worker.quality import loss

VOCABULARY, CONTEXT = 5, 4


class _Scripted:
    """Knows that token t is followed by t + 1, with probability `sure`; records what it is asked."""

    def __init__(self, sure: float = 0.6) -> None:
        self.sure, self.asked = sure, []  # type: ignore[var-annotated]

    def logits(self, tokens: Any) -> Any:
        import torch

        probabilities = torch.full((len(tokens), VOCABULARY), (1 - self.sure) / (VOCABULARY - 1))
        probabilities[range(len(tokens)), (tokens + 1) % VOCABULARY] = self.sure
        return probabilities.log()

    def forward(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """ExecuTorch's convention, a token a call."""
        tokens, position = inputs
        self.asked.append((tokens[0].tolist(), int(position[0])))
        return (self.logits(tokens[0])[-1:],)

    def all_logits(self, inputs: Sequence[Any]) -> Sequence[Any]:
        self.asked.append((inputs[0][0].tolist(), "all"))
        return (self.logits(inputs[0][0]).unsqueeze(0),)


def _model(scripted: _Scripted, *, all_logits: bool = False, same: bool = False) -> LoadedModel:
    metadata = {"get_vocab_size": VOCABULARY, "get_max_seq_len": CONTEXT}
    loaded = Loaded(program_ns=1, method_ns=1, program_bytes=1, planned_bytes=1)
    timed = scripted.all_logits if same else scripted.forward
    inputs = [{"dtype": "int64", "sizes": [1, CONTEXT]}, {"dtype": "int64", "sizes": [1]}]
    forward = {"name": "forward", "inputs": inputs, "outputs": [{"dtype": "float32", "sizes": [1, VOCABULARY]}]}
    described = Describe(format="pte", methods=[forward], metadata=metadata, delegates=[])
    if not all_logits:
        return LoadedModel(described, loaded, timed)
    return LoadedModel(described, loaded, timed, timed if same else scripted.all_logits, CONTEXT)


def _said(folder: Path, model: LoadedModel, tokens: Sequence[int], max_tokens: int | None = None) -> dict[str, Scalar]:
    np.save(folder / "t.npy", np.array(tokens, np.int64))
    events: list[Event] = []
    loss(model, folder / "t.npy", max_tokens, events.append)
    assert all(isinstance(event, (Scalar, Progress)) for event in events)
    return {event.name: event for event in events if isinstance(event, Scalar)}


def test_windows_do_not_overlap_and_each_begins_at_position_0(tmp_path: Path) -> None:
    scripted = _Scripted()
    tokens = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]  # two windows of four predictions, two tokens left over
    said = _said(tmp_path, _model(scripted), tokens)
    assert scripted.asked == [([t], i) for window in ([0, 1, 2, 3], [4, 0, 1, 2]) for i, t in enumerate(window)]
    assert said["predicted_tokens"].value == 8
    assert said["loss_nats"].value == pytest.approx(-math.log(0.6), abs=1e-6)


def test_a_wrong_guess_costs_what_it_must(tmp_path: Path) -> None:
    said = _said(tmp_path, _model(_Scripted(0.6)), [0, 1, 2, 3, 3])
    assert said["loss_nats"].value == pytest.approx((-3 * math.log(0.6) - math.log(0.1)) / 4, abs=1e-6)


def test_at_most_max_tokens_are_predicted_but_one_window_at_least(tmp_path: Path) -> None:
    tokens = [0, 1, 2, 3, 4] * 5
    for given, predicted in ((None, 24), (8, 8), (11, 8), (12, 12), (1, 4), (1000, 24)):
        assert _said(tmp_path, _model(_Scripted()), tokens, given)["predicted_tokens"].value == predicted


def test_a_method_with_all_logits_is_asked_once_a_window_and_set_against_the_timed_one(tmp_path: Path) -> None:
    scripted = _Scripted()
    said = _said(tmp_path, _model(scripted, all_logits=True), [0, 1, 2, 3, 4, 0, 1, 2, 3])
    assert [what for what in scripted.asked if what[1] == "all"] == [([0, 1, 2, 3], "all"), ([4, 0, 1, 2], "all")]
    assert len(scripted.asked) == 2 + CONTEXT
    assert said["max_abs_difference_between_methods"].value == pytest.approx(0, abs=1e-6)
    assert "max_abs_difference_between_methods" not in _said(
        tmp_path, _model(_Scripted(), all_logits=True, same=True), [0, 1, 2, 3, 4]
    )


def test_a_loss_that_is_no_number_is_null_with_a_reason(tmp_path: Path) -> None:
    said = _said(tmp_path, _model(_Scripted(math.nan)), [0, 1, 2, 3, 4])
    assert said["loss_nats"].value is None
    assert said["loss_nats"].reason


@pytest.mark.parametrize(
    ("tokens", "words"),
    [([0, 1, 2, 3], "4 tokens"), ([], "0 tokens"), ([0, 1, 2, 3, 5], "token 5"), ([0, 1, 2, -1, 3], "token -1")],
)
def test_a_text_that_cannot_be_evaluated_is_refused(tmp_path: Path, tokens: list[int], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        _said(tmp_path, _model(_Scripted()), tokens)
    assert caught.value.hint


@pytest.mark.parametrize("array", [np.zeros((3, 9), np.int64), np.zeros(9, np.float32), np.array(["a"] * 9)])
def test_an_array_that_is_no_row_of_tokens_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "t.npy", array)
    with pytest.raises(HarnessError):
        loss(_model(_Scripted()), tmp_path / "t.npy", None, lambda event: None)


@pytest.mark.parametrize("data", [b"", b"rubbish", b"\x93NUMPY\x01\x00 cut"])
def test_a_file_that_is_no_npy_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.npy").write_bytes(data)
    with pytest.raises(HarnessError):
        loss(_model(_Scripted()), tmp_path / "t.npy", None, lambda event: None)
