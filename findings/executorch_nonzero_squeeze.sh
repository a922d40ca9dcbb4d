#!/usr/bin/env bash
# ExecuTorch 1.5.1 exports `torch.nonzero(x).squeeze(1)` and `[:, 0]`, the usual ways to a list of places, and runs neither.
#
# Expected: it runs, as `torch.nonzero(x)` alone does. Seen with executorch 1.5.1, torch 2.13.0, Python 3.11, x86-64 Linux:
# lowering and loading succeed; `execute` fails with error 0x12 in `aten::squeeze_copy.dims_out`, and the log says
# `Check failed (tensors_have_same_dim_order(in, out))`; the column fails in its own operator for a like reason.
# Exits 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 executorch==1.5.1
cat > "$folder/run.py" <<'PYTHON'
import sys
import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime


class Squeezed(torch.nn.Module):
    def forward(self, x):
        return torch.nonzero(x > 0.5).squeeze(1)


class Column(torch.nn.Module):
    def forward(self, x):
        return torch.nonzero(x > 0.5)[:, 0]


def answer(module):
    x = torch.tensor([0.1, 0.9, 0.7, 0.2])
    made = to_edge_transform_and_lower(torch.export.export(module, (x,))).to_executorch()
    method = Runtime.get().load_program(made.buffer).load_method("forward")
    try:
        return method.execute([x])[0].tolist()
    except RuntimeError as error:
        return str(error)


class Alone(torch.nn.Module):
    def forward(self, x):
        return torch.nonzero(x > 0.5)


squeezed, column, alone = answer(Squeezed()), answer(Column()), answer(Alone())
print(f"squeezed: {squeezed}; column: {column}; alone: {alone}")
sys.exit(0 if "0x12" in str(squeezed) and "0x12" in str(column) and alone == [[1], [2]] else 1)
PYTHON
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/log" || { tail -5 "$folder/log"; exit 1; }
grep -m 1 "tensors_have_same_dim_order" "$folder/log"
