"""The digests of `tests/targets/test_dsp_kernels.py`, made again from CMSIS-NN's own sources.

    git clone --branch v7.0.0 https://github.com/ARM-software/CMSIS-NN
    python tests/bench/cmsis_nn.py CMSIS-NN

compiles the checkout in plain C for this machine, runs its kernels on the inputs of the test, and prints the sha256 of
the integers that they answer beside the test's. Ends with 1 if one differs. Needs a C compiler and the extra `dsp`.
"""

from __future__ import annotations

import ctypes
import hashlib
import runpy
import subprocess
import sys
import tempfile
from ctypes import byref
from pathlib import Path
from typing import Any

import click
import numpy as np

FLAGS = ("-std=c11", "-O2", "-shared", "-fPIC")
FOLDERS = (
    "ActivationFunctions",
    "BasicMathFunctions",
    "FullyConnectedFunctions",
    "NNSupportFunctions",
    "SoftmaxFunctions",
)
TEST = Path(__file__).parents[1] / "targets" / "test_dsp_kernels.py"

Case = dict[str, Any]
Integers = np.ndarray[Any, np.dtype[np.int8]]


class Context(ctypes.Structure):
    _fields_ = (("buf", ctypes.c_void_p), ("size", ctypes.c_int32))


class Dims(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int32) for name in ("n", "h", "w", "c"))


class FullyConnected(ctypes.Structure):
    """Offsets of input, filter and output, then the least and the greatest output."""

    _fields_ = tuple((name, ctypes.c_int32) for name in ("input", "filter", "output", "least", "greatest"))


class Matmul(ctypes.Structure):
    _fields_ = (("adj_x", ctypes.c_bool), ("adj_y", ctypes.c_bool), ("fc", FullyConnected))


class Scaling(ctypes.Structure):
    _fields_ = (("multiplier", ctypes.c_int32), ("shift", ctypes.c_int32))


def built(checkout: Path, folder: Path) -> ctypes.CDLL:
    """The kernels as a library of this machine."""
    library = folder / "libcmsisnn.so"
    sources = [str(file) for name in FOLDERS for file in sorted((checkout / "Source" / name).glob("*.c"))]
    if not sources:
        raise click.UsageError(f"{checkout} is no checkout of CMSIS-NN: it has no Source/{FOLDERS[0]}/*.c.")
    subprocess.run(["cc", *FLAGS, f"-I{checkout / 'Include'}", *sources, "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def linear(library: ctypes.CDLL, case: Case) -> Integers:
    x, w, (zero, zero_out) = case["x"], case["w"], case["zeros"]
    (rows, inner), columns = x.shape, w.shape[0]
    out = np.zeros((rows, columns), np.int8)
    parameters, scaling = FullyConnected(-zero, 0, zero_out, -128, 127), Scaling(*case["scaling"])
    status = library.arm_fully_connected_s8(
        *(byref(Context(None, 0)), byref(parameters), byref(scaling)),
        *(byref(Dims(rows, 1, 1, inner)), _at(x), byref(Dims(inner, 1, 1, columns)), _at(w)),
        *(byref(Dims(1, 1, 1, columns)), _at(case["bias"]), byref(Dims(rows, 1, 1, columns)), _at(out)),
    )
    assert status == 0
    return out


def matmul(library: ctypes.CDLL, case: Case) -> Integers:
    x, y, (zero_x, zero_y, zero_out) = case["x"], case["y"], case["zeros"]
    (batch, rows, inner), columns = x.shape, y.shape[1]
    out, scratch = np.zeros((batch, rows, columns), np.int8), np.zeros(4 * columns + 64, np.int8)
    parameters = Matmul(False, False, FullyConnected(-zero_x, -zero_y, zero_out, -128, 127))
    status = library.arm_batch_matmul_s8(
        *(byref(Context(scratch.ctypes.data, scratch.size)), byref(parameters), byref(Scaling(*case["scaling"]))),
        *(byref(Dims(1, batch, rows, inner)), _at(x), byref(Dims(1, batch, columns, inner)), _at(y)),
        *(byref(Dims(1, batch, rows, columns)), _at(out)),
    )
    assert status == 0
    return out


def softmax(library: ctypes.CDLL, case: Case) -> Integers:
    out = np.zeros_like(case["x"])
    library.arm_softmax_s8(_at(case["x"]), *case["x"].shape, *case["scaling"], case["diff_min"], _at(out))
    return out


def add(library: ctypes.CDLL, case: Case) -> Integers:
    (zero_x, zero_y, zero_out), (for_x, for_y, for_out) = case["zeros"], case["scalings"]
    out = np.zeros_like(case["x"])
    status = library.arm_elementwise_add_s8(
        *(_at(case["x"]), _at(case["y"]), -zero_x, *for_x, -zero_y, *for_y, 20),
        *(_at(out), zero_out, *for_out, -128, 127, out.size),
    )
    assert status == 0
    return out


CALLS = {
    "arm_fully_connected_s8": linear,
    "arm_batch_matmul_s8": matmul,
    "arm_softmax_s8": softmax,
    "arm_elementwise_add_s8": add,
}


def _at(array: np.ndarray[Any, Any]) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


@click.command()
@click.argument("checkout", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(checkout: Path) -> None:
    """Print each kernel's digest, and whether it is that of the test."""
    alike = True
    with tempfile.TemporaryDirectory() as folder:
        library = built(checkout, Path(folder))
        for name, (cases, _, expected) in runpy.run_path(str(TEST))["KERNELS"].items():
            digest = hashlib.sha256()
            for case in cases():
                digest.update(CALLS[name](library, case).tobytes())
            same = digest.hexdigest() == expected
            alike = alike and same
            click.echo(f"{name:<24} {digest.hexdigest()} {'as in the test' if same else f'NOT the test: {expected}'}")
    sys.exit(0 if alike else 1)


if __name__ == "__main__":
    main()
