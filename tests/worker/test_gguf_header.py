"""The header of a GGUF file: what is read of it, and headers that are wrong. llama.cpp need not be installed."""

from __future__ import annotations

import os
import random
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from gguf_on_disk import edited, write_gpt2, write_llama

from harness.errors import HarnessError, ModelError
from harness.worker.runtimes import llama_cpp as runtime
from harness.worker.runtimes.gguf_file import read_gguf


def test_what_a_header_says_is_read(tmp_path: Path) -> None:
    file = read_gguf(write_llama(tmp_path / "llama.gguf"))
    assert (file.architecture, file.context, file.vocabulary) == ("llama", 64, 31)
    assert file.lengths["tokenizer.ggml.tokens"] == 31
    assert file.types == {"F32": 12}
    assert file.shapes["blk.0.ffn_up.weight"] == (64, 96)
    assert file.metadata["general.name"] == "tiny"
    assert "tokenizer.chat_template" not in file.metadata  # a long text


def test_types_of_tensors_are_counted(tmp_path: Path) -> None:
    assert read_gguf(write_gpt2(tmp_path / "lm.gguf", kind="Q4_0")).types == {"F32": 20, "Q4_0": 8}


def _written(**options: Any) -> Any:
    return lambda path: write_gpt2(path, **options)


def _cut(share: float) -> Any:
    def make(path: Path) -> None:
        content = write_gpt2(path).read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return make


def _version(number: int) -> Any:
    def make(path: Path) -> None:
        content = write_gpt2(path).read_bytes()
        path.write_bytes(content[:4] + struct.pack("<I", number) + content[8:])

    return make


def _huge(path: Path) -> None:
    write_gpt2(path)
    os.truncate(path, 1 << 43)  # a file with a hole takes no room


WRONG = {
    "split": (_written(metadata={"split.count": 3}), "is one of 3 files of a model"),
    "adapter": (_written(metadata={"general.type": "adapter"}), "is no model by itself, but of type adapter"),
    "embeddings": (_written(metadata={"gpt2.attention.causal": False}), "generates no text: every token"),
    "no table": (_written(leave_out=("token_embd.weight",)), "holds no language model"),
    "vocabulary": (edited("gpt2.vocab_size", 77), "it has 77 tokens, and 29 in their table"),
    "layers": (edited("gpt2.block_count", 0), "the number of layers is 0"),
    "epsilon": (edited("gpt2.attention.layer_norm_epsilon", 0x7FC00000), "layer_norm_epsilon is nan"),
    "context": (_written(leave_out=("context_length",)), "the number of tokens of a sequence is None"),
    "header cut": (_cut(0.001), "its header cannot be read"),
    "version": (_version(1), "is of GGUF version 1"),
    "big-endian": (_version(3 << 24), "is for a big-endian processor"),
    "huge": (_huge, "this machine"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_header_is_an_error_of_two_sentences(name: str, tmp_path: Path) -> None:
    make, words = WRONG[name]
    make(path := tmp_path / "m.gguf")
    with pytest.raises(ModelError, match=re.escape(words)) as caught:
        runtime.prepare(path)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_headers_with_other_bytes_raise_nothing_but_errors_for_the_user(tmp_path: Path) -> None:
    content = write_llama(tmp_path / "lm.gguf").read_bytes()[:4000]
    path, source, refused = tmp_path / "m.gguf", random.Random(5), 0
    for _ in range(400):
        mutated = bytearray(content)
        for _ in range(source.choice((1, 1, 3, 20))):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        path.write_bytes(mutated[: source.choice((len(mutated), source.randrange(len(mutated))))])
        try:
            read_gguf(path)
        except HarnessError:
            refused += 1
    assert 50 < refused < 400
