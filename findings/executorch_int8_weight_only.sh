#!/usr/bin/env bash
# ExecuTorch 1.5.1 loses the steps of the channels of torchao's int8 weight-only layers, without an error.
#
# Expected: a linear layer quantised by torchao's `Int8WeightOnlyConfig`, exported and lowered to XNNPACK, computes what it
# computes in eager PyTorch. Seen with executorch 1.5.1, torchao 0.18.0, torch 2.13.0, Python 3.11, x86-64 Linux: exported as the
# tensor subclass that torchao makes of its weight, the program is wrong by 2,500 times the norm of the output: it returns
# x @ levels^T. After `unwrap_tensor_subclass` it is right to 4e-7.
# Exits 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 executorch==1.5.1 torchao==0.18.0
cat > "$folder/run.py" <<'PYTHON'
import sys
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torchao.quantization import Int8WeightOnlyConfig, quantize_
from torchao.utils import unwrap_tensor_subclass


def relative_error(unwrapped):
    torch.manual_seed(0)
    net, x = torch.nn.Sequential(torch.nn.Linear(384, 256, bias=False)).eval(), torch.randn(1, 384)
    quantize_(net, Int8WeightOnlyConfig())
    expected = net(x)
    exported = torch.export.export(unwrap_tensor_subclass(net) if unwrapped else net, (x,))
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch().buffer
    loaded = Runtime.get().load_program(program)
    output = loaded.load_method("forward").execute([x])[0]
    return ((output - expected).norm() / expected.norm()).item()


with torch.no_grad():
    wrapped, unwrapped = relative_error(False), relative_error(True)
print(f"as a subclass {wrapped:.3g}, unwrapped {unwrapped:.3g}")
sys.exit(0 if wrapped > 1 and unwrapped < 1e-5 else 1)
PYTHON
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/log" || { tail -5 "$folder/log"; exit 1; }
