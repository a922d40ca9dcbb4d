#!/usr/bin/env bash
# ExecuTorch 1.5.1 declares a float that a program returns (`.item()` of a float tensor) as an int.
#
# Expected: the kind of an output in the program (the value that `ExecutionPlan.outputs` points at) is the kind that it has when
# the program runs. Seen with executorch 1.5.1, torch 2.13.0, Python 3.11, x86-64 Linux: the value is written as `Int`; the run
# returns the right number, 2.5, as a float. Whoever prepares a buffer by the declared kind has the wrong one.
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


class First(torch.nn.Module):
    def forward(self, x):
        return x + 1, x[0].item()


x = torch.tensor([2.5, 1.0])
made = to_edge_transform_and_lower(torch.export.export(First(), (x,))).to_executorch()
(plan,) = made.executorch_program.execution_plan
declared = type(plan.values[plan.outputs[1]].val).__name__
returned = Runtime.get().load_program(made.buffer).load_method("forward").execute([x])[1]
print(f"declared {declared}, returned {returned!r}")
sys.exit(0 if declared == "Int" and isinstance(returned, float) and returned == 2.5 else 1)
PYTHON
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/log" || { tail -5 "$folder/log"; exit 1; }
