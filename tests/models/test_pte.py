"""Real exports of a model of one cut block: one program a precision, one archive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import ModelError, UsageError
from harness.models.export.deployment import AllLogits, Body
from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.pt2 import export_pt2
from harness.models.export.pte import ALL_LOGITS, check_pte, export_pte
from harness.models.gpt.network import GPT, BlockShape, GPTConfig

pytestmark = pytest.mark.xdist_group("export")  # two workers would export everything twice

SHAPE = BlockShape(heads=3, qk_dim=20, v_dim=32, ffn=300, attention_rows=tuple(range(0, 128, 2)))
CONFIG = GPTConfig(vocabulary_size=29, context=24, layers=1, heads=4, width=128, shapes=(SHAPE,))


@pytest.fixture(scope="module")
def model(seeded: Callable[..., GPT]) -> GPT:
    return seeded(CONFIG)


def exported(model: GPT, precision: str, folders: pytest.TempPathFactory) -> Path:
    path = folders.mktemp(precision) / "tiny.pte"
    export_pte(model, path, precision)
    return path


@pytest.fixture(scope="module")
def fp32(model: GPT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(model, "fp32", tmp_path_factory)


@pytest.fixture(scope="module")
def int8(model: GPT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(model, "int8", tmp_path_factory)


@pytest.fixture(scope="module")
def compressed(seeded: Callable[..., GPT]) -> GPT:
    """The same shapes, every block's weights integers of at most 3 bits times a step per row."""
    model = seeded(CONFIG, seed=2)
    for name, weight in model.named_parameters():
        if name.startswith("blocks.") and weight.dim() == 2:
            step = weight.data.abs().amax(1, keepdim=True) / 3
            weight.data.copy_((weight.data / step).round() * step)
    return model


@pytest.fixture(scope="module")
def int4(compressed: GPT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(compressed, "int4-channel", tmp_path_factory)


def loaded(path: Path) -> Any:
    with library_noise_hidden():
        from executorch.runtime import Runtime

        return Runtime.get().load_program(path)


def test_it_follows_the_llm_convention(fp32: Path) -> None:
    program = loaded(fp32)
    forward = program.load_method("forward").metadata
    assert [forward.input_tensor_meta(i).sizes() for i in (0, 1)] == [(1, 23), (1,)]
    assert forward.output_tensor_meta(0).sizes() == (1, 29)
    assert program.load_method(ALL_LOGITS).metadata.input_tensor_meta(0).sizes() == (1, 24)
    constants = {name: program.load_method(name).execute([])[0] for name in program.method_names if "_" in name[:4]}
    assert constants == {"get_vocab_size": 29, "get_max_seq_len": 24, "get_max_context_len": 24, "get_n_layers": 1} | {
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": False,
    }
    assert program.load_method("enable_dynamic_shape").execute([])[0] is True


@torch.no_grad()
def test_float32_logits_are_those_of_eager_pytorch(model: GPT, fp32: Path) -> None:
    program = loaded(fp32)
    forward, whole = program.load_method("forward"), program.load_method(ALL_LOGITS)
    for seed in (1, 2):
        tokens = torch.randint(29, (1, 24), generator=torch.Generator().manual_seed(seed))
        expected = model(tokens)
        torch.testing.assert_close(whole.execute([tokens])[0], expected, atol=1e-4, rtol=1e-4)
        for start, end in ((0, 10), (10, 11), (11, 12), (12, 24)):
            found = forward.execute([tokens[:, start:end], torch.tensor([start])])[0]
            torch.testing.assert_close(found, expected[:, end - 1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_int8_is_close_and_does_not_cost_decisions(model: GPT, int8: Path) -> None:
    whole = loaded(int8).load_method(ALL_LOGITS)
    tokens = torch.randint(29, (1, 24), generator=torch.Generator().manual_seed(3))
    expected, found = model(tokens), whole.execute([tokens])[0]
    assert 1e-4 < (found - expected).abs().max() / expected.std() < 0.5
    assert (found.argmax(2) == expected.argmax(2)).float().mean() > 0.9


@torch.no_grad()
def test_integers_lose_nothing_but_the_rounding_of_activations(compressed: GPT, int4: Path) -> None:
    tokens = torch.randint(29, (1, 24), generator=torch.Generator().manual_seed(3))
    expected, found = compressed(tokens), loaded(int4).load_method(ALL_LOGITS).execute([tokens])[0]
    assert (found - expected).std() < 0.05 * expected.std()
    assert (found.argmax(2) == expected.argmax(2)).float().mean() > 0.9


@torch.no_grad()
def test_int8_and_int4_are_the_same_program_of_a_compressed_model(compressed: GPT) -> None:
    tokens = torch.randint(29, (1, 24), generator=torch.Generator().manual_seed(3))
    int8, int4 = (AllLogits(Body(compressed, precision))(tokens) for precision in ("int8", "int4-channel"))
    assert torch.equal(int8, int4)


def test_both_methods_share_one_set_of_weights(model: GPT, fp32: Path, int8: Path, int4: Path) -> None:
    weights = sum(parameter.numel() for name, parameter in model.named_parameters() if parameter.dim() == 2)
    assert 4 * weights < fp32.stat().st_size < 1.8 * 4 * weights
    assert int8.stat().st_size < 0.4 * fp32.stat().st_size
    # Beside the weights a program has some 45 kB of graphs.
    assert int4.stat().st_size < int8.stat().st_size - 0.3 * weights


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_the_delegate_takes_all_but_a_handful_of_operators(request: pytest.FixtureRequest, precision: str) -> None:
    """At one token a call, what runs outside the delegate costs as much as the weights; a cache is never copied."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    program = deserialize_pte_binary(request.getfixturevalue(precision).read_bytes()).program
    inside = {"where", "arange", "bmm", "_softmax", "permute_copy", "mul", "add", "clamp", "slice_scatter", "copy_"}
    for plan in program.execution_plan:
        if plan.name in ("forward", ALL_LOGITS):
            names = {operator.name for operator in plan.operators}
            assert not names & {f"aten::{name}" for name in inside}
            assert "dim_order_ops::_to_dim_order_copy" not in names  # a conversion, of int8 tables
            assert ("aten::index_put_" in names) == (plan.name == "forward")
            delegate_calls = sum(type(i.instr_args).__name__ == "DelegateCall" for i in plan.chains[0].instructions)
            # In `forward` the attention of a block stands apart, in two branches of which a call runs one.
            assert delegate_calls <= (5 if plan.name == "forward" else 3) * CONFIG.layers + 2


def test_a_single_head_that_is_left(seeded: Callable[..., GPT], tmp_path: Path) -> None:
    shape = BlockShape(heads=1, qk_dim=2, v_dim=4, ffn=6)
    one = GPTConfig(vocabulary_size=29, context=8, layers=1, heads=4, width=16, shapes=(shape,))
    export_pte(seeded(one), tmp_path / "one.pte", "fp32")  # runs it beside the model


def test_a_precision_that_is_none(model: GPT, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no precision 'int2'"):
        export_pte(model, tmp_path / "tiny.pte", "int2")


def test_a_program_of_another_model_is_not_let_through(seeded: Callable[..., GPT], fp32: Path) -> None:
    with library_noise_hidden(), torch.no_grad(), pytest.raises(ModelError, match="computes something else"):
        check_pte(seeded(CONFIG, seed=1), fp32, "fp32")


@torch.no_grad()
def test_pt2_takes_any_batch(model: GPT, tmp_path: Path) -> None:
    export_pt2(model, tmp_path / "tiny.pt2")
    with library_noise_hidden():
        module = torch.export.load(tmp_path / "tiny.pt2").module()
    for batch in (1, 5):
        tokens = torch.randint(29, (batch, 24))
        torch.testing.assert_close(module(tokens), model(tokens), atol=1e-5, rtol=1e-5)
