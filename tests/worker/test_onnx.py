"""`.onnx` files: what they say of themselves, language models with their cache, and files that are wrong."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx_on_disk import (
    CONTEXT,
    FORMS,
    VOCABULARY,
    language_logits,
    write_language_model,
    write_model,
)
from worker.driving import QUICK, job, run_forked

from harness.errors import HarnessError, ModelError, UsageError
from harness.job import Files
from harness.made_inputs import find_limits
from harness.model_description import is_language_model, longest_prompt
from harness.protocol import Loaded, Ops, Samples, Scalar
from harness.runtime import LoadedModel
from harness.worker.generation import GreedyTokens, LanguageInputs, random_prompt
from harness.worker.runtimes import onnx_file
from harness.worker.runtimes import onnxruntime as runtime
from harness.worker.runtimes.onnx_file import check_onnx, read_onnx

REAL, LONG = TensorProto.FLOAT, TensorProto.INT64
X, Y = [("x", REAL, ["n", 4])], [("y", REAL, ["n", 4])]
RELU = [helper.make_node("Relu", ["x"], ["y"])]
ADD = [helper.make_node("Add", ["x", "w"], ["y"])]
WEIGHT = {"w": np.arange(4, dtype=np.float32)}


def loaded(path: Path, **fields: Any) -> LoadedModel:
    return runtime.load(path, job(**fields), Files(model=str(path)))


def test_inputs_outputs_and_metadata_are_described(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["ids"], ["wide"], to=LONG),
        helper.make_node("Gather", ["few", "wide"], ["rows"]),
        helper.make_node("Gather", ["many", "wide"], ["others"]),
        helper.make_node("ReduceSum", ["others", "axis"], ["sums"]),
        helper.make_node("Add", ["rows", "sums"], ["y"]),
    ]
    weights = {
        "few": np.zeros((10, 4), np.float32),
        "many": np.zeros((30, 4), np.float32),
        "axis": np.array([-1]),
    }
    ids = ("ids", TensorProto.INT32, ["batch", 7])
    unnamed = ("scale", REAL, [None, 2])
    path = write_model(
        tmp_path / "m.onnx",
        nodes,
        [ids, unnamed],
        [("y", REAL, ["batch", 7, 4])],
        weights,
        metadata={"a": "12", "b": "x"},
    )
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
    assert second["sizes"] == [1, 2]
    assert second["dynamic"][0] not in (None, "batch")
    assert method["outputs"][0]["sizes"] == [1, 7, 4]
    assert (description.metadata, description.external_data) == ({"a": 12, "b": "x"}, False)
    assert find_limits(method["inputs"], description.metadata) == [10, None]


@pytest.mark.parametrize("form", FORMS)
def test_a_language_model_keeps_its_cache(form: str, tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "lm.onnx", form)
    model = loaded(path)
    assert is_language_model(model.description)
    assert longest_prompt(model.description) == CONTEXT or form == "short"
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
    tokens = torch.zeros(1, 5, dtype=torch.int64)
    sizes = {}
    for form in FORMS:
        model = loaded(write_language_model(tmp_path / f"{form}.onnx", form))
        inputs = LanguageInputs(model.description, model.arrange)
        sizes[form] = model.execute(inputs.at(tokens, 0))[0].shape[1]
    assert sizes == {"hugging-face": 5, "short": 5, "picked": 1}


def test_a_step_reads_the_token_that_was_chosen_last(tmp_path: Path) -> None:
    """Steps are made beforehand and share the memory of their token."""
    model = loaded(write_language_model(tmp_path / "lm.onnx", "picked"))
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


def test_metadata_say_how_long_a_text_may_be_where_the_graph_does_not(tmp_path: Path) -> None:
    said = write_language_model(tmp_path / "a.onnx", "short", metadata={"get_max_seq_len": "9"})
    assert runtime.describe(said).metadata["get_max_seq_len"] == 9
    assert longest_prompt(runtime.describe(said)) == 9


def test_generation_loss_and_operators_through_a_worker(tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "lm.onnx", "picked")
    ended = run_forked(path, job("generate", prompt_tokens=4, new_tokens=5))
    assert len(ended.samples("decode").start_ns) == QUICK["min_iterations"] * 4
    settings = ended.one(Loaded).settings
    assert settings["runtime"] == "onnxruntime"
    assert (settings["provider"], settings["threads"]) == ("CPUExecutionProvider", "1")
    assert (settings["graph_optimization"], settings["spinning"]) == ("all", "off")
    text = np.random.default_rng(2).integers(0, VOCABULARY, 3 * CONTEXT + 1)
    np.save(tmp_path / "text.npy", text)
    ended = run_forked(path, job(measure="quality"), tokens=tmp_path / "text.npy")
    loss = next(scalar.value for scalar in ended.all(Scalar) if scalar.name == "loss_nats")
    windows = [text[begin : begin + CONTEXT + 1] for begin in range(0, 3 * CONTEXT, CONTEXT)]
    logits = np.concatenate([language_logits(window[:-1]) for window in windows])
    wanted = torch.from_numpy(np.concatenate([window[1:] for window in windows]))
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), wanted)), rel=1e-4)
    operators = {event.operator: event.calls for event in run_forked(path, job("generate", "profile")).all(Ops)}
    assert operators["Softmax"] >= QUICK["min_iterations"]


def test_threads_do_not_spin_and_nothing_but_the_processor_computes(tmp_path: Path) -> None:
    options = runtime._options(3, {"graph_optimization": "all", "spinning": "off"})
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("level", ["all", "extended", "basic", "off"])
def test_options_reach_the_session_and_settings_say_so(level: str, tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "lm.onnx", "picked")
    chosen = (("graph_optimization", level), ("spinning", "on"))
    options = runtime._options(2, dict(chosen))
    wanted = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC"}
    assert options.graph_optimization_level.name == wanted.get(level, "ORT_DISABLE_ALL")
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    settings = runtime.load(path, job(runtime_options=chosen), Files(model=str(path))).loaded.settings
    assert dict(chosen).items() <= settings.items()


def test_the_accuracy_level_of_weights_of_few_bits_is_read_from_the_file(tmp_path: Path) -> None:
    infos = ([("x", TensorProto.FLOAT, ["n", 32])], [("y", TensorProto.FLOAT, ["n", 4])])
    weights = {"w": np.zeros((4, 1, 16), np.uint8), "s": np.ones(4, np.float32)}
    found = {}
    for levels in ((), (4,), (4, 0)):
        nodes = [
            helper.make_node(
                "MatMulNBits",
                ["x", "w", "s"],
                [f"y{number}" if number else "y"],
                domain="com.microsoft",
                K=32,
                N=4,
                bits=4,
                block_size=32,
                **({"accuracy_level": level} if level else {}),
            )
            for number, level in enumerate(levels or (0,))
        ]
        path = write_model(tmp_path / f"m{len(levels)}.onnx", nodes, *infos, weights, domains=["com.microsoft"])
        settings = runtime.load(path, job(), Files(model=str(path))).loaded.settings
        found[levels] = (read_onnx(path).accuracy_levels, settings["accuracy_level"])
    assert found == {(): ([0], "unset"), (4,): ([4], "4 (int8)"), (4, 0): ([0, 4], "unset and 4 (int8)")}
    plain = write_language_model(tmp_path / "lm.onnx", "picked")
    assert "accuracy_level" not in runtime.load(plain, job(), Files(model=str(plain))).loaded.settings


@pytest.mark.parametrize(
    ("flags", "largest", "clips"),
    [("avx2 fma", 65, True), ("avx2 fma", 64, False), ("avx2 avx_vnni", 65, False), ("neon", 65, False)],
)
def test_sums_may_clip_by_the_processor_and_the_weights(
    flags: str, largest: int, clips: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "_CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    weight = np.full((4, 4), -largest, np.int8)
    infos = [("x", TensorProto.UINT8, ["n", 4])], [("y", TensorProto.INT32, ["n", 4])]
    path = write_model(
        tmp_path / "m.onnx", [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], *infos, {"w": weight}
    )
    assert loaded(path).loaded.sums_may_clip == clips
    assert not loaded(path, measure="memory").loaded.sums_may_clip
    assert not loaded(write_model(tmp_path / "f.onnx", ADD, X, Y, WEIGHT)).loaded.sums_may_clip


# What is wrong with a file, and what the error says of it.
def _foreign(path: Path) -> Path:
    return write_model(path, [helper.make_node("Foo", ["x"], ["y"], domain="acme")], X, Y, domains=["acme"])


def _unknown(path: Path) -> Path:
    return write_model(path, [helper.make_node("Foo", ["x"], ["y"])], X, Y)


def _no_kernel(path: Path) -> Path:
    infos = [[(name, TensorProto.BFLOAT16, ["n", 4])] for name in ("x", "y")]
    return write_model(path, [helper.make_node("Mod", ["x", "x"], ["y"], fmod=1)], *infos)


def _newer(path: Path) -> Path:
    return write_model(path, RELU, X, Y, opset=99)


def _newer_format(path: Path) -> Path:
    model = onnx.load(str(write_model(path, RELU, X, Y)))
    model.ir_version = 99
    path.write_bytes(model.SerializeToString())
    return path


def _no_data(path: Path) -> Path:
    write_model(path, ADD, X, Y, WEIGHT, external="elsewhere.weights")
    path.with_name("elsewhere.weights").unlink()
    return path


def _short_data(path: Path) -> Path:
    write_model(path, ADD, X, Y, WEIGHT, external=f"{path.name}.data")
    path.with_name(f"{path.name}.data").write_bytes(b"123")
    return path


def _many_files(path: Path) -> Path:
    model = onnx.load(str(write_model(path, ADD, X, Y, WEIGHT | {"v": WEIGHT["w"]})))
    onnx.save_model(model, str(path), save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)
    return path


def _outside(path: Path, location: str = "../secret") -> Path:
    write_model(path, ADD, X, Y, WEIGHT, external="w.data")
    model = onnx.load(str(path), load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    path.parent.with_name("secret").write_bytes(WEIGHT["w"].tobytes())
    return path


def _absolute(path: Path) -> Path:
    return _outside(path, str(path.parent.with_name("secret")))


def _no_rank(path: Path) -> Path:
    model = onnx.load(str(write_model(path, RELU, X, Y)))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    path.write_bytes(model.SerializeToString())
    return path


WRONG = {
    _foreign: "calls acme:Foo, which ONNX Runtime does not have",
    _unknown: "it calls the operator Foo of opset 17",
    _no_kernel: "no kernel on the processor for the operator Mod",
    _newer: "its opset 99 is newer",
    _newer_format: "IR version 99",
    _no_data: "in elsewhere.weights, which is not there",
    _short_data: "cut short, or is not of this model",
    _many_files: "lie in 2 files",
    _outside: "outside of its folder for its weights: ../secret",
    _absolute: "outside of its folder for its weights: /",
    _no_rank: "how many dimensions its input x has",
}


@pytest.mark.parametrize("make", WRONG)
def test_a_wrong_file_is_an_error_of_two_sentences(make: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path = make(tmp_path / "folder" / "m.onnx")
    with pytest.raises(ModelError, match=re.escape(WRONG[make])) as caught:
        runtime.describe(path)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_model_and_its_weights_may_be_links_into_one_folder_and_no_other(tmp_path: Path) -> None:
    for name in ("blobs", "snapshot"):
        (tmp_path / name).mkdir()
    write_model(tmp_path / "blobs" / "m.onnx", ADD, X, Y, WEIGHT, external="m.onnx.data")
    for name in ("m.onnx", "m.onnx.data"):
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / "blobs" / name)
    assert runtime.describe(tmp_path / "snapshot" / "m.onnx").external_data
    (tmp_path / "secret").write_bytes(WEIGHT["w"].tobytes())
    (tmp_path / "snapshot" / "m.onnx.data").unlink()
    (tmp_path / "snapshot" / "m.onnx.data").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="outside of its folder"):
        runtime.describe(tmp_path / "snapshot" / "m.onnx")


@pytest.mark.parametrize("location", ["a\0b", "x" * 5000, "C:\\w", "sub/../../w", ""])
def test_no_name_of_a_file_of_weights_breaks_the_worker(location: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        runtime.describe(_outside(tmp_path / "m.onnx", location))


def test_a_file_outside_of_the_folder_is_not_even_loaded(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    ended = run_forked(_outside(tmp_path / "folder" / "m.onnx"), job())
    assert ended.error.kind == "model"
    assert "outside of its folder" in ended.error.message


def test_weights_in_their_own_file_belong_to_the_model(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", ADD, X, Y, WEIGHT, external="m.onnx.data")
    data = tmp_path / "m.onnx.data"
    assert runtime.describe(path).external_data
    model = runtime.load(path, job(), Files(model=str(path), data=str(data)))
    assert model.loaded.program_bytes == path.stat().st_size + data.stat().st_size
    x = torch.ones(2, 4)
    np.testing.assert_array_equal(model.execute(model.arrange((x,)))[0], x.numpy() + WEIGHT["w"])
    (tmp_path / "other.data").write_bytes(data.read_bytes())
    with pytest.raises(UsageError, match=r"takes its weights from m\.onnx\.data next to it"):
        runtime.load(path, job(), Files(model=str(path), data=str(tmp_path / "other.data")))


def test_texts_and_types_that_numpy_lacks_are_refused(tmp_path: Path) -> None:
    for number, word in ((TensorProto.STRING, "is a text"), (TensorProto.BFLOAT16, "is bfloat16")):
        infos = [[(name, number, [2])] for name in ("x", "y")]
        path = write_model(tmp_path / "m.onnx", [helper.make_node("Identity", ["x"], ["y"])], *infos)
        with pytest.raises(ModelError, match=word):
            loaded(path)


def test_what_a_model_raises_while_it_runs_is_one_sentence(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    path = write_model(tmp_path / "m.onnx", nodes, X, Y, {"shape": np.array([3, 5])})
    error = run_forked(path, job()).error
    assert error.kind == "runtime"
    assert "Reshape" in error.message
    assert "ONNXRuntimeError" not in error.message


def test_mutated_files_raise_nothing_but_errors_for_the_user(tmp_path: Path) -> None:
    content = write_language_model(tmp_path / "lm.onnx").read_bytes()
    path, source, refused = tmp_path / "m.onnx", random.Random(5), 0
    for _ in range(400):
        mutated = bytearray(content)
        for _ in range(source.choice((1, 1, 3, 20))):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        path.write_bytes(mutated[: source.choice((len(mutated), source.randrange(len(mutated))))])
        try:
            check_onnx(path, read_onnx(path))
        except HarnessError:
            refused += 1
    assert 50 < refused < 400


def test_a_worker_outlives_what_a_mutated_file_does(tmp_path: Path) -> None:
    content = write_language_model(tmp_path / "lm.onnx").read_bytes()
    path, source = tmp_path / "m.onnx", random.Random(7)
    for _ in range(8):
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
