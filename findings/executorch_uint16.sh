#!/usr/bin/env bash
# ExecuTorch 1.5.1 exports a program that turns uint16 into float32, and none of its libraries can run it.
#
# Expected: what `to_edge_transform_and_lower(...).to_executorch()` accepts without a word runs with the wheel's own kernels.
# Seen with executorch 1.5.1, torch 2.13.0, Python 3.11, x86-64 Linux: lowering and loading succeed; `execute` fails with
# error 0x12, and the log says `Unhandled dtype UInt16 for dim_order_ops::_to_dim_order_copy.out`. The same program with an
# int32 input runs. A uint16 input that is only passed on or viewed runs too.
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


class Samples(torch.nn.Module):
    def forward(self, x):
        return x.to(torch.float32) / 1023


def answer(dtype):
    x = torch.tensor([[0, 1, 1023]]).to(dtype)
    made = to_edge_transform_and_lower(torch.export.export(Samples(), (x,))).to_executorch()
    method = Runtime.get().load_program(made.buffer).load_method("forward")
    try:
        return method.execute([x])[0].tolist()
    except RuntimeError as error:
        return str(error)


seen = {str(dtype): answer(dtype) for dtype in (torch.int32, torch.uint16)}
print(seen)
right = [[0.0, 1 / 1023, 1.0]]
close = isinstance(seen["torch.int32"], list) and torch.allclose(torch.tensor(seen["torch.int32"]), torch.tensor(right))
sys.exit(0 if close and "0x12" in str(seen["torch.uint16"]) else 1)
PYTHON
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/log" || { tail -5 "$folder/log"; exit 1; }
grep -m 1 "Unhandled dtype UInt16" "$folder/log"
