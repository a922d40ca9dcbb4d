"""From a trained GPT to OpenVINO's IR, as its users would have one: the cache is a state of the model.

`input_ids` and `position_ids` int64 [1, n], `beam_idx` int32 [1] (whose cache a sequence goes on from: always 0 here),
and `logits_at` int64 [m], the places of the new tokens whose logits are wanted, to `logits` float32 [1, m, vocabulary]:
the names and the states of optimum-intel's exports, so that the plugin of the processor takes attention and cache
together, as it does theirs. A prompt needs the logits of its last token alone: behind the attention of the last block
nothing else is computed. (Not behind its keys and values, as in our `.pte`: the plugin's attention takes as many
queries as new keys, and gives nothing where there are fewer.) The file's `rt_info` has what a `.pte` says in its
constant methods.

The graph is written operator by operator: `openvino.convert_model` of an exported program takes a minute, and makes no
states. Weights in int8 and int4 are the same integers as in a `.pte` of that precision
(`export.quantised_linear`, `export.embedding_tables`), in the form that nncf writes, which is what OpenVINO's kernels
look for: a constant, converted and multiplied by its steps. Those of a self-compressed model stay what they are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from harness.durations import OnStep, unheard
from harness.errors import UsageError
from harness.models.export.cached_check import check_cached
from harness.models.export.deployment import full_rows
from harness.models.export.pte import constant_methods
from harness.models.export.quantised_linear import GROUP, integers
from harness.models.gpt.architecture import BlockShape
from harness.models.gpt.network import GPT, MASKED, Block
from harness.models.recipe import PRECISIONS

_REPORT = "Report this with the versions of torch and openvino."


def export_openvino(
    gpt: GPT, path: Path, precision: str, tokens: Tensor, on_step: OnStep = unheard
) -> dict[str, float | str]:
    """Write `gpt` to `path`, an `.xml`, and to the `.bin` beside it, weights as `precision` says. The file is checked
    on the text `tokens` int64 [n], of which the first 512 are taken, in float32; what that measured and allows
    (`check_cached`).

    Raises UsageError for another precision, ModelError if the file computes something else than `gpt`.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"There is no precision {precision!r} of an .xml.", f"Choose one of: {', '.join(PRECISIONS)}.")
    openvino = import_openvino()
    with torch.no_grad():
        on_step("exporting")
        model = _Graph(gpt.eval(), precision).model()
        for name, value in constant_methods(gpt).items():
            model.set_rt_info(str(int(value)), [name])
        openvino.save_model(model, str(path), compress_to_fp16=False)
        on_step("checking the file")
        return {**check_openvino(gpt, path, precision, tokens)}


def check_openvino(gpt: GPT, path: Path, precision: str, tokens: Tensor) -> dict[str, float]:
    """Run the file beside `gpt` (`check_cached`), computed in float32 wherever the processor would choose another."""
    openvino = import_openvino()
    settings = {"EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()

    def logits_at(wanted: Tensor, ids: Tensor, begin: int) -> Tensor:
        if begin == 0:
            request.reset_state()
        inputs = {
            "input_ids": ids,
            "position_ids": torch.arange(begin, begin + ids.size(1))[None],
            "logits_at": wanted,
            "beam_idx": torch.zeros(1, dtype=torch.int32),
        }
        return torch.from_numpy(request.infer({name: tensor.numpy() for name, tensor in inputs.items()})[0])[0]

    def logits(ids: Tensor, begin: int) -> Tensor:
        every = torch.arange(ids.size(1))
        if begin:
            return logits_at(every, ids, begin)
        last = logits_at(every[-1:], ids, begin)  # as a prompt is asked for
        return torch.cat([logits_at(every, ids, begin)[:-1], last])

    return check_cached(gpt, path.name, precision, tokens, logits, _REPORT)


def import_openvino() -> Any:
    """The library, without its telemetry, which on import alone reports to a server and writes into the home folder."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # so that importing it fails
    import openvino

    return openvino


class _Graph:
    """Builds the model. Nodes of OpenVINO are what its operators return; B is 1, n the new tokens, m those wanted."""

    def __init__(self, gpt: GPT, precision: str) -> None:
        import_openvino()
        import numpy as np
        import openvino.opset13 as operators

        self._gpt, self._precision, self._ops, self._np = gpt, precision, operators, np
        self._states: list[Any] = []

    def model(self) -> Any:
        """The whole model."""
        import openvino

        ops, np, config = self._ops, self._np, self._gpt.config
        ids, positions = (self._input(name, [1, -1], np.int64) for name in ("input_ids", "position_ids"))
        wanted, beam = self._input("logits_at", [-1], np.int64), self._input("beam_idx", [-1], np.int32)
        x = ops.add(
            self._rows(self._gpt.token_embedding.weight, ids),
            self._rows(self._gpt.position_embedding.weight, positions),
        )
        places = ops.squeeze(positions, self._integers(0))
        total = ops.add(ops.gather(places, self._integers(-1), self._integers(0)), self._integers([1]))
        masks = self._constant(torch.full((config.context, config.context), MASKED).triu(diagonal=1))
        mask = ops.slice(
            ops.gather(masks, places, self._integers(0)),
            self._integers([0]),
            total,
            self._integers([1]),
            self._integers([1]),
        )
        pairs = list(zip(self._gpt.blocks, config.block_shapes, strict=True))
        for number, (block, shape) in enumerate(pairs):
            last = wanted if number == len(pairs) - 1 else None
            x = self._block(number, cast(Block, block), shape, x, mask, beam, last)
        logits = self._product(self._norm(x, self._gpt.final_norm), self._gpt.token_embedding.weight)
        logits.output(0).get_tensor().set_names({"logits"})
        return openvino.Model([ops.result(logits)], self._states, [ids, positions, beam, wanted], "gpt")

    def _block(
        self, number: int, block: Block, shape: BlockShape, x: Any, mask: Any, beam: Any, wanted: Any | None
    ) -> Any:
        """x [B, n, W] to the same, or to [B, m, W] for the tokens `wanted`."""
        ops, width = self._ops, self._gpt.config.width
        residual = x if wanted is None else ops.gather(x, wanted, self._integers(1))
        if block.attention is not None:
            products = self._product(self._norm(x, block.attention_norm), block.attention.qkv.weight)
            channels = (shape.qk_dim, shape.qk_dim, shape.v_dim)
            sizes = [shape.heads * each for each in channels]
            parts = ops.variadic_split(products, self._integers(2), self._integers(sizes))
            queries, keys, values = (
                self._heads(parts.output(index), shape.heads, each) for index, each in enumerate(channels)
            )
            keys = self._cached(f"{number}.key", keys, shape.heads, shape.qk_dim, beam)
            values = self._cached(f"{number}.value", values, shape.heads, shape.v_dim, beam)
            scale = self._constant(torch.tensor(block.attention.scale))
            mixed = ops.scaled_dot_product_attention(
                queries, keys, values, ops.unsqueeze(mask, self._integers([0, 1])), scale, False
            )
            joined = ops.reshape(
                ops.transpose(mixed, self._integers([0, 2, 1, 3])),
                self._integers([0, 0, shape.heads * shape.v_dim]),
                True,
            )
            if wanted is not None:
                joined = ops.gather(joined, wanted, self._integers(1))
            update = self._product(joined, full_rows(block.attention.proj.weight.detach(), shape.attention_rows, width))
            residual = ops.add(residual, update)
        if block.ffn is not None:
            hidden = self._product(self._norm(residual, block.ffn_norm), block.ffn.fc.weight)
            active = ops.gelu(hidden, "ERF") if self._gpt.config.activation == "gelu" else ops.relu(hidden)
            update = self._product(active, full_rows(block.ffn.out.weight.detach(), shape.ffn_rows, width))
            residual = ops.add(residual, update)
        return residual

    def _heads(self, x: Any, heads: int, channels: int) -> Any:
        """[B, n, heads * channels] to [B, heads, n, channels]."""
        split = self._ops.reshape(x, self._integers([0, 0, heads, channels]), True)
        return self._ops.transpose(split, self._integers([0, 2, 1, 3]))

    def _cached(self, name: str, new: Any, heads: int, channels: int, beam: Any) -> Any:
        """`new` behind what the state has of earlier tokens, [B, heads, n and earlier, channels], which is the next
        state.
        """
        import openvino
        from openvino.op import assign, read_value
        from openvino.op.util import Variable, VariableInfo

        ops, info = self._ops, VariableInfo()
        info.data_shape = openvino.PartialShape([-1, heads, -1, channels])
        info.data_type = openvino.Type.f32
        info.variable_id = f"past_key_values.{name}present.{name}"
        state = Variable(info)
        past = read_value(ops.constant(self._np.zeros((1, heads, 0, channels), self._np.float32)), state)
        both = ops.concat([ops.gather(past, beam, self._integers(0)), new], 2)
        self._states.append(assign(both, state))
        return both

    def _norm(self, x: Any, norm: Any) -> Any:
        normed = self._ops.mvn(x, self._integers([-1]), True, norm.eps, "INSIDE_SQRT")
        return self._ops.multiply(normed, self._constant(norm.weight))

    def _product(self, x: Any, weight: Tensor) -> Any:
        """x [..., in] times the transpose of `weight` [out, in]."""
        return self._ops.matmul(x, self._weight(weight, self._precision), False, True)

    def _rows(self, weight: Tensor, index: Any) -> Any:
        """The rows `index` of a table, which is never int4."""
        stored = self._weight(weight, "fp32" if self._precision == "fp32" else "int8")
        return self._ops.gather(stored, index, self._integers(0))

    def _weight(self, weight: Tensor, precision: str) -> Any:
        ops, np = self._ops, self._np
        if precision == "fp32":
            return self._constant(weight)
        stored = integers(weight, precision)
        grouped = stored.step.dim() == 2
        levels = stored.levels.view(len(weight), -1, GROUP) if grouped else stored.levels
        number = self._four_bits(levels) if stored.bits == 4 else ops.constant(levels.numpy())
        product = ops.multiply(ops.convert(number, np.float32), self._constant(stored.step[..., None]))
        return ops.reshape(product, self._integers([len(weight), -1]), False) if grouped else product

    def _four_bits(self, levels: Tensor) -> Any:
        """An i4 constant: two levels a byte, the first in its lower half (the library's own `pack_data` turns pairs
        around, see `findings/openvino_int4.sh`).
        """
        import openvino

        pairs = levels.contiguous().view(torch.uint8).view(-1, 2) & 15
        packed = openvino.Tensor(openvino.Type.i4, openvino.Shape(levels.shape))  # memory of its own
        packed.data[:] = (pairs[:, 0] | pairs[:, 1] << 4).numpy().reshape(packed.data.shape)
        return self._ops.constant(packed)

    def _input(self, name: str, sizes: Sequence[int], dtype: Any) -> Any:
        node = self._ops.parameter(list(sizes), dtype, name)
        node.output(0).get_tensor().set_names({name})
        return node

    def _constant(self, value: Tensor) -> Any:
        return self._ops.constant(value.detach().float().contiguous().numpy())

    def _integers(self, value: int | Sequence[int]) -> Any:
        return self._ops.constant(self._np.asarray(value, self._np.int64))
