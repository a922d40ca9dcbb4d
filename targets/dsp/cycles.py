"""What an operator costs: overhead for each element that it computes, and its products at the rate of their vectors.

`cycles = overhead + MACs / rate(class, shape)`, where the rate falls for sums that do not fill their last vector. What
the runtime does between operators and waits for flash are not in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from harness.targets.dsp.profile import EVIDENCE, Profile


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an operator has to do: `outputs` elements of a class (`kind`), each of `inner` products, after `gathered`
    bytes were copied to lie in order. `macs` are those of the operator's definition. `weight_bytes` lie in flash,
    `activation_bytes` go in and out of SRAM. `float32`: it was not quantised.
    """

    operator: str
    kind: str
    outputs: int
    inner: int = 0
    gathered: int = 0
    macs: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0
    float32: bool = False


def cycles(work: Work, profile: Profile) -> float:
    """Cycles of one call of an operator."""
    rate = profile.classes[work.kind]
    return work.gathered * rate.gather + work.outputs * (rate.output + rate.vector * ceil(work.inner / rate.lanes))


def by_evidence(works: Iterable[Work], profile: Profile) -> dict[str, float]:
    """Cycles by what their rates rest on."""
    spent = dict.fromkeys(EVIDENCE, 0.0)
    for work in works:
        spent[profile.classes[work.kind].evidence] += cycles(work, profile)
    return spent
