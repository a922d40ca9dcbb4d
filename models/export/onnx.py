"""From a trained GPT to an ONNX file, as users of ONNX Runtime would make one: the cache goes in and comes out.

`input_ids` and `position_ids` int64 [1, n], and for each block with attention `past_key_values.N.key` and `.value`
float32 [1, heads, past, channels], to `logits` float32 [1, m, vocabulary] and `present.N.key` and `.value`, which are
longer by n: Hugging Face's names. `logits_at` int64 [m] are the places of the new tokens whose logits are wanted, since
a prompt needs those of its last token alone: behind the keys and values of the last block nothing else is computed, as
in our `.pte`. The metadata have what a `.pte` says in its constant methods.

Queries, keys and values are one product, as in nanoGPT; the readout is the token table turned around. Precisions:

* `fp32`.
* `int8`: ONNX Runtime's `quantize_dynamic` as it comes: weights int8 with one step a matrix, tables too; activations
  uint8 a call. On x86 without VNNI sums of two such products may clip.
* `int4-group32`: its `MatMulNBits`, symmetric, with a step a group of 32 inputs and activations in int8
  (`accuracy_level` 4: without it products are float32, and slower than those of an fp32 file). Tables and readout stay
  float32.

Weights that are small integers already, those of a self-compressed model, are not rounded again: in int8 the file holds
exactly these, with a step a channel, in int4 those layers whose integers fit.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from harness.durations import OnStep, unheard
from harness.errors import UsageError
from harness.models.export.cached_check import check_cached
from harness.models.export.deployment import full_rows, linear
from harness.models.export.embedding_tables import Table
from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.onnx_integers import with_exact_integers
from harness.models.export.pte import constant_methods
from harness.models.export.quantised_linear import GROUP
from harness.models.gpt.architecture import BlockShape
from harness.models.gpt.network import GPT, MASKED, Block

CPUINFO = Path("/proc/cpuinfo")
_NEVER_CLIPS = 64  # two products of 255 and this fit into 16 bits
PRECISIONS = ("fp32", "int8", "int4-group32")


class CachedBlock(nn.Module):
    """`Block` for one sequence, its cache [1, H, past, channels] given and given back; a sublayer of which nothing is
    left is absent. `last`: only tokens that are asked for are computed behind its keys and values.
    """

    def __init__(self, block: Block, shape: BlockShape, width: int, last: bool) -> None:
        super().__init__()
        self.shape, self.last = shape, last
        self.scores, self.mixed = shape.heads * shape.qk_dim, shape.heads * shape.v_dim
        self.attention_norm = self.ffn_norm = None
        if block.attention is not None:
            attention = block.attention
            self.attention_norm = block.attention_norm
            weight = attention.qkv.weight.detach().clone()
            weight[: self.scores] *= attention.scale
            parts = [self.scores, self.scores + self.mixed] if last else [len(weight)]
            self.products = nn.ModuleList(linear(part, "fp32") for part in torch.split(weight, parts))
            rows = shape.attention_rows
            self.proj = linear(full_rows(attention.proj.weight.detach(), rows, width), "fp32")
        if block.ffn is not None:
            self.ffn_norm, self.activation = block.ffn_norm, block.ffn.activation
            self.fc = linear(block.ffn.fc.weight.detach(), "fp32")
            self.out = linear(full_rows(block.ffn.out.weight.detach(), shape.ffn_rows, width), "fp32")

    def forward(
        self, x: Tensor, mask: Tensor | None, wanted: Tensor, keys: Tensor | None, values: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        residual = x.index_select(1, wanted) if self.last else x
        if self.attention_norm is not None:
            assert keys is not None
            assert values is not None
            assert mask is not None
            normed = self.attention_norm(x)
            if self.last:
                queries = self.products[0](normed.index_select(1, wanted))
                new_keys, new_values = self.products[1](normed).split([self.scores, self.mixed], dim=2)
            else:
                queries, new_keys, new_values = self.products[0](normed).split(
                    [self.scores, self.scores, self.mixed], dim=2
                )
            keys = torch.cat([keys, self._heads(new_keys, self.shape.qk_dim)], dim=2)
            values = torch.cat([values, self._heads(new_values, self.shape.v_dim)], dim=2)
            scores = self._heads(queries, self.shape.qk_dim) @ keys.transpose(2, 3) + mask
            mixed = (F.softmax(scores, dim=-1) @ values).transpose(1, 2).reshape(1, -1, self.mixed)
            residual = residual + self.proj(mixed)
        if self.ffn_norm is not None:
            residual = residual + self.out(self.activation(self.fc(self.ffn_norm(residual))))
        return residual, keys, values

    def _heads(self, x: Tensor, channels: int) -> Tensor:
        """[1, T, heads * channels] to [1, heads, T, channels]."""
        return x.view(1, -1, self.shape.heads, channels).transpose(1, 2)


class Cached(nn.Module):
    """The program above."""

    def __init__(self, gpt: GPT) -> None:
        super().__init__()
        config = gpt.config
        self.context = config.context
        self.tokens, self.positions = Table(gpt.token_embedding.weight), Table(gpt.position_embedding.weight)
        pairs = list(zip(gpt.blocks, config.block_shapes, strict=True))
        self.blocks = nn.ModuleList(
            CachedBlock(cast(Block, block), shape, config.width, block is pairs[-1][0]) for block, shape in pairs
        )
        self.final_norm, self.head = gpt.final_norm, linear(gpt.token_embedding.weight.detach(), "fp32")
        self.register_buffer("masks", torch.full((config.context, config.context), MASKED).triu(diagonal=1))

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, logits_at: Tensor, past: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        x = self.tokens.rows(input_ids) + self.positions.rows(position_ids)
        caches, present = iter(past), list[Tensor]()
        rows = self.get_buffer("masks").index_select(0, position_ids[0])
        mask = rows_of_wanted = None
        if past:
            total = past[0].size(2) + input_ids.size(1)
            torch._check(total <= self.context)  # type: ignore[no-untyped-call]
            mask = rows.narrow(1, 0, total)
            rows_of_wanted = mask.index_select(0, logits_at)
        for block in self.blocks:
            keys = values = None
            if block.attention_norm is not None:
                keys, values = next(caches), next(caches)
            x, keys, values = block(x, rows_of_wanted if block.last else mask, logits_at, keys, values)
            present += [cache for cache in (keys, values) if cache is not None]
        return self.head(self.final_norm(x)), *present


def export_onnx(
    gpt: GPT, path: Path, precision: str, tokens: Tensor, on_step: OnStep = unheard
) -> dict[str, float | str]:
    """Write `gpt` to `path`, weights as `precision` says (see above). The file is checked on the text `tokens` int64
    [n], of which the first 512 are taken. What the check measured and allows (`check_onnx`), and where sums may clip on
    this processor a `warning` that says so.

    Raises UsageError for another precision, ModelError if the file computes something
    else than `gpt`.
    """
    if precision not in PRECISIONS:
        raise UsageError(
            f"There is no precision {precision!r} of an .onnx.", f"Choose one of: {', '.join(PRECISIONS)}."
        )
    with library_noise_hidden(), torch.no_grad():
        on_step("exporting")
        with _quiet():
            model = _exported(gpt.eval())
        if precision != "fp32":
            on_step("rounding the weights")
            with _quiet():
                model = _rounded(model, precision)
        import onnx

        facts = {name: str(int(value)) for name, value in constant_methods(gpt).items()}
        onnx.helper.set_model_props(model, facts)
        path.write_bytes(model.SerializeToString())
        on_step("checking the file")
        checked: dict[str, float | str] = {**check_onnx(gpt, path, precision, tokens)}
    if precision == "int8" and _may_clip(model):
        checked["warning"] = (
            "Sums of uint8 x int8 products may clip on this processor, which has no VNNI: logits differ from the "
            f"float32 model's by {checked['logits_difference_spreads']:.2g} spreads here, and less where there is VNNI."
        )
    return checked


def check_onnx(gpt: GPT, path: Path, precision: str, tokens: Tensor) -> dict[str, float]:
    """Run the file beside `gpt` (`check_cached`)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    pasts = {item.name: [1, item.shape[1], 0, item.shape[3]] for item in session.get_inputs() if "past" in item.name}
    cache: dict[str, Any] = {}

    def logits(ids: Tensor, begin: int) -> Tensor:
        nonlocal cache
        if begin == 0:
            cache = {name: torch.zeros(sizes).numpy() for name, sizes in pasts.items()}
        count = ids.size(1)
        inputs = {
            "input_ids": ids.numpy(),
            "position_ids": torch.arange(begin, begin + count)[None].numpy(),
            "logits_at": torch.arange(count).numpy(),
        }
        array, *present = session.run(names, inputs | cache)
        cache = dict(zip(pasts, present, strict=True))
        return torch.from_numpy(array)[0]

    todo = "Report this with the versions of torch, onnx and onnxruntime."
    return check_cached(gpt, path.name, precision, tokens, logits, todo)


def _exported(gpt: GPT) -> Any:
    """The graph in float32, a ModelProto of onnx."""
    shapes = [shape for shape in gpt.config.block_shapes if shape.heads]
    places = [number for number, shape in enumerate(gpt.config.block_shapes) if shape.heads]
    past = [torch.zeros(1, shape.heads, 2, channels) for shape in shapes for channels in (shape.qk_dim, shape.v_dim)]
    length = Dim("length", min=1, max=gpt.config.context)
    before = Dim("past", min=0, max=gpt.config.context - 1)
    wanted = Dim("wanted", min=1, max=gpt.config.context)
    example = (torch.zeros(1, 3, dtype=torch.int64), torch.arange(2, 5)[None], torch.tensor([1, 2]), past)
    names = [f"{{}}.{number}.{kind}" for number in places for kind in ("key", "value")]
    program = torch.onnx.export(
        Cached(gpt).eval(),
        example,
        dynamo=True,
        verbose=False,
        external_data=False,
        dynamic_shapes=({1: length}, {1: length}, {0: wanted}, [{2: before}] * len(past)),
        input_names=["input_ids", "position_ids", "logits_at", *(name.format("past_key_values") for name in names)],
        output_names=["logits", *(name.format("present") for name in names)],
    )
    assert program is not None
    return program.model_proto


def _rounded(model: Any, precision: str) -> Any:
    """`model` with its weights as `precision` says, integers kept where they are such already."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    readout = next(node for node in model.graph.node if "logits" in node.output).name
    model = with_exact_integers(model, 8 if precision == "int8" else 4)
    if precision == "int4-group32":
        quantizer = MatMulNBitsQuantizer(
            model, block_size=GROUP, is_symmetric=True, accuracy_level=4, nodes_to_exclude=[readout]
        )
        quantizer.process()
        return quantizer.model.model
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        masks = [node.name for node in model.graph.node if node.input and node.input[0] == "masks"]
        quantize_dynamic(model, path, nodes_to_exclude=masks)
        return onnx.load(str(path))


def _may_clip(model: Any) -> bool:
    """Whether the weights are int8 with large levels, and the processor sums their products in 16 bits."""
    try:
        flags = CPUINFO.read_text()
    except OSError:
        return False
    if "avx2" not in flags or "vnni" in flags:
        return False
    from onnx import TensorProto, numpy_helper

    weights = {name for node in model.graph.node if node.op_type == "MatMulInteger" for name in node.input}
    return any(
        int(abs(numpy_helper.to_array(tensor).astype("int16")).max()) > _NEVER_CLIPS
        for tensor in model.graph.initializer
        if tensor.name in weights and tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 2
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' remarks on standard output and in the log, which come on every healthy run, are dropped; the root
    logger, to which ONNX Runtime's quantisers add a handler when they are imported, is left as it was.
    """
    root, disabled = logging.getLogger(), logging.root.manager.disable
    level, handlers = root.level, list(root.handlers)
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers
