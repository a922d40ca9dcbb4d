"""Our GPTQ, AWQ and SmoothQuant against those of brevitas 0.13.4 and nncf 3.4.0: the same parent, bits and calibration
windows, and the loss on the whole validation text. A line of JSON for each.

    pip install nncf==3.4.0 && pip install --no-deps brevitas==0.13.4 dependencies==2.0.1 unfoldNd
    python tests/bench/libraries.py lines.jsonl          # goes on where it stopped

`cpu_s` is the processor time of compressing alone; compare the two of a pair, taken one after the other. Activations
are float32, but for `smoothquant`: int8, ours by token, nncf's with a range that it calibrates for each layer.
"""

from __future__ import annotations

import copy
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.models.compress.apply import compress_module
from harness.models.export.quantised_linear import rounded
from harness.models.gpt.network import GPT
from harness.models.train.data import corpus, load_text
from harness.models.train.quality import total_loss, windows
from harness.models.zoo.compressing import training_windows
from harness.models.zoo.loading import load

MODEL = "baseline-6x384"
Batches = list[Tensor]


def linears(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]


def ours(method: str, **options: Any) -> Callable[[GPT, Batches], nn.Module]:
    return lambda model, batches: compress_module(model, method, calibration=[(b,) for b in batches], **options).module


def ours_smooth(model: GPT, batches: Batches) -> nn.Module:
    small = ours("smoothquant")(model, batches)
    for _, layer in linears(small):
        layer.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0]),))
    return small


def brevitas_gptq(bits: int) -> Callable[[GPT, Batches], nn.Module]:
    """brevitas' GPTQ with a step for each channel, in the order of columns that ours has (its default)."""

    def run(model: GPT, batches: Batches) -> nn.Module:
        from brevitas.graph.gptq import gptq_mode
        from brevitas.nn import QuantLinear
        from brevitas.quant.scaled_int import Int8WeightPerChannelFloat

        for name, layer in linears(model):
            quantised = QuantLinear(
                layer.in_features,
                layer.out_features,
                bias=False,
                weight_quant=Int8WeightPerChannelFloat,
                weight_bit_width=bits,
            )
            quantised.weight = layer.weight
            model.set_submodule(name, quantised)
        model.eval()
        with torch.no_grad(), gptq_mode(model, use_quant_activations=False) as gptq:
            for _ in range(gptq.num_layers):
                for batch in batches:
                    gptq.model(batch)
                gptq.update()
        return model

    return run


def nncf_awq(model: GPT, batches: Batches) -> nn.Module:
    """nncf's AWQ in 4 bits, groups of 32; it treats the tied embedding as well unless that is named."""
    import nncf

    small: nn.Module = nncf.compress_weights(
        model,
        mode=nncf.CompressWeightsMode.INT4_SYM,
        group_size=32,
        ratio=1.0,
        all_layers=True,
        awq=True,
        dataset=nncf.Dataset(batches),
        subset_size=len(batches),
        ignored_scope=nncf.IgnoredScope(patterns=[".*embedding.*", "^(.*/)?(linear|matmul)/[0-9]+$"], validate=False),
    )
    return small


def nncf_smooth(model: GPT, batches: Batches) -> nn.Module:
    """nncf's quantisation of a transformer, which has SmoothQuant with alpha 0.5 unless it searches one."""
    import nncf

    small: nn.Module = nncf.quantize(
        model,
        nncf.Dataset(batches),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(batches),
        ignored_scope=nncf.IgnoredScope(patterns=[".*embedding.*"], validate=False),
    )
    return small


CASES: dict[str, Callable[[GPT, Batches], nn.Module]] = {
    "gptq 4 ours": ours("gptq", bits=4),
    "gptq 4 brevitas": brevitas_gptq(4),
    "gptq 3 ours": ours("gptq", bits=3),
    "gptq 3 brevitas": brevitas_gptq(3),
    "awq 4 group 32 ours": ours("awq", bits=4, group=32),
    "awq 4 group 32 nncf": nncf_awq,
    "smoothquant ours": ours_smooth,
    "smoothquant nncf": nncf_smooth,
}


def main(lines: Path) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    model, record = load(MODEL)
    text = corpus(load_text(), record.tokenizer)
    batches = [batch[0] for batch in training_windows(record).batches]
    x, y = windows(text.validation, record.context)
    done = [json.loads(line)["case"] for line in lines.read_text().splitlines()] if lines.exists() else []
    for case, run in CASES.items():
        if case in done:
            continue
        torch.manual_seed(0)
        began_s = time.process_time()
        small = run(copy.deepcopy(model), batches)
        cpu_s = time.process_time() - began_s
        loss = total_loss(small.eval(), x, y) / y.numel()
        line = {"case": case, "loss": loss, "parent_loss": record.validation_loss, "cpu_s": cpu_s}
        with lines.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
