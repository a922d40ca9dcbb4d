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
_ARM = {"NEON": ({"asimd"}, {"neon"}), "dotprod": ({"asimddp"},), "i8mm": ({"i8mm"},)}


def vector_extensions(cpuinfo: str) -> str | None:
    """Such as "AVX2, AVX-512, VNNI": those that every processor has, "none" where they have none of those looked for.
    None where the text says nothing of it.
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    lists = [(key.strip(), set(value.split())) for key, _, value in lines if key.strip() in ("flags", "Features")]
    if not lists:
        return None
    common = set.intersection(*(words for _, words in lists))
    known = _X86 if lists[0][0] == "flags" else _ARM
    names = [name for name, ways in known.items() if any(way <= common for way in ways)]
    return ", ".join(names) or "none"
