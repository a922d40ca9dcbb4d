"""`harness flash`, as a user's shell runs it. No assertion is about how fast the disk at hand is."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest
from cli.driving import Home

from harness.flash.ablation.trace import Trace, save, synthetic
from harness.flash.io.layout import NeuronFile

SMALL = ("--shape", "64x256x2")
MIB = 2**20


@pytest.fixture
def direct(home: Home) -> Home:
    """A home on a file system that can be read past its cache."""
    probe = home.folder / "probe"
    probe.write_bytes(bytes(4096))
    try:
        os.close(os.open(probe, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        pytest.skip("the temporary folder has no O_DIRECT")
    if b"tmpfs" in (Path("/proc/self/mounts").read_bytes() if home.folder.is_relative_to("/dev/shm") else b""):
        pytest.skip("the temporary folder lies in memory")
    return home


def test_reproduce_prints_every_published_row_and_what_it_is(home: Home) -> None:
    text = home.harness("flash", "reproduce")
    assert text.code == 0, text.err
    for figure in ("2196 ms", "1090 ms", "738 ms", "164 ms", "87 ms", "Falcon 7B", "Persimmon 8B", "Phi-2", "Llama 2"):
        assert figure in text.out
    assert text.out.count("consistency check:") == 3
    assert text.out.count("prediction:") == 7
    rows = json.loads(home.harness("flash", "reproduce", "--json").out)["data"]["rows"]
    assert [round(100 * row["error"], 1) for row in rows[:5]] == [-0.7, 0.0, -2.4, -2.4, 2.2]


def test_a_neuron_file_of_given_dimensions(home: Home) -> None:
    ended = home.harness("flash", "write", "x.neurons", *SMALL, "--form", "plain", "--dtype", "int8", "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)["data"]
    file = NeuronFile.open(home.folder / "x.neurons")
    assert (file.form, file.dtype, file.shape.width, file.shape.neurons) == ("plain", "int8", 64, (256, 256))
    # The attention of two layers, 4 x 64 x 64 weights of a byte each.
    assert facts["rest_bytes"] == file.shape.rest_bytes == 2 * 4 * 64 * 64
    assert facts["bytes"] == (home.folder / "x.neurons").stat().st_size


def test_a_neuron_file_of_real_weights(home: Home) -> None:
    generator = np.random.default_rng(0)
    up, down = generator.normal(size=(32, 16)), generator.normal(size=(16, 32))
    np.savez(home.folder / "w.npz", **{"h.0.up": up, "h.0.down": down, "other": np.zeros(7)})
    names = ("--up", "h.{layer}.up", "--down", "h.{layer}.down")
    text = home.harness("flash", "write", "w.neurons", "--from", "w.npz", *names)
    assert text.code == 0, text.err
    assert "1 layer of width 16" in text.out
    file = NeuronFile.open(home.folder / "w.neurons")
    assert (file.shape.neurons, file.shape.rest_bytes) == ((32,), 14)
    content = (home.folder / "w.neurons").read_bytes()
    (offset,) = file.reads(0, np.array([5])).offsets
    for start, row in ((offset, up[5]), (offset + file.stride, down[:, 5])):
        assert np.array_equal(np.frombuffer(content[start : start + 2 * 16], np.float16), row.astype(np.float16))


def test_the_ablation_end_to_end(direct: Home) -> None:
    command = ("flash", "ablate", *SMALL, "--tokens", 8, "--rounds", 2, "--window", 3)
    ended = direct.harness(*command, "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)["data"]
    policies = {policy["policy"]: policy for policy in facts["policies"]}
    assert list(policies) == ["none", "hybrid", "+ predictor", "+ windowing", "+ bundling", "+ pipeline"]
    rows = facts["rows"]
    assert len(rows) == 6 * 8 * 2
    # 512 neurons of two rows of 512 bytes (their alignment), and 64 KiB of attention.
    assert policies["none"]["flash_bytes"] == 512 * 1024 + 2 * 4 * 64 * 64 * 2
    assert policies["hybrid"]["flash_bytes"] == 512 * 1024
    assert policies["+ bundling"]["flash_bytes"] < policies["+ predictor"]["flash_bytes"]
    assert "synthetic: 0.105 active, Zipf(1.2), persistence 0.5" in facts["trace"]
    assert any("times as fast as fio" in note or "fio is not installed" in note for note in facts["notes"])
    for policy in policies.values():
        for proof in policy["proofs"]:
            assert proof["valid"] == (
                proof["read_bytes"] is not None and proof["read_bytes"] >= 0.99 * proof["asked_bytes"]
            )
    assert not list(direct.folder.glob(".harness-flash*")), "scratch files are removed"


def test_the_table_of_an_ablation_of_files_and_a_recorded_trace(direct: Home) -> None:
    for form in ("plain", "bundled"):
        assert direct.harness("flash", "write", f"{form}.neurons", *SMALL, "--form", form).code == 0
    trace = synthetic([256, 256], 6, active_fraction=0.2, zipf_exponent=1.0, persistence=0.5, seed=1)
    save(direct.folder / "mine.npz", Trace(trace.active, trace.neurons, "recorded from my model"))
    files = ("plain.neurons", "bundled.neurons")
    common = ("--trace", "mine.npz", "--window", 2, "--rounds", 2, "--no-peer")
    ended = direct.harness("flash", "ablate", *files, *common)
    assert ended.code == 0, ended.err
    assert "recorded from my model" in ended.out
    assert "fio" not in ended.out
    for word in ("none", "hybrid", "+ predictor", "+ windowing", "+ bundling", "+ pipeline", "I/O latency", "hits"):
        assert word in ended.out
    only = direct.harness("flash", "ablate", "bundled.neurons", *common)
    assert "+ bundling" in only.out
    assert "+ windowing" not in only.out
    direct.harness("flash", "ablate", "plain.neurons", "plain.neurons", *common).explained(2, "another plain")
    direct.harness("flash", "ablate", *files, *common, "--dram-budget", "4kB").explained(2, "budget is 4000")


def test_a_baseline_through_the_page_cache_says_what_it_began_with(direct: Home) -> None:
    ended = direct.harness("flash", "ablate", *SMALL, "--reader", "mmap", "--tokens", 6, "--rounds", 1, "--window", 2)
    assert ended.code == 0, ended.err
    assert "page cache held" in ended.out
    # Just written, so all of it came from the cache: no row of it may look measured.
    assert "do not count" in ended.out
    assert "not measured" in ended.out


def test_a_projection_measures_nothing(home: Home) -> None:
    command = ("flash", "ablate", "--shape", "4096x2048", "--tokens", 8, "--device-model", "ufs4")
    ended = home.harness(*command)
    assert ended.code == 0, ended.err
    assert "PROJECTED" in ended.out
    assert "nothing was measured" in ended.out
    assert "Illustrative in ufs4" in ended.out
    facts = json.loads(home.harness(*command, "--json").out)["data"]
    assert facts["projected"] is True
    assert facts["profile"]["parameters"]["lane_bytes_per_s"]["value"] is None, "nobody knows it"
    assert facts["profile"]["parameters"]["reads_per_s"]["value"] > 0
    by_policy = {step["policy"]: step for step in facts["policies"]}
    rate = by_policy["+ predictor"]["flash_bytes"] / by_policy["+ predictor"]["io_ns"]
    assert rate == pytest.approx(1.374, rel=1e-3)  # GB/s: 1 / (1 / (271941 reads/s x 8192 bytes) + 1 / 3.588 GB/s)


def test_a_profile_of_the_disk_at_hand(direct: Home) -> None:
    (direct.folder / "data").write_bytes(np.random.default_rng(0).bytes(130 * MIB))
    ended = direct.harness("flash", "profile", "data", "--rounds", 1, "--output", "disk.toml", "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)["data"]
    assert len(facts["samples"]) == len(facts["profile"]["cells"]) == 32
    assert all(sample["proof"]["valid"] for sample in facts["samples"])
    saved = tomllib.loads((direct.folder / "disk.toml").read_text())
    assert saved["name"] == "disk"
    assert saved["held_out"] == facts["profile"]["held_out"]
    assert any("fio" in note for note in saved["notes"])
    assert {parameter["origin"] for parameter in saved["parameters"].values()} == {"measured"}
    projected = direct.harness("flash", "ablate", *SMALL, "--tokens", 7, "--device-model", "disk.toml")
    assert projected.code == 0, projected.err
    assert "disk: Measured by harness: threads, O_DIRECT, 1 alternated round" in projected.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("write", "x.neurons"), ("--shape", "--from")),
        (("write", "x.neurons", "--shape", "0x4"), ("'0x4'", "4096x16384x2")),
        (("write", "x.neurons", "--shape", "4x²"), ("4x²",)),
        (("write", "x.neurons", "--from", "model.bin"), ("model.bin", ".safetensors")),
        (("ablate", "--window", "0"), ("window of 0",)),
        (("ablate", "--window", "12"), ("window of 12", "text of 12")),
        (("ablate", "--dram-budget", "lots"), ("'lots'", "2MB")),
        (("ablate", "--device-model", "ufs9"), ("ufs9", "ufs4")),
        (("ablate", "--depth", "0"), ("0",)),
        (("profile", "absent"), ("absent does not exist",)),
        (("profile", ".", "--output", "no/such.toml"), ("no folder no",)),
        (("profile", "small"), ("small has 4096 bytes",)),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(home: Home, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    (home.folder / "small").write_bytes(bytes(4096))
    home.harness("flash", *arguments).explained(2, *words)
    assert not list(home.folder.glob("*.neurons"))
    assert not list(home.folder.glob("*.toml"))


def test_files_that_are_damaged(home: Home) -> None:
    (home.folder / "short.neurons").write_bytes(b"NEURONS\0")
    (home.folder / "noise.npz").write_bytes(b"PK\x03\x04noise")
    (home.folder / "dense.toml").write_text("name = 3")
    home.harness("flash", "ablate", "short.neurons").explained(1, "short.neurons")
    home.harness("flash", "ablate", "absent.neurons").explained(1, "absent.neurons")
    home.harness("flash", "ablate", *SMALL, "--trace", "noise.npz").explained(1, "noise.npz")
    home.harness("flash", "ablate", *SMALL, "--device-model", "dense.toml").explained(2, "dense.toml")


def test_a_model_without_sparsity_is_refused_with_its_sparsity(home: Home) -> None:
    dense = synthetic([256, 256], 8, active_fraction=0.9, zipf_exponent=0.0, persistence=0.5, seed=1)
    save(home.folder / "dense.npz", dense)
    home.harness("flash", "ablate", *SMALL, "--trace", "dense.npz").explained(1, "10.2 %", "ReLU")


def test_memory_is_refused(home: Home) -> None:
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no tmpfs here to refuse")
    home.harness("flash", "ablate", *SMALL, "--folder", "/dev/shm").explained(2, "in memory")
    home.harness("flash", "profile", "/dev/shm").explained(2, "in memory")
