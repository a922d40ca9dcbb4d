"""From a trained GPT to a file that a runtime loads: ExecuTorch's `.pte`, or torch.export's `.pt2`.

A `.pte` has two methods over one set of weights, both lowered to XNNPACK:

* `forward(tokens int64 [1, <= context - 1], input_pos int64 [1]) -> float32 [1, vocabulary]`, ExecuTorch's own LLM
  convention, with the constant methods that its runners ask for;
* `forward_all_logits(tokens int64 [1, context]) -> float32 [1, context, vocabulary]`, without a cache, so that quality
  over a text costs one call a window. XNNPACK stores packed weights by name, once for both methods.

`int8` is dynamic quantisation: weights int8 per output channel, activations int8 per call (PT2E, torchao), of every
linear layer, the readout included; attention's products and the norms stay float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from harness.errors import ModelError
from harness.models.deployment import AllLogits, Body, Generator
from harness.models.gpt import GPT
from harness.models.quiet import quiet

ALL_LOGITS = "forward_all_logits"
TOLERANCE = {"fp32": 1e-4, "int8": 0.5}
"""Greatest difference of a logit between the file and eager PyTorch, as a share of the logits' standard deviation."""


def export_pte(gpt: GPT, path: Path, precision: str = "fp32") -> None:
    """Write `gpt` to `path` as an ExecuTorch program. Raises ModelError if the file computes something else."""
    with quiet(), torch.no_grad():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        programs = exported_methods(gpt, precision)
        lowered = to_edge_transform_and_lower(
            programs,
            partitioner={name: [XnnpackPartitioner()] for name in programs},
            constant_methods=constant_methods(gpt),
        )
        lowered.to_executorch().save(str(path))
        check_pte(gpt, path, precision)


def export_pt2(gpt: GPT, path: Path) -> None:
    """Write `gpt` to `path` as a torch.export archive, for targets that run or compile PyTorch.

    tokens int64 [batch, context] to logits float32 [batch, context, vocabulary]; the batch is dynamic.
    """
    with quiet(), torch.no_grad():
        tokens = torch.zeros(2, gpt.config.context, dtype=torch.int64)
        program = torch.export.export(gpt.eval(), (tokens,), dynamic_shapes=({0: Dim("batch", min=1, max=1024)},))
        torch.export.save(program, path)


def constant_methods(gpt: GPT) -> dict[str, int | bool]:
    """What an ExecuTorch LLM runner asks of a program. A character model has no first and no last token to name."""
    context = gpt.config.context
    return {
        "get_vocab_size": gpt.config.vocabulary_size,
        "get_max_seq_len": context,
        "get_max_context_len": context,
        "get_n_layers": gpt.config.layers,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": False,
        "enable_dynamic_shape": True,
    }


def exported_methods(gpt: GPT, precision: str) -> dict[str, ExportedProgram]:
    """Both methods as exported programs, quantised as `precision` says, not yet lowered."""
    body, context = Body(gpt.eval()), gpt.config.context
    length = {"tokens": {1: Dim("length", min=1, max=context - 1)}, "input_pos": None}
    tokens = torch.zeros(1, context, dtype=torch.int64)
    return {
        "forward": _exported(Generator(body), (tokens[:, :3], torch.tensor([0])), length, precision),
        ALL_LOGITS: _exported(AllLogits(body), (tokens,), None, precision),
    }


def _exported(
    module: nn.Module, example: tuple[Tensor, ...], dynamic: dict[str, Any] | None, precision: str
) -> ExportedProgram:
    program = torch.export.export(module.eval(), example, dynamic_shapes=dynamic)
    if precision == "fp32":
        return program
    return torch.export.export(_quantised(program, example), example, dynamic_shapes=dynamic)


def _quantised(program: ExportedProgram, example: tuple[Tensor, ...]) -> nn.Module:
    """The program's module with linear layers in dynamic int8, weights per output channel."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    prepared = prepare_pt2e(program.module(), XNNPACKQuantizer().set_global(config))
    prepared(*example)
    quantised: nn.Module = convert_pt2e(prepared)
    return quantised


def check_pte(gpt: GPT, path: Path, precision: str) -> None:
    """Run the file beside `gpt` on random tokens: whole windows, a prompt at once, and its continuation token by token.

    Raises ModelError where a logit differs by more than `TOLERANCE`: a program that runs is not yet one that is right.
    """
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    whole, step = program.load_method(ALL_LOGITS), program.load_method("forward")
    assert whole is not None
    assert step is not None
    context = gpt.config.context
    prompt = context // 2
    for seed in (0, 1):  # the second sequence must not see the first
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(gpt.config.vocabulary_size, (1, context), generator=generator)
        expected = gpt(tokens)[0]
        found = [step.execute([tokens[:, :prompt], torch.tensor([0])])[0].clone()]
        for position in range(prompt, context):
            found.append(step.execute([tokens[:, position : position + 1], torch.tensor([position])])[0].clone())
        for logits, reference in (
            (whole.execute([tokens])[0][0], expected),
            (torch.cat(found), expected[prompt - 1 :]),
        ):
            difference = ((logits - reference).abs().max() / expected.std()).item()
            if not difference <= TOLERANCE[precision]:
                raise ModelError(
                    f"{path.name} computes something else than its model: logits differ by {difference:.2g} spreads.",
                    "Report this with the versions of torch and executorch.",
                )
