"""Which vector extensions a processor has, by the words of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.conditions import host
from harness.conditions.extensions import instruction_sets, vector_extensions
from harness.targets.transports.conditions import read_device
from harness.targets.transports.qemu import CPUS, Qemu

AVX512 = "avx2 avx512f avx512bw avx512dq avx512vl"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("flags\t\t: fpu sse4_2 avx", "none"),
        ("flags\t\t: fpu avx avx2 fma", "AVX2"),
        ("flags\t\t: avx2 avx_vnni", "AVX2, VNNI"),
        ("flags\t\t: avx2 avx512f avx512cd", "AVX2"),
        (f"flags\t\t: {AVX512}", "AVX2, AVX-512"),
        (f"flags\t\t: {AVX512} avx512_vnni", "AVX2, AVX-512, VNNI"),
        (f"flags\t\t: amx_bf16 {AVX512} avx512_vnni avx_vnni amx_tile amx_int8", "AVX2, AVX-512, VNNI, AMX"),
        ("flags\t\t: avx2 amx_tile", "AVX2"),
        ("flags\t\t: avx2x xavx2", "none"),
        ("Features\t: half thumb neon vfpv4", "NEON"),
        ("Features\t: fp asimd evtstrm crc32 cpuid", "NEON"),
        ("Features\t: fp asimd asimdhp asimddp", "NEON, dotprod"),
        ("Features\t: fp asimd asimddp sve i8mm bf16", "NEON, dotprod, i8mm"),
        ("model name\t: Fast\nvmx flags\t: avx2", None),
        ("", None),
    ],
)
def test_extensions_are_named_as_people_do(line: str, found: str | None) -> None:
    assert vector_extensions(f"processor\t: 0\n{line}\n") == found


def test_only_what_every_processor_has_counts() -> None:
    text = "Features\t: fp asimd asimddp i8mm\n\nFeatures\t: fp asimd asimddp\n"
    assert vector_extensions(text) == "NEON, dotprod"


def test_they_are_of_the_identity_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("model name\t: Fast\nflags\t: avx2 avx_vnni\n")
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "cpuinfo")
    found = {one.name: one for one in host.read_host()}
    assert (found["vector_extensions"].value, found["vector_extensions"].identity) == ("AVX2, VNNI", True)
    assert (found["cpu_model"].value, found["hypervisor"].value) == ("Fast", "no")
    (tmp_path / "cpuinfo").write_text("cpu\t: POWER9\n")
    found = {one.name: one for one in host.read_host()}
    assert found["vector_extensions"].value is None
    assert str(found["vector_extensions"].reason).endswith("cpuinfo names no extensions")


def test_a_device_and_an_emulated_processor_say_their_own() -> None:
    (of_device,) = (
        one for one in read_device("#cpuinfo\nFeatures\t: fp asimd i8mm\n") if one.name == "vector_extensions"
    )
    assert (of_device.value, of_device.identity) == ("NEON, i8mm", True)
    (unread,) = (one for one in read_device("#cpuinfo\n") if one.name == "vector_extensions")
    assert (unread.value, unread.reason) == (None, "/proc/cpuinfo names none")
    emulated = {
        name: next(one.value for one in Qemu(name, Path).describe() if one.name == "vector_extensions") for name in CPUS
    }
    assert emulated == {"cortex-a76": "NEON, dotprod", "cortex-a53": "NEON", "max": "NEON, dotprod, i8mm"}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (f"flags\t\t: {AVX512} avx512_vnni fma", "avx2 fma avx512f avx512_vnni"),
        ("flags\t\t: avx2 avx_vnni", "avx2 avx_vnni"),
        ("flags\t\t: avx2 amx_tile amx_int8", "avx2 amx_tile amx_int8"),
        ("flags\t\t: sse2", "none"),
        ("Features\t: fp asimd asimddp sve i8mm", "neon dotprod i8mm sve"),
        ("Features\t: half thumb neon", "neon"),
        ("model name\t: Fast", None),
    ],
)
def test_instruction_sets_tell_one_vnni_from_the_other(line: str, named: str | None) -> None:
    assert instruction_sets(f"processor\t: 0\n{line}\n") == named
