#!/usr/bin/env bash
# OpenVINO 2026.4.1 on one thread does not check the sizes of inputs, and computes of memory that is not theirs.
#
# Expected: x [2, 4] + w [5, 5] is an error, as it is on two threads ("Eltwise shape infer input shapes dim index: 0 mismatch").
# Seen with openvino 2026.4.1, Python 3.11, x86-64 Linux: with INFERENCE_NUM_THREADS 1 the same request returns [5, 5], with what lies
# behind the eight values of x in it. So does a process that may use one CPU only, whatever its settings are.
# Exits 1 if one thread raises too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1
cat > "$folder/run.py" <<'PYTHON'
import sys

sys.modules["openvino_telemetry"] = None  # it would report to a server
import numpy as np
import openvino
import openvino.opset13 as ops

x = ops.parameter([-1, -1], np.float32, "x")
model = openvino.Model([ops.add(x, ops.constant(np.zeros((5, 5), np.float32)))], [x])
for threads in (2, 1):
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    try:
        y = request.infer({0: np.ones((2, 4), np.float32)})[0]
        print(f"{threads} thread(s): {list(y.shape)}, of which {int((y == 1).sum())} are 1: {y.ravel()[:10]}")
    except RuntimeError as error:
        print(f"{threads} thread(s): {str(error).strip().splitlines()[-1]}")
        y = None
sys.exit(1 if y is None else 0)
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
