"""Every file from outside is read whole and right, or refused in a sentence that names it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.spec import read_spec
from harness.errors import HarnessError, ModelError, UsageError
from harness.flash.device_model import profile
from harness.manifest import manifest_path, read_manifest
from harness.models.zoo.records import read_record
from harness.nightly.config import read_config
from harness.outside_files import expanded, printable, read_json, read_toml, write_whole
from harness.targets.dsp import profile as dsp
from harness.targets.npu import configuration as npu
from harness.targets.transports.devices import read_devices

READERS: dict[str, Callable[[Path], Any]] = {
    "nightly": read_config,
    "table": read_spec,
    "flash": profile.read,
    "devices": read_devices,
    "dsp": lambda path: dsp.find(str(path)),
    "npu": lambda path: npu.find(str(path)),
}
HOSTILE = {
    "nested": b"a = " + b"[" * 100_000 + b"]" * 100_000,
    "nested tables": b"a = " + b"{b = " * 50_000,
    "NUL": b'a = "x\\u0000y"',
    "NUL in a key": b'"x\\u0000y" = 1',
    "raw NUL": b"a = 1\0",
    "latin-1": "a = 'ä'".encode("latin-1"),
    "digits": b"a = " + b"9" * 5000,
    "words": b"not toml at all",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_hostile_toml_file_is_a_sentence(tmp_path: Path, read: Callable[[Path], Any], content: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"mine\.toml is not TOML") as caught:
        read(path)
    assert caught.value.hint.endswith((".", ")"))


@pytest.mark.parametrize("name", ["absent.toml", ".", "n" * 300 + ".toml", "b\udcffd.toml"])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_toml_file_that_cannot_be_opened_is_a_sentence(
    tmp_path: Path, read: Callable[[Path], Any], name: str
) -> None:
    path = tmp_path / name if name != "." else tmp_path / "folder.toml"
    if name == ".":
        path.mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        read(path)


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(UsageError, match="more than 64 MiB"):
        read_toml(Path("/dev/zero"), lambda found, _: found, "file", "Give another.")


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", '"\\ud800"', "[" * 100_000])
def test_json_without_a_finite_number_or_a_whole_text_is_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(number)
    with pytest.raises(ModelError, match="is not a readable thing"):
        read_json(path, lambda found: found, "thing", "Give another.", ModelError)


@pytest.mark.parametrize("text", ["{}", "[]", "7", '{"name": "x", "colour": "red"}', "{"])
def test_a_record_of_weights_is_refused_alike(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ModelError, match="not a readable record"):
        read_record(tmp_path, "m")


def test_a_name_that_leaves_no_room_for_the_ending_has_no_manifest_and_no_record(tmp_path: Path) -> None:
    artifact = tmp_path / ("m" * 251 + ".pte")
    artifact.write_bytes(b"x")
    assert len(manifest_path(artifact).name) > 255
    assert read_manifest(artifact, "0" * 64) is None
    assert read_record(tmp_path, "m" * 300) is None


def test_a_home_folder_of_nobody_is_a_sentence(tmp_path: Path) -> None:
    assert expanded("~", "x") == Path.home()
    with pytest.raises(UsageError, match=r"results is '~nobody-of-this-name/x', but no home"):
        expanded("~nobody-of-this-name/x", "results")
    config = tmp_path / "nightly.toml"
    for text in ('models = ["~nobody-of-this-name/x"]\nresults = "r"', 'models = ["m"]\nresults = "~nobody-of-this/r"'):
        config.write_text(f'target = "x86"\n{text}')
        with pytest.raises(UsageError, match="no home folder"):
            read_config(config)


def test_a_name_that_is_no_utf8_can_be_stored_and_printed() -> None:
    assert printable("b\udcffd × ü") == "b\\xffd × ü"


# Written whole, or not at all.


def test_what_is_written_replaces_and_keeps_the_mode(tmp_path: Path) -> None:
    path, link = tmp_path / "page.html", tmp_path / "link"
    write_whole(path, "first", "Give another.")
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(link, b"second", "Give another.")
    assert (path.read_bytes(), path.stat().st_mode & 0o777, link.is_symlink()) == (b"second", 0o640, True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "page.html"]


def test_a_pipe_is_written_to_and_not_replaced() -> None:
    code = "from pathlib import Path\nfrom harness.outside_files import write_whole\n"
    code += "write_whole(Path('/dev/stdout'), 'said', 'x')"
    said = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True)
    assert said.stdout == b"said"


@pytest.mark.parametrize("name", ["no/such/file", "n" * 300, "folder"])
def test_what_cannot_be_written_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(HarnessError, match="cannot be written"):
        write_whole(tmp_path / name, "x", "Give another.")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_writer_that_is_stopped_leaves_the_old_file(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "table.tex"
    path.write_text("old")
    code = (
        "import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\nfrom harness import outside_files\n"
        f"outside_files.os.replace = lambda *_: os.kill(os.getpid(), {int(number)})\n"
        "outside_files.write_whole(Path(sys.argv[1]), 'new' * 1000, 'x')"
    )
    ended = subprocess.run([sys.executable, "-P", "-c", code, str(path)], capture_output=True, check=False)
    assert ended.returncode != 0
    assert path.read_text() == "old"
    if number == signal.SIGINT:
        assert list(tmp_path.iterdir()) == [path]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
