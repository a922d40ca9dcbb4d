#!/usr/bin/env bash
# litert-torch 0.10.0 stores the weights of a layer behind a norm once for each signature, though both are of one module: for many
# tokens its converter multiplies the norm's weights into the layer, for a single token it does not, so that the constants differ.
#
# Expected: signatures of one module share its weights, as they do without a norm. Seen with litert-torch 0.10.0, ai-edge-litert
# 2.3.0, torch 2.13.0, Python 3.11, x86-64 Linux: a GPT of 43 MB of float32 weights with `decode` and `prefill_128` is 68 MB, and
# 43 MB where the norms' weights are multiplied in beforehand. Below: a norm and one layer of 1.0 MB in two signatures, 2.1 MB.
# Exits 1 if the file is smaller than 1.5 times the weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 litert-torch==0.10.0
cat > "$folder/convert.py" <<'PYTHON'
import sys
from pathlib import Path

import litert_torch
import torch

WIDTH = 512


class Model(torch.nn.Module):
    def __init__(self, weighted):
        super().__init__()
        self.norm = torch.nn.LayerNorm(WIDTH, bias=False, elementwise_affine=weighted)
        if weighted:
            torch.nn.init.normal_(self.norm.weight)
        self.layer = torch.nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x):
        return self.layer(self.norm(x))


sizes = {}
for weighted in (False, True):
    model, path = Model(weighted).eval(), Path(sys.argv[1]) / f"{weighted}.tflite"
    converter = litert_torch.signature("decode", model, (torch.randn(1, 1, WIDTH),))
    converter.signature("prefill", model, (torch.randn(1, 128, WIDTH),)).convert().export(str(path))
    sizes[weighted] = path.stat().st_size / (4 * WIDTH * WIDTH)
print(f"size over that of the weights: {sizes[False]:.2f} without weights of the norm, {sizes[True]:.2f} with them")
sys.exit(0 if sizes[True] > 1.5 else 1)
PYTHON
LITERT_TORCH_SHOW_PROGRESS=n "$folder/venv/bin/python" "$folder/convert.py" "$folder"
