"""The contract that every runtime keeps, for the one in `fake_runtime.py`."""

import json
from pathlib import Path

import numpy as np

from harness.runtime_contract import ContractModel, RuntimeContract


class TestFake(RuntimeContract):
    runtime = "fake"

    def model(self, folder: Path) -> ContractModel:
        """A tiny model, and what it computes, by numpy alone."""
        rng = np.random.default_rng(0)
        weight, bias = rng.normal(size=(8, 4)), rng.normal(size=8)
        path = folder / "tiny.fake"
        path.write_text(json.dumps({"weight": weight.tolist(), "bias": bias.tolist()}))
        return ContractModel(path, sizes=((1, 4),), reference=lambda x: [x @ weight.T + bias], batches=(1, 3))
