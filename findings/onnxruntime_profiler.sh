#!/usr/bin/env bash
# ONNX Runtime 1.32.0's profiler counts every call of an operator as at least 1 us, with its own work in it: of small operators the
# durations add up to several times what the same run takes without it.
#
# Expected: the `dur` of all nodes of a run add up to about its time. Seen with onnxruntime 1.32.0 and 1.22.1, Python 3.11, x86-64
# Linux, one thread: of a model of 117 nodes that takes 95 us they add up to 271 us (1.22.1: 84 and 164 us), and the run with the
# profiler on takes 643 us. So shares in a profile tell operators by their number as much as by their time.
# Below: a chain of 200 tiny operators, 41 us against 1041. Exits 1 if the sum comes within 1.3 times the time of the run.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2
cat > "$folder/run.py" <<'PYTHON'
import json
import statistics
import sys
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

NODES, RUNS = 200, 500
# Two kinds in turn: nothing is folded or fused.
nodes = [
    helper.make_node("Sinh" if i % 2 else "Neg", [f"h{i}"], [f"h{i + 1}"]) for i in range(NODES)
]
graph = helper.make_graph(
    nodes,
    "chain",
    [helper.make_tensor_value_info("h0", TensorProto.FLOAT, [4])],
    [helper.make_tensor_value_info(f"h{NODES}", TensorProto.FLOAT, [4])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def session(profiled):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if profiled:
        options.enable_profiling, options.profile_file_prefix = True, f"{sys.argv[1]}/profile"
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


plain, profiled, times = session(False), session(True), []
for _ in range(RUNS):
    begin = time.thread_time_ns()
    plain.run(None, {"h0": np.zeros(4, np.float32)})
    times.append((time.thread_time_ns() - begin) / 1000)
    profiled.run(None, {"h0": np.zeros(4, np.float32)})
events = json.load(open(profiled.end_profiling()))
durations = [event["dur"] for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
run_us, sum_us = statistics.median(times), sum(durations) / RUNS
print(f"a run {run_us:.0f} us; its {len(durations) // RUNS} nodes in the profile {sum_us:.0f} us, none below {min(durations)} us")
sys.exit(0 if sum_us > 1.3 * run_us else 1)
PYTHON
"$folder/venv/bin/python" "$folder/run.py" "$folder"
