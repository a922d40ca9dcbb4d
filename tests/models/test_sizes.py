from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.models.compress.codes import Code
from harness.models.gpt.network import GPT, GPTConfig
from harness.models.zoo import storage
from harness.models.zoo.records import PACKAGED
from harness.models.zoo.sizes import KINDS, parts


def test_every_byte_and_every_weight_is_counted_once(tiny: GPTConfig) -> None:
    model = GPT(tiny)
    layer, shape = "blocks.1.ffn.out", (tiny.width, 4 * tiny.width)
    one = torch.ones(tiny.width, 1).half()
    code = Code(torch.randint(-2, 2, shape, dtype=torch.int8), one, one)
    code.levels[:, :4] = torch.tensor([-2, -1, 1, 1])  # every row at 2 bits, none of them dead
    found = {part.part: part for part in parts(storage.encoded(model.state_dict(), {layer: code}))}
    assert list(found) == [*KINDS, "container", "total"]
    assert found["total"].weights == sum(parameter.numel() for parameter in model.parameters())
    out = found["ffn.out"]
    assert (out.weights, out.float16_bytes) == (2 * code.levels.numel(), 2 * code.levels.numel())
    assert (out.levels_bytes, out.exponents_bytes) == (code.levels.numel() // 4, 2 * tiny.width)
    assert out.headers_bytes == tiny.width // 8 + 4 * tiny.width // 8 + 2 * tiny.width + tiny.width
    assert found["norms"].stored_bytes == found["norms"].float16_bytes == 2 * 5 * tiny.width
    assert found["embeddings"].levels_bytes <= found["embeddings"].weights
    assert found["embeddings"].float16_bytes == 0


@pytest.mark.parametrize("name", ["baseline-small", "selfcomp-small"])
def test_the_total_is_the_size_of_the_file(name: str, tmp_path: Path) -> None:
    pytest.importorskip("constriction")
    state, codes, record = storage.read_weights(PACKAGED, name)
    for entropy_coded in (False, True):
        file = storage.encoded(state, codes, entropy_coded)
        total = parts(file)[-1]
        assert total.stored_bytes == storage.rewrite(tmp_path, file, record).weights_bytes
        assert total.fp32_bytes == 4 * sum(value.numel() for value in state.values())
