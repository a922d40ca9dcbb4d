"""A local checkpoint of Hugging Face as an ExecuTorch program, by transformers' own export: `forward(input_ids int64
[1, n], cache_position int64 [n]) -> logits float32 [1, n, vocabulary]` with a static KV cache inside.

Only weights in safetensors are read, and no code of a checkpoint is run: pickles and `trust_remote_code` are refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.durations import OnStep, unheard
from harness.errors import ModelError, UsageError
from harness.models.compress.apply import apply_method
from harness.models.compress.method import after_training
from harness.models.export.library_noise import library_noise_hidden
from harness.models.export.pte import lowered_to_pte
from harness.models.export.pte_module import FAITHFUL, deployed

BITS = {"int8": 8, "int4": 4}
PRECISIONS = ("fp32", *BITS)
USUAL_CONTEXT = 2048
_CHECKED = 24
_INSTALL = "`pip install 'edge-harness[hf]'` gives it."


def import_checkpoint(
    folder: Path, path: Path, context: int | None = None, precision: str = "fp32", on_step: OnStep = unheard
) -> dict[str, Any]:
    """Write the causal language model in `folder` to `path`, a `.pte` whose cache holds `context` tokens (the model's
    own, at most 2048, where None says none), linear layers in `precision`. What a manifest says of it: `parameters`,
    `context`, `vocabulary`, `difference`.

    Raises UsageError for a folder that is no such checkpoint, or one with pickles or code, and ModelError where the
    file computes something else than the checkpoint.
    """
    with library_noise_hidden(), torch.no_grad():
        on_step("reading the checkpoint")
        model = _checkpoint(folder)
        config = model.config.get_text_config()
        longest = int(getattr(config, "max_position_embeddings", USUAL_CONTEXT))
        context = min(longest, USUAL_CONTEXT) if context is None else context
        if not 2 <= context <= longest:
            raise UsageError(f"The model takes 2 to {longest} tokens, not {context}.", "Give another --context.")
        parameters = sum(each.numel() for each in model.parameters())
        tokens = torch.randint(
            config.vocab_size, (1, min(_CHECKED, context)), generator=torch.Generator().manual_seed(0)
        )
        expected, integers = model(tokens).logits[0], False
        if precision in BITS:
            on_step(f"rounding to {BITS[precision]} bits")
            method = after_training("round-to-nearest")
            compressed = apply_method(model, method, method.parse_text({"bits": str(BITS[precision])}), None)
            model, integers = deployed(compressed)
            expected = model(tokens).logits[0]
        on_step("exporting")
        program = _exported(model, context)
        on_step("lowering to XNNPACK")
        path.write_bytes(lowered_to_pte({"forward": program}, _constants(model, context)))
        on_step("checking the file")
        difference = _difference(path, tokens, expected)
    if not difference <= FAITHFUL[integers]:
        raise ModelError(
            f"{path.name} computes something else than its checkpoint: logits differ by {difference:.2g} spreads.",
            "Report this with the versions of torch, transformers and executorch.",
        )
    vocabulary = int(config.vocab_size)
    return {"parameters": parameters, "context": context, "vocabulary": vocabulary, "difference": difference}


def _checkpoint(folder: Path) -> Any:
    try:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError as error:
        raise UsageError("Checkpoints are read by transformers, which is not installed.", _INSTALL) from error
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} has no config.json.", "Give the folder of a checkpoint of Hugging Face.")
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except ValueError as error:
        raise UsageError(f"The config.json of {folder} is damaged.", "Copy the checkpoint again.") from error
    if isinstance(config, dict) and "auto_map" in config:
        raise UsageError(
            f"{folder} brings code of its own (auto_map), which is not run.",
            "Export it with that code yourself, and give the .pte.",
        )
    if not any(folder.glob("*.safetensors")):
        raise UsageError(
            f"{folder} has no weights in .safetensors.",
            "Pickles are not read, since they run code: save the model again with `save_pretrained`.",
        )
    logging.disable_progress_bar()  # the command has its own
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
    except Exception as error:  # whatever transformers raises
        raise UsageError(f"{folder} is no causal language model ({_first_line(error)}).", "See its message.") from error
    # torch would else export a program to be trained, which ExecuTorch does not lower.
    return model.eval().requires_grad_(False)


def _exported(model: nn.Module, context: int) -> Any:
    """By transformers' wrapper, whose cache starts where `cache_position` begins."""
    from transformers import GenerationConfig
    from transformers.integrations.executorch import TorchExportableModuleForDecoderOnlyLM

    known: Any = model
    ends = known.generation_config.eos_token_id if known.generation_config else None
    known.generation_config = GenerationConfig(use_cache=True, cache_implementation="static", eos_token_id=ends)
    known.config.use_cache = True
    try:
        wrapped = TorchExportableModuleForDecoderOnlyLM(known, batch_size=1, max_cache_len=context)
        length = torch.export.Dim("length", min=1, max=context - 1)
        return wrapped.export(
            input_ids=torch.zeros(1, 3, dtype=torch.long),
            cache_position=torch.arange(3),
            dynamic_shapes={"input_ids": {1: length}, "cache_position": {0: length}},
            strict=True,  # else the cache, which is in no module, becomes a constant
        )
    except Exception as error:  # whatever the model's own code makes torch raise
        raise UsageError(
            f"transformers cannot export this model ({_first_line(error)}).",
            "Export it yourself, as `harness models inspect` of a .pte of harness shows, and give the .pte.",
        ) from error


def _constants(model: nn.Module, context: int) -> dict[str, Any]:
    known: Any = model
    config = known.config.get_text_config()
    ends = known.generation_config.eos_token_id
    ends = config.eos_token_id if ends is None else ends
    constants: dict[str, Any] = {
        "get_vocab_size": int(config.vocab_size),
        "get_max_seq_len": context,
        "get_max_context_len": context,
        "get_n_layers": int(config.num_hidden_layers),
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": False,
        "enable_dynamic_shape": True,
    }
    if config.bos_token_id is not None:
        constants["get_bos_id"] = int(config.bos_token_id)
    if ends is not None:
        constants["get_eos_ids"] = [int(end) for end in (ends if isinstance(ends, list) else [ends])]
    return constants


def _difference(path: Path, tokens: Tensor, expected: Tensor) -> float:
    """How far the file is from logits [n, vocabulary], in their standard deviations: half of the tokens as a prompt,
    the others one by one.
    """
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    method = program.load_method("forward")
    assert method is not None
    half, count = tokens.size(1) // 2, tokens.size(1)
    parts = [method.execute([tokens[:, :half], torch.arange(half)])[0].clone().reshape(half, -1)]
    for position in range(half, count):
        step = [tokens[:, position : position + 1].clone(), torch.tensor([position])]
        parts.append(method.execute(step)[0].clone().reshape(1, -1))
    return float((torch.cat(parts) - expected).square().mean().sqrt() / expected.std())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__
