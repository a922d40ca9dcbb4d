"""`harness run` with `.gguf` files: next to another format in one table, with llama.cpp's build, and what is printed
of those that are wrong.
"""

from __future__ import annotations

import pytest
from cli.driving import QUICK, Ended, Home
from models_on_disk import Models

GENERATE = ("--scenario", "generate", "--prompt-tokens", 3, "--new-tokens", 3)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def ran(workshop: Home, models: Models) -> Ended:
    """A `.pte`, two `.gguf`, one of an architecture that llama.cpp lacks and one that makes it abort."""
    pytest.importorskip("llama_cpp", reason="the extra `gguf` is not installed: llama.cpp takes minutes to compile")
    from gguf_on_disk import write_gpt2, write_llama

    folder = workshop.folder
    write_gpt2(folder / "own.gguf", kind="Q4_0")
    write_llama(folder / "llama.gguf")
    write_gpt2(folder / "acme.gguf", architecture="acme")
    write_gpt2(folder / "aborts.gguf", metadata={"gpt2.expert_count": 1 << 20})
    names = [models.lm, "own.gguf", "llama.gguf", "acme.gguf", "aborts.gguf"]
    given = [word for name in names for word in ("-m", name)]
    return workshop.harness("run", "-t", "x86", "-n", 1, "--no-memory", *GENERATE, *QUICK, *given)


def test_models_of_every_format_are_rows_of_one_table(ran: Ended, workshop: Home) -> None:
    assert ran.code == 1  # two failed
    ended = [row["model"] for row in workshop.rows() if row["measure"] == "latency" and row["status"] == "ok"]
    assert sorted(ended) == ["llama", "lm", "own"]
    assert "llama.cpp-build SSE3" in ran.out


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("acme", "it is of the architecture acme, which this llama.cpp does not have"),
        ("aborts", "The worker was killed by SIGABRT"),
    ],
)
def test_a_wrong_file_is_a_failed_row_and_one_line(ran: Ended, workshop: Home, model: str, words: str) -> None:
    (row,) = (row for row in workshop.rows() if row["model"] == model and row["status"] == "failed")
    assert words in row["error_message"]
    assert words in ran.err
    assert "Traceback" not in ran.err
