"""Code that the pages show runs as it stands and does what they say."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from docs.sources import DOCS, PAGES, blocks, module

from harness.analysis.comparison import compare_tables
from harness.measurement import Measurement, tables
from harness.protocol import Samples, Scalar
from harness.store.dataset import read_tables
from harness.store.schemas import RUNS
from harness.store.writer import write_attempt

MODELS = {"baseline-small": 300_000.0, "selfcomp-small": 120_000.0}


def store(results: Path) -> None:
    """Two models in five interleaved blocks, with decode samples, and a pass of memory, which loads more slowly."""
    rng = np.random.default_rng(1)
    for position, (block, model) in enumerate((block, model) for block in range(5) for model in MODELS):
        store_memory(results, model, f"m{position}", block)
        durations = rng.normal(MODELS[model] * (1 + 0.05 * block), 5_000, 60).astype(int).tolist()
        measurement = Measurement()
        measurement.add(Samples(phase="decode", start_ns=np.cumsum(durations).tolist(), duration_ns=durations))
        measurement.add(Scalar(name="load_program_ns", value=1e6 + position))
        row = dict.fromkeys(RUNS.names) | {
            "attempt_id": f"a{position}",
            "job_id": f"j{position}",
            "session_id": "s",
            "position": position,
            "started_at": position,
            "status": "ok",
            "measure": "latency",
            "latency_kind": "measured",
            "scenario": "generate",
            "model": model,
            "block": block,
            "flags": [],
        }
        rows = tables(f"a{position}", measurement, []) | {"runs": pa.Table.from_pylist([row], schema=RUNS)}
        write_attempt(results, "2026-01-01", "x86", rows)


def store_memory(results: Path, model: str, attempt: str, block: int) -> None:
    measurement = Measurement()
    measurement.add(Scalar(name="load_program_ns", value=9e6))
    measurement.add(Scalar(name="planned_bytes", value=4096))
    row = dict.fromkeys(RUNS.names) | {
        "attempt_id": attempt,
        "job_id": attempt,
        "session_id": "s",
        "position": block,
        "started_at": block,
        "status": "ok",
        "measure": "memory",
        "scenario": "generate",
        "model": model,
        "block": block,
        "flags": [],
    }
    rows = tables(attempt, measurement, []) | {"runs": pa.Table.from_pylist([row], schema=RUNS)}
    write_attempt(results, "2026-01-01", "x86", rows)


def test_the_pandas_of_getting_started_gives_the_figures_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "results")
    (comparison,) = compare_tables(read_tables(tmp_path / "results"), every_metric=True)
    (row,) = [row for row in comparison.rows if row.metric.name == "decode_latency_ns_p50"]
    snippets = blocks(PAGES["docs/getting-started.md"], "python")
    assert snippets
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for snippet in snippets:
            exec(snippet, names)
    # Load time is of the processes that measure latency, not a mean over those of other passes too.
    (load,) = [row for row in comparison.rows if row.metric.name == "load_program_ns"]
    assert [f.estimate.value for f in load.figures if f.estimate] == pytest.approx([1e6 + 4, 1e6 + 5], rel=1e-5)
    (shown,) = re.findall(r"^latency +load_program_ns +NaN +(.*)$", printed.getvalue(), re.MULTILINE)
    assert [float(text) for text in shown.split()] == pytest.approx([1e6 + 4, 1e6 + 5], rel=1e-5)
    (memory,) = re.findall(r"^memory +load_program_ns +NaN +(.*)$", printed.getvalue(), re.MULTILINE)
    assert [float(text) for text in memory.split()] == pytest.approx([9e6, 9e6])
    estimates = [figure.estimate for figure in row.figures]
    assert list(names["latency"]) == pytest.approx([estimate.value for estimate in estimates if estimate])
    low, high = names["interval"]
    assert list(low) == pytest.approx([estimate.low for estimate in estimates if estimate])
    assert list(high) == pytest.approx([estimate.high for estimate in estimates if estimate])
    versus = row.versus[1]
    assert versus is not None
    assert names["speed_up"] == pytest.approx(versus.value)


def test_the_example_of_a_pt2_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.worker.runtimes.torch import describe

    monkeypatch.chdir(tmp_path)
    exec(next(code for code in blocks(PAGES["docs/your-own-model.md"], "python") if "mlp.pt2" in code), {})
    (method,) = describe(tmp_path / "mlp.pt2").methods
    assert method["name"] == "forward"


def test_the_method_of_ones_own_and_the_call_of_compress_can_be_run() -> None:
    import torch
    from torch import nn

    from harness.models.compress.apply import apply_method

    torch.manual_seed(0)
    net, inputs = nn.Linear(64, 64), torch.randn(8, 64)
    method = module(DOCS / "code" / "halving.py").METHOD
    halved = apply_method(net, method, method.parse({"share": 0.75}), None)
    assert (halved.module.weight == 0).float().mean() >= 0.75
    after, during = blocks(PAGES["docs/compressing.md"], "python")
    names: dict[str, object] = {"module": net, "inputs": inputs}
    exec(after, names)
    assert names["small"].record.method == "gptq"
    data, loss_of = [(inputs, torch.randn(8, 64))] * 2, nn.functional.mse_loss
    names = {"module": net, "data": data, "loss_of": loss_of}
    exec(during, names)
    assert names["small"].record.method == "qat"


def test_the_example_of_an_onnx_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.data_file import find_data_file
    from harness.worker.runtimes.onnxruntime import describe

    monkeypatch.chdir(tmp_path)
    exec(next(code for code in blocks(PAGES["docs/your-own-model.md"], "python") if "mlp.onnx" in code), {})
    (method,) = describe(tmp_path / "mlp.onnx").methods
    assert (method["inputs"][0]["sizes"], method["inputs"][0]["dynamic"]) == ([1, 64], ["batch", None])
    assert find_data_file(tmp_path / "mlp.onnx") == tmp_path / "mlp.onnx.data"


def test_the_example_of_an_xml_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)  # a test reports to nobody
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    from harness.worker.runtimes.openvino import describe

    monkeypatch.chdir(tmp_path)
    exec(next(code for code in blocks(PAGES["docs/your-own-model.md"], "python") if "mlp.xml" in code), {})
    (method,) = describe(tmp_path / "mlp.xml").methods
    assert (method["inputs"][0]["sizes"], method["inputs"][0]["dynamic"]) == ([1, 64], ["batch", None])
    assert (tmp_path / "mlp.bin").stat().st_size >= 4 * 64 * (64 + 8)


def test_the_transformer_exports_with_a_batch_that_varies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of its programs, up to lowering, which takes minutes; the CNN is lowered below."""
    import executorch.exir
    import torch

    exported = []

    def lower(program: torch.export.ExportedProgram, **_: object) -> SimpleNamespace:
        exported.append(program)
        return SimpleNamespace(to_executorch=lambda: SimpleNamespace(buffer=b""))

    monkeypatch.setattr(executorch.exir, "to_edge_transform_and_lower", lower)
    monkeypatch.chdir(tmp_path)
    code = (DOCS / "code" / "transformer.py").read_text(encoding="utf-8")
    assert "layers: int = 4" in code
    exec(code.replace("layers: int = 4", "layers: int = 1"), {})  # one is enough, and quicker
    for program in exported:
        assert len(program.range_constraints) == 1
        assert program.module()(torch.zeros(3, 64, dtype=torch.int64)).shape == (3, 4)
    assert len(exported) == 2


@pytest.mark.xdist_group("export")
def test_the_cnn_becomes_two_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.worker.runtimes.pte import read_methods

    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        module(DOCS / "code" / "cnn.py")
    assert [str(each.message) for each in shown if issubclass(each.category, FutureWarning)] == []
    float32, int8 = tmp_path / "cnn-fp32.pte", tmp_path / "cnn-int8.pte"
    assert [method.name for path in (float32, int8) for method in read_methods(path)] == ["forward", "forward"]
    assert int8.stat().st_size < float32.stat().st_size / 3


@pytest.mark.parametrize("measure", ["describe", "latency"])
def test_the_example_of_a_target_measures(measure: str, tmp_path: Path) -> None:
    """Its worker's events are those of the protocol, and end as they must."""
    from harness.job import Files, Job
    from harness.protocol import decode
    from harness.target import Target

    board = module(DOCS / "code" / "board" / "board.py").Board()
    assert {name for name in Target.__annotations__ | vars(Target) if not name.startswith("_")} <= set(dir(board))
    assert board.availability().available
    model = tmp_path / "small.sum"
    model.write_text("1000")
    job = Job(target="board", model="small", model_sha256="", scenario="single-stream", measure=measure)
    process = board.launch(job, Files(model=str(model)))
    try:
        events = [decode(line) for line in process.lines(60)]
    finally:
        assert process.close() == 0
    names = [event.event for event in events]
    assert (names[0], names[-1]) == ("hello", "done")
    assert names[1:-1] == {"describe": ["describe"], "latency": ["loaded", *["samples"] * 3, "scalar"]}[measure]
    if measure == "latency":
        assert [len(event.start_ns) for event in events if isinstance(event, Samples)] == [1, 30, job.min_iterations]


def test_the_request_of_the_protocol_can_be_read() -> None:
    from harness.job import parse_request

    (text,) = blocks(PAGES["docs/protocol.md"], "json")
    job, files = parse_request(text)
    assert (job.model, job.min_iterations, files.model) == ("mine", 64, "/path/mine.pte")


def test_the_configurations_are_read(tmp_path: Path) -> None:
    """Of a paper, of devices, and the plans of the Python API."""
    from harness.analysis.spec import read_spec
    from harness.experiment.request import RunRequest, read_plan
    from harness.targets.transports.devices import read_devices

    paper, devices = tmp_path / "paper.toml", tmp_path / "devices.toml"
    paper.write_text(blocks(PAGES["docs/paper.md"], "toml")[0])
    assert read_spec(paper).models == ("baseline-small", "selfcomp-small")
    devices.write_text(next(text for text in blocks(PAGES["docs/phone.md"], "toml")))
    assert set(read_devices(devices).by_name) == {"phone", "board"}
    plan, requests = tmp_path / "plan.toml", []
    for text in blocks(PAGES["docs/python-api.md"], "toml"):
        plan.write_text(text)
        requests.append(RunRequest(**read_plan(plan)))
    assert [request.processes for request in requests] == [5, 5]
    assert [[model.name for model in request.models] for request in requests] == [[None, None], ["fp32", "int8"]]
