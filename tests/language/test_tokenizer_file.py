"""Tokenizers of all three kinds, made here by the libraries that users make them with, and read from their files."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.language.tokenizer_file import read_tokenizer, tokenizer_beside

TEXT = "To be, or not to be: that is the question.\nWhether 'tis nobler in the mind to suffer\n" * 40


def hugging_face(path: Path) -> Path:
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([TEXT], trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made.save(str(path))
    return path


def sentence_piece(path: Path) -> Path:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines()),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        byte_fallback=False,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    return path


def tiktoken(path: Path, more: tuple[bytes, ...] = (b"to", b" be")) -> Path:
    """As Llama 3's file: the bytes, and some longer tokens."""
    tokens = [*(bytes([byte]) for byte in range(256)), *more]
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)))
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "tokenizers": hugging_face,
    "sentencepiece": sentence_piece,
    "tiktoken": tiktoken,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {name: make(folder / name) for name, make in MAKERS.items()}


@pytest.mark.parametrize("library", MAKERS)
def test_the_content_says_which_library_reads_a_file(files: dict[str, Path], library: str) -> None:
    tokenizer = read_tokenizer(files[library])
    assert tokenizer.library == library
    tokens = tokenizer.encode("to be or not to be")
    assert tokens.dtype == np.int64
    assert 0 <= tokens.min() <= tokens.max() < tokenizer.size
    assert tokenizer.decode(tokens) == "to be or not to be"


@pytest.mark.parametrize("library", MAKERS)
def test_a_prompt_begins_as_the_models_users_begin_it(files: dict[str, Path], library: str) -> None:
    import sentencepiece

    tokenizer = read_tokenizer(files[library])
    begin, *rest = tokenizer.encode_prompt("to be").tolist()
    assert rest == tokenizer.encode("to be").tolist()
    expected = {
        "tokenizers": 0,
        "sentencepiece": sentencepiece.SentencePieceProcessor(model_file=str(files["sentencepiece"])).bos_id(),
        "tiktoken": 258,  # the first of Llama 3's special tokens, behind the others
    }
    assert begin == expected[library]
    assert all(end >= 0 for end in tokenizer.ends)
    assert tokenizer.ends


@given(st.text(max_size=30))
def test_byte_tokens_say_every_text(files: dict[str, Path], text: str) -> None:
    for library in ("tokenizers", "tiktoken"):
        tokenizer = read_tokenizer(files[library])
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_special_token_in_a_text_is_text(files: dict[str, Path]) -> None:
    """Who writes a prompt is not the one who ends the model's answers."""
    tokenizer = read_tokenizer(files["tiktoken"])
    assert set(tokenizer.encode("<|end_of_text|>").tolist()).isdisjoint(tokenizer.ends)


def test_the_end_is_the_one_that_the_config_beside_names(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "tokenizer.json")
    assert read_tokenizer(path).ends == (1,), "by its usual name"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<s>"}}))
    assert read_tokenizer(path).ends == (0,)


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    """tiktoken's own reader gives what lay at that path when it first read it."""
    path = tmp_path / "tokenizer.model"
    first = read_tokenizer(tiktoken(path, (b"to",)))
    second = read_tokenizer(tiktoken(path, (b"be", b"or")))
    assert second.size == first.size + 1
    assert second.sha256 != first.sha256
    assert second.encode("be").tolist() == [256]


@pytest.mark.parametrize("library", MAKERS)
def test_a_damaged_file_is_refused_or_read(files: dict[str, Path], library: str, tmp_path: Path) -> None:
    content, path = files[library].read_bytes(), tmp_path / "damaged"
    for number in range(60):
        source, mutated = random.Random(number), bytearray(content)
        for _ in range(source.choice((1, 3, 20))):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        path.write_bytes(mutated[: source.choice((len(mutated), source.randrange(len(mutated))))])
        try:
            refused = read_tokenizer(path).size < 1
        except DataError as error:
            refused = "\n" in error.message or not error.message.endswith(".") or not error.hint
        assert not refused


@pytest.mark.parametrize("content", [b"", b"not a tokenizer", b'{"a": 1}', b"AAAA x\n", b"\x00" * 100])
def test_what_is_no_tokenizer_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.model") as caught:
        read_tokenizer(path)
    assert "tokenizer.json" in caught.value.hint


def test_a_tokenizer_is_found_by_its_name_and_the_models_own_first(tmp_path: Path) -> None:
    model = tmp_path / "llama.pte"
    assert tokenizer_beside(model) is None
    for name in ("tokenizer.model", "tokenizer.json", "llama.tokenizer.json"):
        (tmp_path / name).touch()
        assert tokenizer_beside(model) == tmp_path / name
