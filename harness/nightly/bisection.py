"""Which of several versions of a file was the first that is slower than the good one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import HarnessError, ModelError
from harness.nightly.verdict import Verdict


class GoodVersionError(ModelError):
    """The good version cannot be measured, so that nothing can be set against it."""


@dataclass(frozen=True)
class Candidate:
    """A version: what it is called, a description of it, and the hash of its bytes."""

    label: str
    words: str
    sha256: str


@dataclass(frozen=True)
class Step:
    """One comparison with the good version; `slower` is None where it could not be measured or decided, and the verdict
    says which.
    """

    candidate: Candidate
    verdict: Verdict
    slower: bool | None


@dataclass(frozen=True)
class Bisection:
    """`first` is the first slower version, None where the last is not slower. `unsure` are versions between the last
    good and the first slower one that could not be measured or decided.
    """

    steps: tuple[Step, ...]
    first: Candidate | None
    unsure: tuple[Candidate, ...] = ()

    @property
    def bad_unmeasured(self) -> bool:
        """Whether there is no answer, since the last version could not be measured."""
        return self.first is None and bool(self.steps) and not self.steps[-1].verdict.processes


_SLOWER: dict[str | None, bool] = {"regression": True, "no regression": False}


def bisect(good: Candidate, later: Sequence[Candidate], measure: Callable[[Candidate], Verdict]) -> Bisection:
    """Search `later`, the versions after `good` in their order (at least one), by halves.

    Equal files are measured once, and the file of `good` not at all. `measure` sets a candidate against `good`; where
    it raises HarnessError the version is passed over. The answer is the first one if all after it are slower, too.
    Raises GoodVersionError where `measure` does.
    """
    steps: dict[str, Step] = {}

    def step(candidate: Candidate) -> bool | None:
        if candidate.sha256 == good.sha256:
            return False
        if candidate.sha256 not in steps:
            try:
                verdict = measure(candidate)
                slower = _SLOWER.get(verdict.decision)
            except GoodVersionError:
                raise
            except HarnessError as error:
                verdict, slower = Verdict(None, None, None, 0, error.message), None
            steps[candidate.sha256] = Step(candidate, verdict, slower)
        return steps[candidate.sha256].slower

    if not step(later[-1]):
        return Bisection(tuple(steps.values()), None)
    low, high = -1, len(later) - 1  # low is not slower, high is
    unsure: set[int] = set()
    while between := [number for number in range(low + 1, high) if number not in unsure]:
        middle = between[len(between) // 2]
        slower = step(later[middle])
        if slower is None:
            unsure.add(middle)
        elif slower:
            high = middle
        else:
            low = middle
    # Versions with the first one's very bytes that lie before it are slower as well.
    while high - 1 > low and later[high - 1].sha256 == later[high].sha256:
        high -= 1
    return Bisection(
        tuple(steps.values()), later[high], tuple(later[number] for number in sorted(unsure) if low < number < high)
    )
