"""A `.pt2` from a stranger must not run code while it is looked at: every one here would leave a file behind."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from models_on_disk import Models

Parts = dict[str, bytes]
OPAQUE = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}


class _Touch:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._marker,)


def _pickled_weight(parts: Parts, evil: bytes) -> None:
    config = json.loads(parts["data/weights/model_weights_config.json"])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    parts["data/weights/model_weights_config.json"] = json.dumps(config).encode()
    parts[f"data/weights/{first['path_name']}"] = evil


def _opaque_constant(parts: Parts, evil: bytes) -> None:
    parts["data/constants/model_constants_config.json"] = json.dumps({"config": {"x": OPAQUE}}).encode()
    parts["data/constants/opaque_obj_0"] = evil


def _old_weights(parts: Parts, evil: bytes) -> None:
    parts["data/weights/model.pt"] = evil


def _old_constants(parts: Parts, evil: bytes) -> None:
    parts["data/constants/model.pt"] = evil


def _sample_inputs(parts: Parts, evil: bytes) -> None:
    parts["data/sample_inputs/model.pt"] = evil


PICKLED = (_pickled_weight, _opaque_constant, _old_weights, _old_constants)
CONSTANTS = "data/constants/model_constants_config.json"


@pytest.fixture(scope="module")
def parts(models: Models) -> tuple[str, Parts]:
    """The name of an honest archive's root folder, and its files by their path below it."""
    with zipfile.ZipFile(models.mlp_pt2) as archive:
        root = archive.namelist()[0].partition("/")[0]
        return root, {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def _write(path: Path, root: str, *layers: Parts) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # of an entry that is there twice
        for layer in layers:
            for name, data in layer.items():
                archive.writestr(f"{root}/{name}", data)


def _archives(folder: Path, root: str, honest: Parts) -> dict[str, Path]:
    """One archive a trick, in a folder that will also have the file it makes, `touched` after its name."""
    hidden: dict[str, list[Parts]] = {}
    for hide in (*PICKLED, _sample_inputs):
        changed = dict(honest)
        hide(changed, pickle.dumps(_Touch(folder / f"{hide.__name__} touched")))
        hidden[hide.__name__] = [changed]
    changed = dict(honest)
    _opaque_constant(changed, pickle.dumps(_Touch(folder / "second_entry touched")))
    hidden["second_entry"] = [changed, {CONSTANTS: honest[CONSTANTS]}]
    code = f"__import__('pathlib').Path('{folder / 'expression touched'}').touch()"
    graph, count = re.subn(
        r'"expr_str": "[^"]+"', lambda _: f'"expr_str": {json.dumps(code)}', honest["models/model.json"].decode()
    )
    assert count > 0
    hidden["expression"] = [honest | {"models/model.json": graph.encode()}]
    paths = {name: folder / f"{name}.pt2" for name in hidden}
    for name, layers in hidden.items():
        _write(paths[name], root, *layers)
    return paths


@pytest.fixture(scope="module")
def said(
    parts: tuple[str, Parts], models: Models, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """What the worker's torch runtime says of each archive, all asked in one process, and the folder they lie in."""
    folder = tmp_path_factory.mktemp("hostile")
    archives = _archives(folder, *parts) | {"honest": models.mlp_pt2}
    code = (
        "import json, sys; from pathlib import Path; from harness.worker.runtimes import torch as runtime\n"
        "from harness.errors import ModelError\n"
        "said = {}\n"
        "for path in sys.argv[1:]:\n"
        "    try: said[path] = runtime.describe(Path(path)).format\n"
        "    except ModelError as error: said[path] = str(error)\n"
        "    except Exception as error: said[path] = repr(error)\n"
        "print(json.dumps(said))"
    )
    command = [sys.executable, "-P", "-c", code, *map(str, archives.values())]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    answers = json.loads(ended.stdout.splitlines()[-1])
    return folder, {name: answers[str(path)] for name, path in archives.items()}


@pytest.mark.parametrize(
    "trick", [*(hide.__name__ for hide in (*PICKLED, _sample_inputs)), "second_entry", "expression"]
)
def test_code_in_an_archive_is_not_run(said: tuple[Path, dict[str, str]], trick: str) -> None:
    folder, answers = said
    assert not (folder / f"{trick} touched").exists()
    assert answers["honest"] == "pt2"
    assert ("pickled" in answers[trick]) or (trick not in [hide.__name__ for hide in PICKLED]), answers[trick]
    assert answers[trick].startswith(str(folder / trick)) or "refuses" in answers[trick], "no sentence of ours"


def test_torch_alone_would_have_run_it(parts: tuple[str, Parts], tmp_path: Path) -> None:
    """Or else the tests above would prove nothing."""
    archives = _archives(tmp_path, *parts)
    code = "import sys, torch\nfor path in sys.argv[1:]:\n    try: torch.export.load(path)\n    except Exception: pass"
    subprocess.run([sys.executable, "-P", "-c", code, *map(str, archives.values())], capture_output=True, check=False)
    assert sorted(path.name for path in tmp_path.glob("* touched")) == sorted(f"{name} touched" for name in archives)
