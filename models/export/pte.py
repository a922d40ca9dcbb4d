"""From a trained GPT to ExecuTorch's `.pte`, its operators delegated to XNNPACK.

A `.pte` has two methods over one set of weights, both lowered to XNNPACK:

* `forward(tokens int64 [1, <= context - 1], input_pos int64 [1]) -> float32 [1, vocabulary]`, ExecuTorch's own LLM
  convention, with the constant methods that its runners ask for;
* `forward_all_logits(tokens int64 [1, context]) -> float32 [1, context, vocabulary]`, without a cache, so that quality
  over a text costs one call a window. XNNPACK stores packed weights by name, once for both methods.

Precisions, of every linear layer and the two embedding tables; attention's products and the norms stay float32:

* `fp32`.
* `int8`: weights int8 an output channel, activations int8 a token, dynamically. Tables int8 a row.
* `int4-channel`: weights int4 an output channel (int8 where the inputs are odd, and in the readout); activations and
  tables as under int8. XNNPACK's kernels (`qc4w`) are fast wherever those of int8 are.
* `int4-group32`: weights int4, a step a group of 32 inputs (int8 where the inputs are no multiple of 32, and in the
  readout). They lose less, but XNNPACK's kernels (`qb4w`) are fast only where the processor has AVX-512-VNNI.

Weights are rounded after training by torchao, as ExecuTorch's own `8da8w` and `8da4w` are.

Weights that are small integers already, those of a self-compressed model, are not rounded again: the file holds
exactly these integers, in int8 or, where a layer's levels fit and its inputs are even, in int4, a step per channel;
its tables and its readout those of the trained embeddings. Both precisions give the same logits, and what such a
program loses is the rounding of its activations alone. Integers with a step a block of 32 inputs are kept likewise, in
int4-group32 and where no column was cut.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from harness.durations import OnStep, unheard
from harness.errors import ModelError, UsageError
from harness.models.export.deployment import AllLogits, Body, Generator
from harness.models.export.library_noise import library_noise_hidden
from harness.models.gpt.network import GPT

ALL_LOGITS = "forward_all_logits"
TOLERANCE = {"fp32": 1e-4, "int8": 0.2, "int4-channel": 0.5, "int4-group32": 0.5}
"""Root mean square of the difference between a logit of the file and the model's, as a share of the logits' standard
deviation. Int4 loses that much on random tokens; whether a model bears it is for its quality on text to say."""
FAITHFUL = {"fp32": 1e-4, "int8": 0.05, "int4-channel": 0.05, "int4-group32": 0.05}
"""The same between the file and the deployed form in eager PyTorch, which rounds activations as XNNPACK does. A value
half way between two levels may still fall either way, and does so in some layer, which ones depends on the processor's
kernels: at 6 blocks that costs 0.025, and a single logit up to 0.3. One wrong position of 256 would cost 0.09."""


def export_pte(gpt: GPT, path: Path, precision: str = "fp32", on_step: OnStep = unheard) -> None:
    """Write `gpt` to `path` as an ExecuTorch program, weights as `precision` says (see above).

    Raises UsageError for another precision, ModelError if the file computes something else than `gpt`.
    """
    if precision not in TOLERANCE:
        raise UsageError(f"There is no precision {precision!r}.", f"Choose one of: {', '.join(TOLERANCE)}.")
    with library_noise_hidden(), torch.no_grad():
        on_step("exporting")
        methods = exported_methods(gpt, precision)
        on_step("lowering to XNNPACK")
        path.write_bytes(lowered_to_pte(methods, constant_methods(gpt)))
        on_step("checking the file")
        check_pte(gpt, path, precision)


def lowered_to_pte(methods: dict[str, ExportedProgram], constants: dict[str, int | bool]) -> bytes:
    """The file of a program of these methods, with all that XNNPACK takes delegated to it."""
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower

    from harness.models.export.xnnpack_partitioner import Partitioner
    from harness.models.export.xnnpack_passes import needed_passes_only

    partitioner = {name: [Partitioner()] for name in methods}
    with needed_passes_only():
        lowered = to_edge_transform_and_lower(methods, partitioner=partitioner, constant_methods=constants)
        # Reinplacing lets a cache be written where it lies; without it the whole of it is copied twice a token.
        return bytes(lowered.to_executorch(ExecutorchBackendConfig(run_reinplace_pass=True)).buffer)


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
    """Both methods as exported programs, weights stored as `precision` says, not yet lowered."""
    body, context = Body(gpt.eval(), precision), gpt.config.context
    length = {"tokens": {1: Dim("length", min=1, max=context - 1)}, "input_pos": None}
    tokens = torch.zeros(1, context, dtype=torch.int64)
    return {
        "forward": torch.export.export(
            Generator(body).eval(), (tokens[:, :3], torch.tensor([0])), dynamic_shapes=length
        ),
        ALL_LOGITS: torch.export.export(AllLogits(body).eval(), (tokens,)),
    }


def check_pte(gpt: GPT, path: Path, precision: str) -> None:
    """Run the file beside `gpt` on random tokens: whole windows, a prompt at once, and its continuation token by token.

    Raises ModelError where logits differ from the model's by more than `TOLERANCE`, or from those of the deployed form
    in eager PyTorch by more than `FAITHFUL`: a program that runs is not yet one that is right.
    """
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    all_logits, step = program.load_method(ALL_LOGITS), program.load_method("forward")
    assert all_logits is not None
    assert step is not None
    deployed, context = AllLogits(Body(gpt, precision)), gpt.config.context
    prompt = context // 2
    for seed in (0, 1):  # the second sequence must not see the first
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(gpt.config.vocabulary_size, (1, context), generator=generator)
        windows = all_logits.execute([tokens])[0][0].clone()
        steps = [step.execute([tokens[:, :prompt], torch.tensor([0])])[0].clone()]
        for position in range(prompt, context):
            steps.append(step.execute([tokens[:, position : position + 1], torch.tensor([position])])[0].clone())
        for expected, allowed in ((gpt(tokens)[0], TOLERANCE), (deployed(tokens)[0], FAITHFUL)):
            for logits, reference in ((windows, expected), (torch.cat(steps), expected[prompt - 1 :])):
                difference = ((logits - reference).square().mean().sqrt() / expected.std()).item()
                if not difference <= allowed[precision]:
                    raise ModelError(
                        f"{path.name} computes something else than its model: logits differ by {difference:.2g} "
                        "spreads.",
                        "Report this with the versions of torch and executorch.",
                    )
