"""`.tflite` files: what they say of themselves, language models with their cache, and files that are wrong."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from worker.driving import QUICK, job, run, run_forked

from harness.errors import HarnessError, ModelError, UsageError
from harness.job import Files
from harness.model_description import is_language_model, longest_prompt
from harness.protocol import Describe, Loaded, Scalar
from harness.runtime import LoadedModel
from harness.worker.generation import GreedyTokens, LanguageInputs, random_prompt
from harness.worker.runtimes import litert as runtime
from harness.worker.runtimes.litert_file import check_litert, read_litert

pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")

from ai_edge_litert import schema_py_generated as schema
from litert_on_disk import (
    CONTEXT,
    LONGEST,
    VOCABULARY,
    Graph,
    dense,
    language_logits,
    write_deep,
    write_language_model,
    write_model,
    write_one,
)

FORMS = ("picked", "all", "none")


def loaded(path: Path, **fields: Any) -> LoadedModel:
    return runtime.load(path, job(**fields), Files(model=str(path)))


def run_once(model: LoadedModel, *inputs: torch.Tensor) -> list[np.ndarray]:
    return list(model.execute(model.arrange(inputs)))


def adding(sizes: tuple[int, ...] = (-1, 4)) -> Graph:
    """x + y, and x twice."""
    graph, options = Graph(), schema.AddOptionsT()
    x, y = graph.input("x", sizes), graph.input("y", sizes)
    graph.call("ADD", [x, y], "sum", sizes, options)
    graph.call("ADD", [x, x], "twice", sizes, options)
    return graph.output("twice", "sum")


def test_inputs_and_outputs_of_a_file_without_signatures_are_a_forward(tmp_path: Path) -> None:
    description = runtime.describe(write_model(tmp_path / "m.tflite", adding(), metadata={"get_n": "12", "other": "x"}))
    (method,) = description.methods
    assert (method["name"], description.format, description.metadata) == ("forward", "tflite", {"get_n": 12})
    assert [(each["name"], each["dtype"], each["sizes"]) for each in method["inputs"]] == [
        ("x", "float32", [1, 4]),
        ("y", "float32", [1, 4]),
    ]
    assert [each["dynamic"] for each in method["inputs"]] == [["batch", None]] * 2
    assert [each["name"] for each in method["outputs"]] == ["twice", "sum"]


def test_each_signature_is_a_method_and_runs_its_own_subgraph(tmp_path: Path) -> None:
    add, halve = adding(), Graph()
    dense(halve, halve.input("x", [2, 2]), np.eye(2) / 2, "half", [2, 2])
    path = write_model(tmp_path / "m.tflite", add, halve.output("half"), signatures={"add": add, "halve": halve})
    assert [method["name"] for method in runtime.describe(path).methods] == ["add", "halve"]
    x, y = torch.ones(3, 4), torch.full((3, 4), 5.0)
    twice, total = run_once(loaded(path, method="add"), x, y)
    assert (float(twice[0, 0]), float(total[2, 3]), total.shape) == (2.0, 6.0, (3, 4))
    assert run_once(loaded(path, method="halve"), torch.ones(2, 2))[0].tolist() == [[0.5, 0.5], [0.5, 0.5]]
    with pytest.raises(UsageError, match="several methods and none is named forward: add, halve"):
        loaded(path)


def test_sizes_that_vary_are_set_before_and_while_it_runs(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.tflite", adding())
    model = loaded(path, input_sizes=((5, 4), (5, 4)))
    for rows in (5, 2, 7):
        x = torch.arange(rows * 4.0).reshape(rows, 4)
        np.testing.assert_array_equal(run_once(model, x, x)[1], 2 * x.numpy())
    with pytest.raises(ModelError, match="cannot prepare"):  # the second size is fixed
        run_once(model, torch.ones(2, 3), torch.ones(2, 3))


def test_an_index_says_how_many_rows_its_tables_have(tmp_path: Path) -> None:
    graph = Graph()
    ids = graph.input("ids", [3], np.int32)
    for name, rows in (("few", 10), ("many", 30)):
        options = schema.GatherOptionsT()
        graph.call(
            "GATHER", [graph.constant(f"{name}_table", np.zeros((rows, 2), np.float32)), ids], name, [3, 2], options
        )
    (method,) = runtime.describe(write_model(tmp_path / "m.tflite", graph.output("few", "many"))).methods
    assert (method["inputs"][0]["limit"], method["inputs"][0]["longest"]) == (10, 30)


@pytest.mark.parametrize("form", FORMS)
def test_a_language_model_keeps_its_cache(form: str, tmp_path: Path) -> None:
    model = loaded(write_language_model(tmp_path / "lm.tflite", form))
    assert is_language_model(model.description)
    assert longest_prompt(model.description) == CONTEXT
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, (CONTEXT, CONTEXT)).astype(np.int32)
    inputs = LanguageInputs(model.description, model.arrange)
    for prompt, text in zip(range(1, CONTEXT + 1), tokens, strict=True):  # a sequence must not see the one before
        ids = torch.from_numpy(text)[None]
        rows = [model.execute(inputs.at(ids[:, :prompt], 0))[0][0]]
        for place in range(prompt, CONTEXT):
            rows.append(model.execute(inputs.at(ids[:, place : place + 1], place))[0][0])
        np.testing.assert_allclose(np.stack(rows), language_logits(text)[prompt - 1 :], rtol=1e-4, atol=1e-4)


def test_a_prompt_goes_in_in_parts_and_by_as_few_calls_as_can_be(tmp_path: Path) -> None:
    parts = {}
    for form in ("picked", "none"):
        model = loaded(write_language_model(tmp_path / f"{form}.tflite", form))
        inputs = LanguageInputs(model.description, model.arrange)
        for count in (1, 3, 4, 5, 9):
            calls = inputs.at(torch.zeros(1, count, dtype=torch.int32), 0)
            parts[form, count] = [call.signature.name for call in calls]
    many = f"prefill_{LONGEST}"
    assert parts["picked", 1] == parts["none", 1] == ["decode"]
    assert parts["picked", 3] == parts["picked", 4] == [many]
    assert parts["none", 3] == parts["none", 4] == parts["none", 5] == [many, "decode"]
    assert parts["picked", 5] == [many, "decode"]
    assert parts["picked", 9] == [many, many, "decode"]


def test_a_step_reads_the_token_that_was_chosen_last(tmp_path: Path) -> None:
    """Steps are made beforehand and share the memory of their token."""
    model = loaded(write_language_model(tmp_path / "lm.tflite"))
    vocabulary = model.description.metadata["get_vocab_size"]
    tokens = GreedyTokens(model.description, random_prompt(3, vocabulary), 4, model.arrange)
    given = tokens.prompt()[0].feed["tokens"][0, :3].tolist()
    outputs = model.execute(tokens.prompt())
    for position in range(3, 7):
        inputs = tokens.choose(outputs, position)
        given.append(int(language_logits(given)[-1].argmax()))
        assert int(inputs[0].feed["tokens"][0, 0]) == given[-1]
        outputs = model.execute(inputs)


def test_metadata_say_how_long_a_text_may_be(tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "lm.tflite", metadata={"get_max_seq_len": "9"})
    assert runtime.describe(path).metadata["get_max_seq_len"] == longest_prompt(runtime.describe(path)) == 9


def test_signatures_that_are_no_language_model_are_methods(tmp_path: Path) -> None:
    """A cache that does not come back in the same sizes is none."""
    decode = adding()
    path = write_model(tmp_path / "m.tflite", decode, signatures={"decode": decode})
    assert not is_language_model(runtime.describe(path))
    assert [method["name"] for method in runtime.describe(path).methods] == ["decode"]


def test_generation_and_loss_through_a_worker(tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "lm.tflite")
    ended = run_forked(path, job("generate", prompt_tokens=4, new_tokens=5))
    assert len(ended.samples("decode").start_ns) == QUICK["min_iterations"] * 4
    text = np.random.default_rng(2).integers(0, VOCABULARY, 3 * CONTEXT + 1)
    np.save(tmp_path / "text.npy", text)
    ended = run_forked(path, job(measure="quality"), tokens=tmp_path / "text.npy")
    loss = next(scalar.value for scalar in ended.all(Scalar) if scalar.name == "loss_nats")
    windows = [text[begin : begin + CONTEXT + 1] for begin in range(0, 3 * CONTEXT, CONTEXT)]
    logits = np.concatenate([language_logits(window[:-1]) for window in windows])
    wanted = torch.from_numpy(np.concatenate([window[1:] for window in windows]))
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), wanted)), rel=1e-4)


def test_operators_are_not_timed_and_that_is_said(tmp_path: Path) -> None:
    error = run_forked(write_one(tmp_path / "m.tflite", "RELU"), job(measure="profile")).error
    assert (error.kind, error.message) == ("usage", "litert does not time operators.")


def test_settings_say_what_it_really_runs_with(tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "lm.tflite")
    by_default = run_forked(path, job("generate", threads=2)).one(Loaded).settings
    assert by_default["threads"] == "2"
    parts = re.fullmatch(r"XNNPACK in (\d+) parts, (\d+) of (\d+) operators outside", by_default["delegated"])
    assert parts is not None, by_default
    count, outside, total = map(int, parts.groups())
    assert count >= 1
    assert 0 < outside < total, "XNNPACK has no operator that writes a slice"
    without = loaded(path, runtime_options=(("delegate", "none"),))
    assert without.loaded.settings["delegated"] == "none"
    with pytest.raises(UsageError, match="delegate cannot be 'gpu'"):
        loaded(path, runtime_options=(("delegate", "gpu"),))


def test_all_operators_of_a_dense_model_are_the_delegates(tmp_path: Path) -> None:
    settings = loaded(write_deep(tmp_path / "deep.tflite")).loaded.settings
    assert settings["delegated"] == "XNNPACK in 1 parts, 0 of 4 operators outside"


# The processor time, in milliseconds, that the process spends in a fiftieth of a second after a run; the least of ten.
_IDLE = """
import sys, time, torch
from pathlib import Path
from harness.job import Files, Job
from harness.worker.runtimes import litert
path = Path(sys.argv[1])
job = Job(target="x86", model="m", model_sha256="0" * 64, scenario="single-stream", threads=2)
model = litert.load(path, job, Files(model=str(path)))
inputs, spent = model.arrange((torch.ones(64, 512),)), []
for _ in range(10):
    model.execute(inputs)
    before = time.process_time()
    time.sleep(0.02)
    spent.append(1000 * (time.process_time() - before))
print(min(spent))
"""


def test_no_thread_spins_between_runs(tmp_path: Path) -> None:
    path = write_deep(tmp_path / "deep.tflite")
    ended = subprocess.run([sys.executable, "-P", "-c", _IDLE, path], capture_output=True, text=True, check=True)
    assert float(ended.stdout) < 10, "a thread that spins would have spent 20"


# What is wrong with a file, and what the error says of it.
def _flex(path: Path) -> Path:
    return write_one(path, "FlexErf")


def _custom(path: Path) -> Path:
    return write_one(path, "Acme")


def _newer(path: Path) -> Path:
    model = schema.ModelT.InitFromPackedBuf(write_one(path, "RELU").read_bytes(), 0)
    model.operatorCodes[0].version = 99
    return _packed(path, model)


def _unknown(path: Path) -> Path:
    model = schema.ModelT.InitFromPackedBuf(write_one(path, "RELU").read_bytes(), 0)
    model.operatorCodes[0].builtinCode = 9999
    return _packed(path, model)


def _other_files(path: Path) -> Path:
    model = schema.ModelT.InitFromPackedBuf(write_one(path, "RELU").read_bytes(), 0)
    group = schema.ExternalBufferGroupT()
    group.name = "../secret"
    model.externalBufferGroups = [group]
    return _packed(path, model)


def _packed(path: Path, model: Any) -> Path:
    import flatbuffers

    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(builder.Output())
    return path


def _empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _other_format(path: Path) -> Path:
    path.write_bytes(b"\x00" * 4 + b"ET12" + b"\x00" * 100)
    return path


WRONG = {
    _flex: "calls TensorFlow's own operators (FlexErf), which need the Flex delegate",
    _custom: "calls Acme, which LiteRT does not have",
    _newer: "it calls the operator RELU in version 99, which this LiteRT does not have",
    _unknown: "it calls operator number 9999, which this LiteRT does not have",
    _other_files: "lie in other files",
    _empty: "is empty",
    _other_format: "is not a LiteRT model",
}


@pytest.mark.parametrize("make", WRONG)
def test_a_wrong_file_is_an_error_of_two_sentences(make: Any, tmp_path: Path) -> None:
    path = make(tmp_path / "m.tflite")
    with pytest.raises(ModelError, match=re.escape(WRONG[make])) as caught:
        runtime.describe(path)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("make", [_flex, _custom, _other_files])
def test_what_must_not_be_opened_is_refused_before_it_is(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_open", lambda *_, **__: pytest.fail("it was opened"))
    for look in (runtime.prepare, runtime.describe):
        with pytest.raises(ModelError):
            look(make(tmp_path / "m.tflite"))


def test_texts_and_types_that_numpy_lacks_are_refused(tmp_path: Path) -> None:
    kinds = {schema.TensorType.STRING: "is a text", schema.TensorType.BFLOAT16: "is bfloat16"}
    for number, word in kinds.items():
        graph = Graph()
        graph.inputs.append("x")
        graph.tensors["x"] = ([2], np.float32)
        path = write_model(tmp_path / "m.tflite", graph.output("x"))
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        model.subgraphs[0].tensors[0].type = number
        with pytest.raises(ModelError, match=word):
            loaded(_packed(path, model))


def test_inputs_of_another_dtype_are_refused(tmp_path: Path) -> None:
    path = write_one(tmp_path / "m.tflite", "RELU", (2, 4))
    np.savez(tmp_path / "x.npz", x=np.ones((2, 4), np.int32))
    error = run_forked(path, job(inputs_sha256="0" * 64), inputs=tmp_path / "x.npz").error
    assert error.kind == "usage"
    assert "int32" in error.message


def test_what_a_model_raises_while_it_runs_is_one_sentence(tmp_path: Path) -> None:
    graph = Graph()
    options = schema.GatherOptionsT()
    table = graph.constant("table", np.zeros((4, 2), np.float32))
    graph.call("GATHER", [table, graph.input("ids", [3], np.int32)], "y", [3, 2], options)
    np.savez(tmp_path / "ids.npz", ids=np.full(3, 99, np.int32))
    path = write_model(tmp_path / "m.tflite", graph.output("y"))
    error = run_forked(path, job(inputs_sha256="0" * 64), inputs=tmp_path / "ids.npz").error
    assert error.kind == "runtime"
    assert "GATHER" in error.message
    assert "out of bounds" in error.message


def test_what_libraries_print_does_not_break_the_stream(tmp_path: Path) -> None:
    """LiteRT writes a line when it makes its delegate, to the file descriptor."""
    ended = run(write_deep(tmp_path / "m.tflite"), job())
    assert ended.order[-1] == "done"
    assert "XNNPACK delegate" in ended.stderr


def _mutations(content: bytes, count: int, seed: int, least: int = 1) -> list[bytes]:
    source, made = random.Random(seed), []
    for _ in range(count):
        mutated = bytearray(content)
        for _ in range(source.choice((least, 3, 20))):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        made.append(bytes(mutated[: source.choice((len(mutated), len(mutated), source.randrange(len(mutated))))]))
    return made


def _refused(path: Path) -> bool:
    """Whether harness itself refuses a file; anything but an error for the user is passed on."""
    try:
        check_litert(path, read_litert(path))
    except HarnessError:
        return True
    return False


def test_mutated_files_raise_nothing_but_errors_for_the_user(tmp_path: Path) -> None:
    content = write_language_model(tmp_path / "lm.tflite").read_bytes()
    path, refused = tmp_path / "m.tflite", 0
    for mutated in _mutations(content, 400, seed=5):
        path.write_bytes(mutated)
        refused += _refused(path)
    assert 50 < refused < 400


def test_no_mutated_file_breaks_more_than_its_worker(tmp_path: Path) -> None:
    """Of 200 those that harness lets through, each in a worker of its own: it says `done` or one error, or it ends by a
    signal, which is a failed run.
    """
    content = write_language_model(tmp_path / "lm.tflite").read_bytes()
    ended_by, path = {"done": 0, "error": 0, "signal": 0}, tmp_path / "m.tflite"
    for mutated in _mutations(content, 200, seed=7):
        path.write_bytes(mutated)
        if _refused(path):
            continue
        ended = run_forked(path, job("generate", prompt_tokens=2, new_tokens=2))
        if ended.code < 0:
            ended_by["signal"] += 1
            continue
        ended_by[ended.order[-1]] += 1
        if ended.order[-1] == "error":
            assert ended.error.message
    assert ended_by["done"] > 10
    assert ended_by["error"] > 10
    assert ended_by["signal"] < 10


def test_a_description_needs_no_weights_and_no_threads(tmp_path: Path) -> None:
    described = run_forked(write_deep(tmp_path / "m.tflite"), job("describe", "describe")).one(Describe)
    assert described.methods[0]["inputs"][0]["sizes"] == [64, 512]
