#!/usr/bin/env bash
# OpenVINO 2026.4.1: `openvino.helpers.pack_data` puts the first of two int4 into the upper half of a byte, where a constant of type i4
# has its second.
#
# Expected: a constant of the packed values holds the values that were packed. Seen: those of each pair are exchanged, so that a model
# whose weights were packed by it computes something else, and says nothing. Python 3.11, x86-64 Linux.
# Exits 1 if the constant holds them in their order.
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
from openvino.helpers import pack_data

values = np.array([[-8, 7, -1, 3], [0, 1, 2, -5]], np.int8)
packed = pack_data(values, openvino.Type.i4)
constant = ops.constant(openvino.Tensor(packed, openvino.Shape(values.shape), openvino.Type.i4))
one = ops.parameter([1], np.float32, "one")
model = openvino.Model([ops.multiply(ops.convert(constant, np.float32), one)], [one])
held = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(np.ones(1, np.float32))[0]
print(f"packed {values.tolist()}\nheld   {held.astype(int).tolist()}")
sys.exit(1 if np.array_equal(held, values) else 0)
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
