from __future__ import annotations

import logging
import os
import sys
import warnings

import pytest

from harness.models.export.library_noise import library_noise_hidden


def make_noise() -> None:
    os.write(2, b"[cpuinfo_utils.cpp:71] Reading file /sys/devices/soc0/image_version\n")
    os.write(2, b"[threadpool.cpp:66] Resetting threadpool to 1 threads.\n")
    logging.getLogger("torchao").warning("Failed to load a library")
    warnings.warn("isinstance(treespec, LeafSpec) is deprecated", FutureWarning, stacklevel=1)


def test_noise_is_dropped_and_errors_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    with library_noise_hidden():
        make_noise()
        os.write(2, b"[method.cpp:12] Missing operator: aten::frobnicate\n")
    assert capfd.readouterr().err == "[method.cpp:12] Missing operator: aten::frobnicate\n"


def test_errors_are_shown_when_the_body_raises(capfd: pytest.CaptureFixture[str]) -> None:
    @library_noise_hidden()
    def fail() -> None:
        make_noise()
        os.write(2, b"a real remark\n")
        raise RuntimeError("after all")

    with pytest.raises(RuntimeError, match="after all"):
        fail()
    assert capfd.readouterr().err == "a real remark\n"


def test_python_writes_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with library_noise_hidden():
        os.write(2, b"second\n")
        print("first", file=sys.stderr)
    assert capfd.readouterr().err == "first\nsecond\n"


def test_noise_that_comes_in_pieces(capfd: pytest.CaptureFixture[str]) -> None:
    with library_noise_hidden():
        for piece in (
            "[",
            "cpuinfo_utils.cpp",
            ":",
            "125",
            "] ",
            "CPU does not match",
            "\n",
            "[method",
            ".cpp] bad",
        ):
            print(piece, file=sys.stderr, end="")
    assert capfd.readouterr().err == "[method.cpp] bad\n"


def test_afterwards_everything_is_heard_again(capfd: pytest.CaptureFixture[str]) -> None:
    with library_noise_hidden():
        pass
    os.write(2, b"[threadpool.cpp:66] mine\n")
    assert capfd.readouterr().err == "[threadpool.cpp:66] mine\n"
    assert logging.getLogger("torchao").getEffectiveLevel() == logging.WARNING
