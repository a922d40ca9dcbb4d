"""What a runtime says of a load, on a clock that only opening and preparing move; and outputs, which lose nothing."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fakes.clock import FakeClock
from worker.driving import job

from harness.job import Files
from harness.worker.quality import as_numpy
from harness.worker.runtimes import executorch as executorch_runtime
from harness.worker.runtimes import pte
from harness.worker.runtimes import torch as torch_runtime
from harness.worker.runtimes.pte import MethodHeader


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock()
    monkeypatch.setattr(time, "perf_counter_ns", made)
    return made


class Bindings:
    """Of ExecuTorch: opening takes 100 ns, preparing a method 7."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.done: list[Any] = []

    def _get_registered_backend_names(self) -> list[str]:
        return []

    def _threadpool_get_thread_count(self) -> int:
        return 1

    def _get_operator_names(self) -> list[str]:
        return ["aten::mm.out"]

    def _unsafe_reset_threadpool(self, threads: int) -> None:
        self.done.append(f"{threads} threads")

    def _load_program(self, path: str, data_path: str | None) -> Any:
        self._clock.advance(100)
        self.done.append(("open", Path(path).name, data_path and Path(data_path).name))
        return SimpleNamespace(load_method=self._load_method, method_meta=lambda name: None)

    def _load_method(self, name: str) -> Any:
        self._clock.advance(7)
        self.done.append(name)
        return lambda inputs: (name,)


def test_a_pte_is_opened_with_its_weights_and_the_method_prepared_that_is_meant(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    headers = [MethodHeader(name, size, ("aten::mm.out",), ()) for name, size in (("encode", 640), ("decode", 320))]
    bindings = Bindings(clock)
    monkeypatch.setattr(pte, "read_methods", lambda path: headers)
    monkeypatch.setattr(executorch_runtime, "_bindings", lambda: bindings)
    (tmp_path / "m.pte").write_bytes(b"12345")
    (tmp_path / "m.ptd").write_bytes(b"1234567")
    files = Files(model=str(tmp_path / "m.pte"), data=str(tmp_path / "m.ptd"))
    model = executorch_runtime.load(tmp_path / "m.pte", job(method="decode", threads=3), files)
    assert bindings.done == ["3 threads", ("open", "m.pte", "m.ptd"), "decode"]
    said = model.loaded
    assert (said.program_ns, said.method_ns, said.program_bytes, said.planned_bytes) == (100, 7, 12, 320)
    assert model.execute(()) == ("decode",)


def test_a_pt2_is_read_and_then_made_callable(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = torch.export.export(torch.nn.Linear(3, 2), (torch.ones(1, 3),))

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(program, name)

        def module(self) -> Any:
            clock.advance(7)
            return program.module()

    def opened(path: Path) -> tuple[Any, dict[str, int]]:
        clock.advance(100)
        return Slow(), {}

    monkeypatch.setattr(torch_runtime, "prepare", lambda path: None)
    monkeypatch.setattr(torch_runtime, "open_program", opened)
    (tmp_path / "m.pt2").write_bytes(b"12345")
    threads = torch.get_num_threads()
    try:
        model = torch_runtime.load(tmp_path / "m.pt2", job(), Files(model=str(tmp_path / "m.pt2")))
    finally:
        torch.set_num_threads(threads)
    said = model.loaded
    assert (said.program_ns, said.method_ns, said.program_bytes, said.planned_bytes) == (100, 7, 5, None)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 2**24 + 1, -(2**24) - 1, 2**52 + 1], torch.int64),
        ([0, 2**24 + 1, 2**31 - 1], torch.int32),
        ([0, 127, 255], torch.uint8),
        ([1.0, 1 + 2.0**-52], torch.float64),
        ([1.0, 1 + 2.0**-23, 3e38], torch.float32),
        ([1.0, 1 + 2.0**-7, 3e38], torch.bfloat16),
        ([1.0, 1 + 2.0**-10, 65504.0], torch.float16),
        ([True, False], torch.bool),
    ],
    ids=str,
)
def test_outputs_lose_nothing_on_their_way_to_the_file(values: list[Any], dtype: torch.dtype) -> None:
    array = as_numpy(torch.tensor(values, dtype=dtype))
    assert array.astype(np.float64).tolist() == torch.tensor(values, dtype=dtype).double().tolist()
    assert array.dtype == (np.float32 if dtype == torch.bfloat16 else torch.empty(0, dtype=dtype).numpy().dtype)


def test_a_complex_output_is_its_two_parts() -> None:
    assert as_numpy(torch.tensor([1 + 2j, -3j])).tolist() == [1.0, 2.0, 0.0, -3.0]
