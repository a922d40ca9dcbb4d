"""Who runs a program's operators, read from its tables, against what ExecuTorch's own reader says of the same file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from interfaces_on_disk import make_interfaces
from language_on_disk import CONTEXT as LM_CONTEXT
from language_on_disk import WIDTH as LM_WIDTH
from models_on_disk import CONTEXT, WIDTH, Models

from harness.cli.models.inspecting import operator_lines
from harness.worker.runtimes.pte import read_methods


def counts(path: Path) -> dict[str, Any]:
    return next(method.counts for method in read_methods(path, counted=True) if method.name == "forward")


def said_by_executorch(path: Path) -> tuple[Counter[str], int, int]:
    """The kernels called, the calls of delegates, and the nodes of their graphs, by the readers of the exporter."""
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
    from executorch.exir._serialize._program import deserialize_pte_binary
    from executorch.exir.schema import DelegateCall, KernelCall

    program = deserialize_pte_binary(path.read_bytes()).program
    plan = next(plan for plan in program.execution_plan if plan.name == "forward")
    kernels: Counter[str] = Counter()
    calls = 0
    for instruction in plan.chains[0].instructions:
        if isinstance(instruction.instr_args, KernelCall):
            name = plan.operators[instruction.instr_args.op_index].name
            kernels[name] += not name.startswith("executorch_prim::")
        calls += isinstance(instruction.instr_args, DelegateCall)
    payloads = [bytes(program.backend_delegate_data[part.processed.index].data) for part in plan.delegates]
    assert all(XNNHeader.from_bytes(payload[: XNNHeader.EXPECTED_LENGTH]).is_valid() for payload in payloads)
    return +kernels, calls, len(payloads)


@pytest.mark.parametrize("name", ["mlp", "lm"])
def test_counts_are_those_of_executorchs_own_reader(models: Models, name: str) -> None:
    path = getattr(models, name)
    kernels, calls, _ = said_by_executorch(path)
    made = counts(path)
    assert made["kernels"] == dict(kernels)
    assert sum(part["calls"] for part in made["delegated"]) == calls > 0
    assert all(part["operators"] >= part["calls"] for part in made["delegated"]), "an operator a call at least"


def test_the_cache_is_what_is_written_where_it_lies(models: Models) -> None:
    assert counts(models.lm)["cache_bytes"] == 2 * CONTEXT * WIDTH * 4, "keys and values in float32"
    assert counts(models.mlp)["cache_bytes"] is None


def test_products_outside_delegates_are_named(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    worker = getattr(request.config, "workerinput", {}).get("workerid")
    made = counts(make_interfaces(tmp_path_factory, worker) / "lm_first.pte")
    assert made["delegated"] == []
    assert made["kernels"]["aten::addmm"] == 1
    assert made["cache_bytes"] in (None, LM_CONTEXT * LM_WIDTH * 4)
    *_, warning = operator_lines(made)
    assert warning.startswith("WARNING: aten::addmm 1, aten::bmm 2 outside delegates")


def test_lines_say_how_many_of_how_many() -> None:
    delegated = [
        {"delegate": "XnnpackBackend", "calls": 3, "operators": 7},
        {"delegate": "Other", "calls": 1, "operators": None},
    ]
    assert operator_lines(None) == []
    assert operator_lines({"delegated": delegated[:1], "kernels": {"aten::embedding": 2}}) == [
        "operators: XnnpackBackend runs 7 of 9, in 3 calls",
        "operators: 2 run outside delegates: aten::embedding 2",
    ]
    assert operator_lines({"delegated": delegated, "kernels": {}}) == [
        "operators: XnnpackBackend runs 7, in 3 calls",
        "operators: Other runs a number that its format does not say, in 1 call",
    ]
