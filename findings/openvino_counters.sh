#!/usr/bin/env bash
# OpenVINO 2026.4.1: in `get_profiling_info` an operator that took less than a microsecond has the time 0 and the status NOT_RUN.
#
# Expected: NOT_RUN says that an operator was left out. Seen: times are cut to whole microseconds, and what is 0 then counts as not run,
# so that the same operator is counted in one run and not in the next. Python 3.11, x86-64 Linux, one thread.
# Below: a chain of 200 tiny operators. Exits 1 if all of them are EXECUTED in every run.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1
cat > "$folder/run.py" <<'PYTHON'
import collections
import sys

sys.modules["openvino_telemetry"] = None  # it would report to a server
import numpy as np
import openvino
import openvino.opset13 as ops

x = node = ops.parameter([4, 4], np.float32, "x")
for number in range(200):  # two kinds in turn, which are not fused
    node = ops.softmax(node, 1) if number % 2 else ops.transpose(node, ops.constant([1, 0]))
settings = {"PERF_COUNT": True, "INFERENCE_NUM_THREADS": 1}
request = openvino.Core().compile_model(openvino.Model([node], [x]), "CPU", settings).create_infer_request()
seen = collections.Counter()
for _ in range(20):
    y = request.infer({0: np.ones((4, 4), np.float32)})[0]
    seen.update((info.node_type, info.status.name) for info in request.get_profiling_info())
for (kind, status), count in sorted(seen.items()):
    print(kind, status, count / 20, "a run")
sys.exit(1 if not seen["Softmax", "NOT_RUN"] else 0)
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
