"""Tiny programs with interfaces of every kind, made by ExecuTorch itself, once a session, with what torch computes.

`python interfaces_on_disk.py FOLDER` makes them. Importing this file needs no torch. Beside each `NAME.pte` lies
`NAME.npz` with inputs `in0`, `in1`, ... (absent for None) and the outputs `out0`, `out1`, ... that torch makes of them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from language_on_disk import CONTEXT, VOCABULARY, make_language_models


def make_interfaces(factory: pytest.TempPathFactory, worker_id: str | None) -> Path:
    """The folder of this test session, made by whichever xdist worker comes first."""
    base = factory.getbasetemp()
    folder = (base.parent if worker_id is not None else base) / "interfaces"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            made = subprocess.run(
                [sys.executable, __file__, f"{folder}.part"], capture_output=True, text=True, check=False
            )
            assert made.returncode == 0, made.stderr
            Path(f"{folder}.part").rename(folder)
    return folder


def _make(folder: Path) -> None:
    import numpy as np
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
    from executorch.exir.passes.external_constants_pass import delegate_external_constants_pass_unlifted

    def lowered(program: Any, partition: bool = False, constants: Any = None, config: Any = None) -> Any:
        edge = to_edge_transform_and_lower(
            program, partitioner=[XnnpackPartitioner()] if partition else None, constant_methods=constants
        )
        return edge.to_executorch(config) if config else edge.to_executorch()

    def arrays(prefix: str, values: Any) -> dict[str, Any]:
        found = {}
        for index, value in enumerate(values):
            if value is not None:
                found[f"{prefix}{index}"] = value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        return found

    def write(name: str, module: Any, inputs: Any, *, dynamic: Any = None, **options: Any) -> Any:
        made = lowered(torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic), **options)
        (folder / f"{name}.pte").write_bytes(made.buffer)
        answer = module(*inputs)
        outputs = answer if isinstance(answer, tuple) else (answer,)
        np.savez(folder / f"{name}.npz", **arrays("in", inputs), **arrays("out", outputs))
        return made

    class Scaled(torch.nn.Module):
        def forward(self, x: Any, n: int, f: float, b: bool, absent: Any = None) -> Any:
            y = x * n + f if b else x
            return y if absent is None else y + absent

    class Says(torch.nn.Module):
        """An int, a float and a bool beside a tensor."""

        def forward(self, x: Any, i: Any) -> Any:
            return x + 1, i[0].item(), x[0, 0].item(), True

    class Raw(torch.nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a.to(torch.float32) / 255, b.reshape(3, 2), a

    class Converted(torch.nn.Module):
        """What ExecuTorch 1.5.1 exports and has no kernel for."""

        def forward(self, x: Any) -> Any:
            return x.to(torch.float32) / 1023

    class Counting(torch.nn.Module):
        """By its inputs a language model, but it answers with a number."""

        def forward(self, tokens: Any, positions: Any) -> Any:
            return tokens[0, 0].item(), positions + 1

    class Constant(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("value", torch.tensor([1.0, 2.0]))

        def forward(self) -> Any:
            return self.value

    class Wide(torch.nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a, b

    class Reduced(torch.nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x.to(torch.float32) * 2, y.to(torch.float32) * 2, x, y

    class NoInputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 4), requires_grad=False)

        def forward(self) -> Any:
            return self.weight @ self.weight

    class Zero(torch.nn.Module):
        def forward(self, x: Any, scale: Any) -> Any:
            return x * scale, scale + 1

    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(8, 16, 2, batch_first=True)
            self.requires_grad_(False)

        def forward(self, x: Any, h: Any, c: Any) -> Any:
            y, (h, c) = self.lstm(x, (h, c))
            return y, h, c

    class Looked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(10, 4)
            self.requires_grad_(False)

        def forward(self, rows: Any) -> Any:
            return self.table(rows)

    class Indexed(torch.nn.Module):
        """Two tables of 50 and of 20 rows for the same ids, and the columns of a [4, 7]."""

        def __init__(self) -> None:
            super().__init__()
            self.large, self.small = torch.nn.Embedding(50, 4), torch.nn.Embedding(20, 4)
            self.register_buffer("grid", torch.arange(28.0).reshape(4, 7))
            self.requires_grad_(False)

        def forward(self, ids: Any, columns: Any) -> Any:
            return self.large(ids) + self.small(ids), self.grid.index_select(1, columns)

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    write("scalars", Scaled(), (torch.randn(2, 3), 3, 0.5, True, None))
    write("says", Says(), (torch.randn(2, 3), torch.tensor([7, 3])))
    samples = torch.tensor([[1, 2, 1023], [0, 40000, 65535]]).to(torch.uint16)
    write("raw", Raw(), (torch.tensor([[0, 1, 127], [128, 254, 255]], dtype=torch.uint8), samples))
    big = torch.tensor([1, 2**31 + 1]).to(torch.uint32), torch.tensor([3, 2**40 + 1])
    write("wide", Wide(), big)
    write("converted", Converted(), (samples,))
    write("constant", Constant(), ())
    facts: dict[str, Any] = {"get_vocab_size": VOCABULARY, "get_max_seq_len": CONTEXT, "use_kv_cache": True}
    write("counting", Counting(), (torch.tensor([[7]]), torch.tensor([0])), constants=facts)
    halves = torch.tensor([1.5, -2.25]).half(), torch.tensor([1.5, -2.25]).bfloat16()
    (folder / "reduced.pte").write_bytes(lowered(torch.export.export(Reduced(), halves)).buffer)
    write("no_inputs", NoInputs(), ())
    write("zero", Zero(), (torch.randn(2, 3), torch.tensor(2.5)))
    write("recurrent", Recurrent(), (torch.randn(1, 5, 8), torch.randn(2, 1, 16), torch.randn(2, 1, 16)))
    write("looked_up", Looked(), (torch.tensor([1, 9, 4]),))
    indices = torch.tensor([1, 19, 4]), torch.tensor([0, 6])
    write("indexed", Indexed(), indices)
    torch.export.save(torch.export.export(Indexed().eval(), indices), folder / "indexed.pt2")

    linear = torch.nn.Linear(64, 8).requires_grad_(False)
    config = ExecutorchBackendConfig(external_constants=True)
    write("external", linear, (torch.randn(1, 64),), config=config).write_tensor_data_to_file(str(folder))
    (folder / "_default_external_constant.ptd").rename(folder / "external.ptd")
    tagged = torch.export.export(linear.eval(), (torch.randn(1, 64),)).module()
    delegate_external_constants_pass_unlifted(tagged, gen_tag_fn=lambda node: "external_xnnpack")
    x = torch.randn(1, 64)
    made = lowered(torch.export.export(tagged, (x,)), partition=True)
    (folder / "external_xnnpack.pte").write_bytes(made.buffer)
    made.write_tensor_data_to_file(str(folder))
    np.savez(folder / "external_xnnpack.npz", in0=x.numpy(), out0=linear(x).numpy())

    one, two = torch.nn.Linear(8, 4).requires_grad_(False), torch.nn.Linear(8, 2).requires_grad_(False)
    x = torch.randn(1, 8)
    both = {name: torch.export.export(module.eval(), (x,)) for name, module in (("encode", one), ("decode", two))}
    (folder / "methods.pte").write_bytes(lowered(both, constants={"get_width": 8}).buffer)
    np.savez(folder / "methods.npz", in0=x.numpy(), encode=one(x).numpy(), decode=two(x).numpy())
    constants = {
        "get_mean": torch.tensor([[0.1, 0.5], [0.25, 2.0]]),
        "get_ids": torch.tensor([3, 2**40]),
        "get_flags": torch.tensor([True, False]),
        "get_one": torch.tensor(7.5),
        "get_picture": torch.zeros(3, 8, 8),
        "get_most": torch.arange(64, dtype=torch.int32),
        "get_too_many": torch.zeros(65),
        "get_bounds": torch.tensor([float("inf"), float("nan")]),
        "get_epsilon": 1e-5,
        "get_name": "tiny",
    }
    write("constants", one, (x,), constants=constants)

    write("unlike", Wide(), (torch.ones(1, 5, dtype=torch.int64), torch.ones(3, dtype=torch.int64)), constants=facts)
    make_language_models(folder, write, lowered, facts)
    _make_quantized(folder, lowered)
    _make_llama(folder, lowered)


def _make_quantized(folder: Path, lowered: Any) -> None:
    """int8 by PT2E, for ExecuTorch's own kernels and without a delegate."""
    import executorch.kernels.quantized  # noqa: F401
    import numpy as np
    import torch
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from executorch.exir import to_edge
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    torch.manual_seed(1)
    inputs = (torch.randn(1, 3, 8, 8),)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval().requires_grad_(False)
    quantizer = xnnpack_quantizer.XNNPACKQuantizer()
    quantizer.set_global(xnnpack_quantizer.get_symmetric_quantization_config())
    prepared = prepare_pt2e(torch.export.export(module, inputs).module(), quantizer)
    prepared(*inputs)
    converted = convert_pt2e(prepared)
    (folder / "quantized.pte").write_bytes(to_edge(torch.export.export(converted, inputs)).to_executorch().buffer)
    np.savez(
        folder / "quantized.npz", in0=inputs[0].numpy(), out0=converted(*inputs).numpy(), exact=module(*inputs).numpy()
    )


def _make_llama(folder: Path, lowered: Any) -> None:
    """What ExecuTorch's exporter of language models makes of attention with `use_sdpa_with_kv_cache`."""
    import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401
    import torch

    class Attention(torch.nn.Module):
        def forward(self, q: Any, k: Any, v: Any) -> Any:
            return torch.ops.llama.custom_sdpa(q, k, v, 0, None, 0, True)

    inputs = tuple(torch.randn(1, 4, 2, 8) for _ in range(3))
    (folder / "llama.pte").write_bytes(lowered(torch.export.export(Attention().eval(), inputs)).buffer)


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
