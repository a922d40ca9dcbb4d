"""The loops under sanitizers and for processors that are not this one: AVX-512 with its one special instruction
computed element by element, NEON under QEMU. All must compute what the plain loops do.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from bound_on_disk import CONTEXT, VOCABULARY, logits, mutated, write_bound, write_integers
from native_bundles import shared_folder

from harness.bound.library import FLAGS, SOURCE, VARIANTS, Program, compiler, load_library, runs_here

HERE = Path(__file__).parent
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TOKENS = np.array([(i * 7 + 3) % VOCABULARY for i in range(CONTEXT)])
# What the compiler is asked for, and what runs the program.
WAYS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "plain": ((*FLAGS, *SANITIZED), "", ()),
    "avx2": ((*FLAGS, *SANITIZED, *VARIANTS["avx2"].flags), "", ()),
    "avx512-vnni": (
        (*FLAGS, *SANITIZED, "-Wno-psabi", "-D__AVX512VNNI__", "-I", str(HERE / "emulated")),
        "",
        (),
    ),
    "neon-dotprod": (
        (*FLAGS, "-static", *VARIANTS["neon-dotprod"].flags),
        "aarch64-linux-gnu-gcc",
        ("qemu-aarch64", "-cpu", "max"),
    ),
}


@pytest.fixture(autouse=True)
def compiled(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(cache, tmp_path_factory)


@pytest.fixture(scope="module", params=WAYS)
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A program that runs files through the loops of one kind."""
    flags, cross, runner = WAYS[request.param]
    words = [cross] if cross else compiler()
    if words is None or any(shutil.which(each) is None for each in (words[0], *runner[:1])):
        pytest.skip(f"{words[0] if words else 'a C compiler'} or {runner[:1]} is not installed")
    if request.param == "avx2" and not runs_here("avx2"):
        pytest.skip("this processor does not run avx2")
    program = tmp_path_factory.mktemp("loops") / "driver"
    source = [f'-DBOUND_SOURCE="{SOURCE}"', str(HERE / "driver.c"), "-o", str(program), "-lm"]
    made = subprocess.run([*words, *flags, *source], capture_output=True, text=True, check=False)
    if "cannot find" in made.stderr and "san" in made.stderr:
        pytest.skip("the compiler's sanitizers are not installed")
    assert made.returncode == 0, made.stderr
    return [*runner, str(program)]


def run(command: list[str], *files: Path) -> list[str]:
    ended = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout.splitlines()


def rows(line: str) -> np.ndarray:
    return np.array(line.split(), np.float64).reshape(CONTEXT, VOCABULARY)


def test_they_compute_the_model(command: list[str], tmp_path: Path) -> None:
    (line,) = run(command, write_bound(tmp_path / "m.bound"))
    expected = logits(TOKENS)
    np.testing.assert_allclose(rows(line), expected, atol=2e-4 * expected.std())


def test_they_compute_what_the_plain_loops_do_in_integers(command: list[str], tmp_path: Path) -> None:
    path = write_integers(tmp_path / "m.bound")
    program, expected = Program(load_library("plain"), path, path.read_bytes()), torch.empty(CONTEXT, VOCABULARY)
    tokens = torch.from_numpy(TOKENS).to(torch.int32)
    program.run(tokens.data_ptr(), CONTEXT, 0, True, expected.data_ptr())
    (line,) = run(command, path)
    difference = np.abs(rows(line) - expected.numpy())
    # A level in the middle may fall either way, and then shows in the rows behind it.
    assert np.median(difference) < 1e-4 * expected.std().item()
    assert difference.max() < 0.1 * expected.std().item()


def test_damaged_files_read_and_write_nothing_out_of_bounds(command: list[str], tmp_path: Path) -> None:
    content = write_integers(tmp_path / "whole.bound").read_bytes()
    files = []
    for number in range(100):
        files.append(tmp_path / f"{number}.bound")
        files[-1].write_bytes(mutated(content, number))
    said = run(command, *files)
    assert len(said) == len(files)
    assert 40 < said.count("refused") < 100
