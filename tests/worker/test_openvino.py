"""`.xml` files of OpenVINO: what they say of themselves, language models with their cache, options, and files that are
wrong.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx_on_disk import CONTEXT, VOCABULARY, language_logits
from onnx_on_disk import FORMS as ONNX_FORMS
from onnx_on_disk import write_language_model as write_onnx_language_model
from onnx_on_disk import write_model as write_onnx
from worker.driving import QUICK, job, run_forked

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

from openvino_on_disk import FORMS, ops, write_language_model, write_mlp, write_model, write_relu

from harness.errors import ModelError, UsageError
from harness.job import Files, Job
from harness.model_description import is_language_model, longest_prompt
from harness.protocol import Event, Hello, Ops, Samples, Scalar
from harness.runtime import LoadedModel
from harness.worker import __main__ as worker
from harness.worker.channel import Channel, failure
from harness.worker.generation import GreedyTokens, LanguageInputs, random_prompt
from harness.worker.runtimes import openvino as runtime

EXACT = (("inference_precision", "f32"), ("kv_cache_precision", "f32"))
"""So that a processor with bfloat16 computes what numpy does."""


def loaded(path: Path, **fields: Any) -> LoadedModel:
    return runtime.load(path, job(**{"runtime_options": EXACT, **fields}), Files(model=str(path)))


def test_inputs_outputs_and_metadata_are_described(tmp_path: Path) -> None:
    few, many = (ops.constant(np.zeros((rows, 4), np.float32)) for rows in (10, 30))

    def graph(ids: Any, scale: Any) -> dict[str, Any]:
        wide, axis = ops.convert(ids, np.int64), ops.constant(np.int64(0))
        rows, others = ops.gather(few, wide, axis), ops.gather(many, ids, axis)
        return {"y": ops.multiply(ops.add(rows, others), ops.reduce_sum(scale, ops.constant([0, 1]), False))}

    inputs = [("ids", [-1, 7], np.int32), ("scale", [3, -1], np.float32)]
    path = write_model(tmp_path / "m.xml", inputs, graph, metadata={"a": "12", "b": "x"})
    description = runtime.describe(path)
    (method,) = description.methods
    first, second = method["inputs"]
    assert (first["name"], first["dtype"], first["sizes"], first["dynamic"]) == (
        "ids",
        "int32",
        [1, 7],
        ["batch", None],
    )
    assert (first["limit"], first["longest"]) == (10, 30)
    assert (second["sizes"], second["dynamic"]) == ([3, None], [None, "scale.1"])
    assert (description.format, description.external_data) == ("xml", True)
    assert (description.metadata["a"], description.metadata["b"]) == (12, "x")


@pytest.mark.parametrize("form", FORMS)
def test_a_language_model_keeps_its_cache(form: str, tmp_path: Path) -> None:
    check_language_model(loaded(write_language_model(tmp_path / "lm.xml", form)))


@pytest.mark.parametrize("form", ONNX_FORMS)
def test_an_onnx_file_is_run_on_request(form: str, tmp_path: Path) -> None:
    check_language_model(loaded(write_onnx_language_model(tmp_path / "lm.onnx", form)))


def check_language_model(model: LoadedModel) -> None:
    assert is_language_model(model.description)
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, (3, CONTEXT))
    inputs = LanguageInputs(model.description, model.arrange)
    for prompt, text in zip((1, 4, CONTEXT - 1), tokens, strict=True):  # a sequence must not see the one before
        expected, ids = language_logits(text), torch.from_numpy(text)[None]
        begin = model.execute(inputs.at(ids[:, :prompt], 0))[0]
        rows = [np.array(begin).reshape(-1, VOCABULARY)[-1]]
        for place in range(prompt, CONTEXT):
            rows.append(np.array(model.execute(inputs.at(ids[:, place : place + 1], place))[0]).reshape(-1))
        np.testing.assert_allclose(np.stack(rows), expected[prompt - 1 :], rtol=1e-4, atol=1e-4)
    assert model.all_logits is not None
    every = model.all_logits((torch.from_numpy(tokens[:1]),))[0]
    np.testing.assert_allclose(every[0], language_logits(tokens[0]), rtol=1e-4, atol=1e-4)


def test_only_the_logits_that_are_wanted_are_asked_for(tmp_path: Path) -> None:
    tokens, sizes = torch.zeros(1, 5, dtype=torch.int64), {}
    for form in FORMS:
        model = loaded(write_language_model(tmp_path / f"{form}.xml", form))
        assert longest_prompt(model.description) == CONTEXT
        sizes[form] = model.execute(LanguageInputs(model.description, model.arrange).at(tokens, 0))[0].shape[1]
    assert sizes == {"optimum": 5, "picked": 1, "tensors": 5}


def test_a_step_reads_the_token_that_was_chosen_last(tmp_path: Path) -> None:
    """Steps are made beforehand and share the memory of their token."""
    model = loaded(write_language_model(tmp_path / "lm.xml", "picked"))
    vocabulary = model.description.metadata["get_vocab_size"]
    tokens = GreedyTokens(model.description, random_prompt(3, vocabulary), 4, model.arrange)
    given = [int(token) for token in tokens.prompt()[0]["input_ids"][0]]
    outputs = model.execute(tokens.prompt())
    for position in range(3, 7):
        wanted = int(language_logits(given)[-1].argmax())
        inputs = tokens.choose(outputs, position)
        assert int(inputs[0]["input_ids"][0, 0]) == wanted
        given.append(wanted)
        outputs = model.execute(inputs)


def test_outputs_are_memory_of_their_own(tmp_path: Path) -> None:
    model = loaded(write_relu(tmp_path / "m.xml"))
    first = model.execute(model.arrange((torch.ones(2, 4),)))[0]
    model.execute(model.arrange((torch.full((2, 4), 9.0),)))
    np.testing.assert_array_equal(first, np.full((2, 4), 2.0))


def test_generation_loss_and_operators_through_a_worker(tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "lm.xml", "picked")
    ended = run_forked(path, job("generate", prompt_tokens=4, new_tokens=5))
    assert len(ended.samples("decode").start_ns) == QUICK["min_iterations"] * 4
    assert re.match(r"20\d\d\.\d+\.\d+-", ended.one(Hello).versions["openvino-build"])
    text = np.random.default_rng(2).integers(0, VOCABULARY, 3 * CONTEXT + 1)
    np.save(tmp_path / "text.npy", text)
    ended = run_forked(path, job(measure="quality", runtime_options=EXACT), tokens=tmp_path / "text.npy")
    loss = next(scalar.value for scalar in ended.all(Scalar) if scalar.name == "loss_nats")
    windows = [text[begin : begin + CONTEXT + 1] for begin in range(0, 3 * CONTEXT, CONTEXT)]
    logits = np.concatenate([language_logits(window[:-1]) for window in windows])
    wanted = torch.from_numpy(np.concatenate([window[1:] for window in windows]))
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), wanted)), rel=1e-4)
    operators = {event.operator.split()[0] for event in run_forked(path, job("generate", "profile")).all(Ops)}
    assert "ReadValue" in operators


def test_the_memory_pass_goes_as_far_as_what_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO keeps what it made for every length that it met: memory after fewer tokens would be too little."""
    path, lengths, load = write_language_model(tmp_path / "lm.xml"), list[int](), runtime.load

    def recording(path: Path, asked: Job, files: Files) -> LoadedModel:
        model = load(path, asked, files)

        def execute(inputs: Sequence[Any]) -> Sequence[Any]:
            lengths.append(inputs[0]["attention_mask"].shape[1])
            return model.execute(inputs)

        return replace(model, execute=execute)

    monkeypatch.setattr(runtime, "load", recording)
    asked = job("generate", "memory", prompt_tokens=4, new_tokens=5)
    worker._measure_memory(asked, Files(model=str(path)), runtime, cast(Channel, Emitted()))
    assert lengths[:10] == [4, 5, 6, 7, 8] * 2


class Emitted:
    """Takes events, and leaves them."""

    def emit(self, event: Event) -> None:
        pass


def test_what_it_runs_with_is_asked_of_the_compiled_model(tmp_path: Path) -> None:
    path = write_relu(tmp_path / "m.xml")
    settings = loaded(path, threads=2).loaded.settings
    assert settings["inference_precision"] == "f32"
    assert settings["kv_cache_precision"] == "f32"
    assert settings["streams"] == "1"
    assert settings["threads"] == str(min(2, len(os.sched_getaffinity(0))))
    assert settings["performance_hint"] == "latency"
    assert settings["execution_mode"] == "performance"
    assert {"device", "pinning", "dynamic_quantization_group_size", "device_computes_in"} <= settings.keys()
    accurate = loaded(path, runtime_options=(("execution_mode", "accuracy"),)).loaded.settings
    assert (accurate["execution_mode"], accurate["dynamic_quantization_group_size"]) == ("accuracy", "0")
    grouped = loaded(path, runtime_options=(("dynamic_quantization_group_size", "64"),)).loaded.settings
    assert grouped["dynamic_quantization_group_size"] == "64"


def test_an_option_that_openvino_does_not_follow_is_refused(tmp_path: Path) -> None:
    """It takes another in silence; no processor of ours has float16."""
    path = write_relu(tmp_path / "m.xml")
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    if "avx512_fp16" in flags or "x86" not in os.uname().machine:
        pytest.skip("this processor may compute in float16")
    with pytest.raises(UsageError, match="does not follow inference_precision f16 on this processor: it takes"):
        loaded(path, runtime_options=(("inference_precision", "f16"),))
    with pytest.raises(UsageError, match="no option 'hint'"):
        loaded(path, runtime_options=(("hint", "f16"),))
    with pytest.raises(UsageError, match="kv_cache_precision cannot be 'u4'"):
        loaded(path, runtime_options=(("kv_cache_precision", "u4"),))


IDLE = """
import os, sys, time
from pathlib import Path
from harness.job import Files, Job
from harness.runtime import find_runtime
from harness.worker.inputs import make_inputs

runtime, path = find_runtime("openvino"), Path(sys.argv[1])
runtime.start("cpu")
job = Job(target="x", model="m", model_sha256="", scenario="single-stream", threads=len(os.sched_getaffinity(0)))
model = runtime.load(path, job, Files(model=str(path)))
inputs = model.arrange(make_inputs(job, model.description, None))
for _ in range(20):
    model.execute(inputs)
    time.sleep(0.01)
def spent():
    return sum(os.times()[:2])
ticks = spent()
time.sleep(1)
print(spent() - ticks)
print(*sorted(name for name in sys.modules if "telemetry" in name and sys.modules[name] is not None))
"""


def test_nothing_works_between_runs_and_nothing_is_reported(tmp_path: Path) -> None:
    """A pool that spins would burn the processor that the next process is measured on. The home folder stays empty:
    the library's telemetry would write into it when it is imported.
    """
    from openvino_on_disk import write_deep

    home = tmp_path / "home"
    home.mkdir()
    ended = subprocess.run(
        [sys.executable, "-P", "-c", IDLE, write_deep(tmp_path / "deep.xml")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(home)},
    )
    idle_s, *modules = ended.stdout.split()
    assert float(idle_s) < 0.1  # of a second, in which a thread that spins spends all
    assert not [name for name in modules if name.startswith("openvino_telemetry")]
    assert not list(home.iterdir())


# What is wrong with a file, and what the error says of it.
def _edited(*changes: tuple[str, str]) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        text = write_relu(path).read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        return path

    return make


def _no_weights(path: Path) -> Path:
    write_relu(path).with_suffix(".bin").unlink()
    return path


def _short_weights(path: Path) -> Path:
    write_relu(path).with_suffix(".bin").write_bytes(b"1")
    return path


def _no_rank(path: Path) -> Path:
    return _edited(('shape="?,4"', 'shape="..."'))(path)


def _onnx(path: Path) -> Path:
    """Another format under this name, which OpenVINO would open all the same."""
    infos = [[(name, TensorProto.FLOAT, ["n", 4])] for name in ("x", "y")]
    write_onnx(path, [helper.make_node("Relu", ["x"], ["y"])], *infos)
    path.with_suffix(".bin").touch()
    return path


def _entities(path: Path) -> Path:
    secret = path.with_name("secret")
    secret.write_text("a secret")
    return _edited(
        ('<?xml version="1.0"?>', f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a SYSTEM "file://{secret}">]>'),
        ('<net name="model"', '<net name="&a;"'),
    )(path)


def _no_text(path: Path) -> Path:
    """A name that is no UTF-8, which the library repeats in its message."""
    path.write_bytes(write_relu(path).read_bytes().replace(b'type="ReLU"', b'type="R\xa3LU"'))
    return path


def _states(path: Path) -> Path:
    """States, without the names by which a language model is known."""
    text = write_language_model(path).read_text().replace("input_ids", "words")
    path.write_text(text)
    return path


WRONG = {
    _no_weights: "are in m.bin, which is not there",
    _short_weights: "cut short, or is not of this model",
    _edited(('version="11"', 'version="99"')): "of version 99 of OpenVINO's format",
    _edited(('type="ReLU" version="opset1"', 'type="ReLU" version="opset99"')): "operator ReLU of opset99",
    _edited(('type="ReLU" version="opset1"', 'type="Foo" version="acme"')): "operator Foo of acme",
    _edited(('type="ReLU"', 'type="Foo"')): "operator Foo of opset1",
    _edited(("</layers>", "")): "no model of OpenVINO, or damaged",
    _no_rank: "how many dimensions its x has",
    _onnx: "no <net version=...>",
    _entities: "no <net version=...>",
    _no_text: "no model of OpenVINO, or damaged",
    _states: "no language model that harness knows",
}


@pytest.mark.parametrize("make", WRONG)
def test_a_wrong_file_is_an_error_of_two_sentences(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path / "m.xml")
    with pytest.raises(ModelError, match=re.escape(WRONG[make])) as caught:
        runtime.describe(path)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert "src/" not in caught.value.message
    assert caught.value.hint


def test_weights_of_an_onnx_outside_of_its_folder_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    weight = {"w": np.arange(4, dtype=np.float32)}
    path = tmp_path / "folder" / "m.onnx"
    infos = [[(name, TensorProto.FLOAT, ["n", 4])] for name in ("x", "y")]
    write_onnx(path, [helper.make_node("Add", ["x", "w"], ["y"])], *infos, weight, external="w.data")
    (tmp_path / "secret").write_bytes((tmp_path / "folder" / "w.data").read_bytes())
    path.write_bytes(path.read_bytes().replace(b"w.data", b"../sec"))
    ended = run_forked(path, job(runtime="openvino"))
    assert ended.error.kind == "model"
    assert "outside of its folder" in ended.error.message


def test_an_onnx_with_operators_of_others_is_refused(tmp_path: Path) -> None:
    infos = [[(name, TensorProto.FLOAT, ["n", 4])] for name in ("x", "y")]
    path = write_onnx(
        tmp_path / "m.onnx", [helper.make_node("Foo", ["x"], ["y"], domain="acme")], *infos, domains=["acme"]
    )
    with pytest.raises(ModelError, match=r"acme\.Foo, which this OpenVINO does not have"):
        runtime.describe(path)


def test_the_weights_belong_to_the_model(tmp_path: Path, models: Any) -> None:
    path = write_mlp(tmp_path / "m.xml", models.folder / "mlp.npz")
    weights = tmp_path / "m.bin"
    model = runtime.load(path, job(), Files(model=str(path), data=str(weights)))
    assert model.loaded.program_bytes == path.stat().st_size + weights.stat().st_size
    (tmp_path / "other.bin").write_bytes(weights.read_bytes())
    with pytest.raises(UsageError, match=r"takes its weights from m\.bin next to it"):
        runtime.load(path, job(), Files(model=str(path), data=str(tmp_path / "other.bin")))


def test_types_that_numpy_lacks_are_refused(tmp_path: Path) -> None:
    import openvino

    path = write_relu(tmp_path / "m.xml")
    path.write_text(path.read_text())
    model = openvino.Core().read_model(path)
    preprocessing = openvino.preprocess.PrePostProcessor(model)
    preprocessing.input(0).tensor().set_element_type(openvino.Type.bf16)
    openvino.save_model(preprocessing.build(), str(tmp_path / "b.xml"), compress_to_fp16=False)
    with pytest.raises(ModelError, match=r"x of .* is bfloat16, which harness cannot give or read"):
        loaded(tmp_path / "b.xml")


def test_inputs_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    """Before OpenVINO gets them."""
    weight = ops.constant(np.zeros((5, 5), np.float32))
    path = write_model(tmp_path / "m.xml", [("x", [-1, -1], np.float32)], lambda x: {"y": ops.add(x, weight)})
    error = run_forked(path, job(input_sizes=((2, 4),))).error
    assert error.kind == "usage"
    assert "cannot take inputs of these sizes, x [2, 4]" in error.message
    assert "src/" not in error.message
    assert run_forked(path, job(input_sizes=((1, 5),))).all(Samples)


def test_what_a_model_raises_while_it_runs_is_one_sentence() -> None:
    message = """Exception from src/inference/src/cpp/infer_request.cpp:224:
Exception from src/plugins/intel_cpu/src/node.cpp:794:
[CPU] Add node with name 'Add_4' does not fit.

"""
    error = failure(RuntimeError(message), job())
    assert error.kind == "runtime"
    assert error.message.startswith(
        "The model failed to run: [CPU] Add node with name 'Add_4' does not fit. Its inputs"
    )


MUTATE = """
import random, sys
from pathlib import Path
from harness.errors import HarnessError
from harness.job import Files, Job
from harness.runtime import find_runtime
from harness.worker.generation import GreedyTokens, random_prompt

path, suffix, first, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
runtime, part = find_runtime("openvino"), path.with_suffix(suffix)
content = Path(sys.argv[5]).read_bytes()
job = Job(target="x", model="m", model_sha256="", scenario="generate", prompt_tokens=2, new_tokens=2)
for number in range(first, last):
    source, mutated = random.Random(number), bytearray(content)
    for _ in range(source.choice((1, 1, 3, 20))):
        mutated[source.randrange(len(mutated))] = source.randrange(256)
    part.write_bytes(mutated[: source.choice((len(mutated), source.randrange(len(mutated))))])
    print(number, end=" ", flush=True)
    try:
        runtime.describe(path)
        model = runtime.load(path, job, Files(model=str(path)))
        prompt = random_prompt(2, model.description.metadata["get_vocab_size"])
        model.execute(GreedyTokens(model.description, prompt, 2, model.arrange).prompt())
        print("ran", flush=True)
    except HarnessError as error:
        assert error.message.endswith(".") and error.hint and chr(10) not in error.message, error
        print("refused", flush=True)
    except RuntimeError:
        print("raised", flush=True)
"""


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_mutated_files_end_in_errors_for_the_user(suffix: str, tmp_path: Path) -> None:
    """Where OpenVINO itself ends the process, as a worker is one, the next mutation is tried in another."""
    path, original = write_language_model(tmp_path / "lm.xml"), tmp_path / "original"
    original.write_bytes(path.with_suffix(suffix).read_bytes())
    ends: list[str] = []
    while len(ends) < 200:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", MUTATE, path, suffix, str(len(ends)), "200", original],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode <= 0, ended.stderr
        ends += [(line.split()[1:] or ["died"])[0] for line in ended.stdout.splitlines()]
        assert ended.returncode < 0 or len(ends) == 200
    assert ends.count("died") < 10
    assert ends.count("refused") > 50


def test_a_worker_outlives_what_a_mutated_file_does(tmp_path: Path) -> None:
    source, path = random.Random(7), write_language_model(tmp_path / "lm.xml")
    content = path.read_bytes()
    for _ in range(6):
        mutated = bytearray(content)
        for _ in range(3):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        path.write_bytes(mutated)
        ended = run_forked(path, job("generate", prompt_tokens=2, new_tokens=2))
        assert ended.order[-1] in ("error", "done")
        if ended.order[-1] == "error":
            assert ended.error.message
        else:
            assert ended.all(Samples)
