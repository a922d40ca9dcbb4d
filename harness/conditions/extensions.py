"""The vector extensions of a processor that decide which kernels a runtime picks, out of /proc/cpuinfo."""

from __future__ import annotations

# What people call them, and the kernel's words of which one will do. AVX-512 is only whole with these four: runtimes
# take its kernels where a processor has all of them.
_X86 = {
    "AVX2": ({"avx2"},),
    "AVX-512": ({"avx512f", "avx512bw", "avx512dq", "avx512vl"},),
    "VNNI": ({"avx512_vnni"}, {"avx_vnni"}),
    "AMX": ({"amx_tile", "amx_int8"},),
}
# What decides kernels beyond these names, in the kernel's own words: two that people call by one name have two here.
_SETS = {
    "flags": (
        "avx2",
        "fma",
        "avx512f",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "avx_vnni",
        "avx_vnni_int8",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
    ),
    "Features": ("neon", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "sme", "sme2"),
}
# Arm's own names for what the kernel calls otherwise.
_NAMES = {"asimd": "neon", "asimddp": "dotprod", "asimdhp": "fp16"}
_ARM = {"NEON": ({"asimd"}, {"neon"}), "dotprod": ({"asimddp"},), "i8mm": ({"i8mm"},)}


def vector_extensions(cpuinfo: str) -> str | None:
    """Such as "AVX2, AVX-512, VNNI": those that every processor has, "none" where they have none of those looked for.
    None where the text says nothing of it.
    """
    if (common := _common(cpuinfo)) is None:
        return None
    known = _X86 if common[0] == "flags" else _ARM
    words_of_all = common[1]
    names = [name for name, ways in known.items() if any(way <= words_of_all for way in ways)]
    return ", ".join(names) or "none"


def instruction_sets(cpuinfo: str) -> str | None:
    """Such as "avx2 fma avx512f avx512_vnni" or "neon dotprod i8mm sve": finer than `vector_extensions`, of which a
    VNNI may be one of two. "none" where processors have none of those looked for; None where the text does not say.
    """
    if (common := _common(cpuinfo)) is None:
        return None
    return " ".join(_NAMES.get(word, word) for word in _SETS[common[0]] if word in common[1]) or "none"


def _common(cpuinfo: str) -> tuple[str, set[str]] | None:
    """What the list is called, and the words that every processor has."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    lists = [(key.strip(), set(value.split())) for key, _, value in lines if key.strip() in ("flags", "Features")]
    return (lists[0][0], set.intersection(*(words for _, words in lists))) if lists else None
