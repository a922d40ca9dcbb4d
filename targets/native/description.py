"""What the native worker says of a program, completed by what ExecuTorch's C++ interface does not tell: which sizes may
vary, the values of numbers, below what indices must stay, who runs the operators, and whether weights lie in a file of
their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from harness.protocol import Describe

_LIMIT_S = 60.0


def complete(description: Describe, model: Path) -> Describe:
    """`description` with what the tables of the file `model` say (`harness.worker.runtimes.pte`), or as it is where
    they cannot be read. A process of its own reads them: model files are not opened in this one.
    """
    command = [sys.executable, "-P", "-m", "harness.worker.runtimes.pte", str(model)]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=True).stdout
        headers = {header["name"]: header for header in json.loads(printed)}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return description
    methods = []
    for method in description.methods:
        known = headers.get(method["name"], {}).get("inputs", [])
        inputs = method["inputs"]
        if len(known) == len(inputs):
            inputs = [{**of_tables, **of_worker} for of_tables, of_worker in zip(known, inputs, strict=True)]
        counts = headers.get(method["name"], {}).get("counts")
        methods.append({**method, **({"operators": counts} if counts else {}), "inputs": inputs})
    external = any(header["external"] for header in headers.values())
    return replace(description, methods=methods, external_data=external)
