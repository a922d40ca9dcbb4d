from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.models.train.quality import mean_loss, total_loss, windows


def test_windows_follow_each_other_and_targets_are_one_ahead() -> None:
    inputs, targets = windows(np.arange(10), 3)
    assert inputs.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert targets.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert windows(np.arange(9), 3)[0].shape == (2, 3)  # the last token has no successor


def test_the_mean_is_over_tokens_whatever_the_batches() -> None:
    def logits_of(tokens: Tensor) -> Tensor:
        """Half the mass on the right successor where it is even, all other tokens alike."""
        right = torch.nn.functional.one_hot((tokens + 1) % 8, 8).float()
        return right * torch.where(tokens % 2 == 1, math.log(7.0), 0.0)[..., None]

    tokens = np.arange(57) % 8
    expected = (math.log(2) + math.log(8)) / 2
    assert total_loss(logits_of, *windows(tokens, 4), batch=3) / 56 == pytest.approx(expected)
    assert mean_loss(logits_of, tokens, 8) == pytest.approx(expected)
