"""What the rows of an ablation come to, in the form of "LLM in a flash", table 3: DRAM, bytes from flash a token,
throughput, I/O latency.

One value per round, the median over the tokens after the window has filled; the interval is Student's t over rounds,
each of which stands where a process does elsewhere. A round counts only if the kernel fetched what was asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from harness.flash.ablation.rounds import Row
from harness.flash.io.proof import Proof, prove
from harness.statistics.ratio import Ratio, paired_ratio
from harness.statistics.summary import Estimate, log_mean


@dataclass(frozen=True)
class Summary:
    """A policy: bytes in DRAM, mean bytes asked of flash a token, the share of active neurons that were in DRAM (None
    where none was active), and estimates in nanoseconds per token and bytes per second of reading. `io` is what a token
    waits for reads; `reader` is how long these take, of which a pipeline hides a part. `speed_up` is how many times
    less a token waits than under the first policy.

    Estimates are None where no valid round has a positive value; `proofs` [rounds] say which are valid, and why not.
    `unmeasured` names those estimates that nobody tried to get. `peer_ratio` is the throughput of reads of this size
    and depth over that of fio's, None where fio was not asked.
    """

    policy: str
    dram_bytes: int
    flash_bytes: float
    hit_rate: float | None
    throughput: Estimate | None
    io: Estimate | None
    reader: Estimate | None
    mem: Estimate | None
    compute: Estimate | None
    token: Estimate | None
    speed_up: Ratio | None
    proofs: tuple[Proof, ...]
    unmeasured: tuple[str, ...] = ()
    peer_ratio: float | None = None


def summarise(rows: Sequence[Row], window: int) -> list[Summary]:
    """A summary a policy, in the order of their first rows. The first `window` tokens of each round are left out, but
    their bytes must be proved too. Raises ValueError for a round with no token after them.
    """
    by_policy: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_policy[row.policy][row.round].append(row)
    first: dict[int, float] | None = None
    summaries = []
    for policy, rounds in by_policy.items():
        proofs = {number: _proof(tokens) for number, tokens in rounds.items()}
        steady = {number: [row for row in tokens if row.token >= window] for number, tokens in rounds.items()}
        if not all(steady.values()):
            raise ValueError("a round has no token after the window has filled")
        valid = {number: tokens for number, tokens in steady.items() if proofs[number].valid}
        reading = {number: [row for row in tokens if row.cost.reads] for number, tokens in valid.items()}
        waits = _per_round(valid, lambda row: row.cost.wait_ns)
        first = waits if first is None else first
        every = [row for tokens in steady.values() for row in tokens]
        active = sum(row.active for row in every)
        summaries.append(
            Summary(
                policy=policy,
                dram_bytes=every[0].resident_bytes,
                flash_bytes=sum(row.cost.asked_bytes for row in every) / len(every),
                hit_rate=sum(row.cost.hits for row in every) / active if active else None,
                throughput=_estimate(reading, lambda row: row.cost.asked_bytes / row.cost.io_ns * 1e9),
                io=_estimate(valid, lambda row: row.cost.wait_ns),
                reader=_estimate(valid, lambda row: row.cost.io_ns),
                mem=_estimate(valid, lambda row: row.cost.mem_ns),
                compute=_estimate(valid, lambda row: row.cost.compute_ns),
                token=_estimate(valid, lambda row: row.cost.wait_ns + row.cost.mem_ns + row.cost.compute_ns),
                speed_up=paired_ratio(first, waits) if set(first) & set(waits) else None,
                proofs=tuple(proofs[number] for number in sorted(proofs)),
            )
        )
    return summaries


def _proof(tokens: Sequence[Row]) -> Proof:
    """Of a whole round: what the kernel counts lags behind by no more than a page or two."""
    counts = [row.read_bytes for row in tokens if row.read_bytes is not None]
    asked = sum(row.cost.asked_bytes for row in tokens)
    return prove(0, sum(counts) if len(counts) == len(tokens) else None, asked)


def _per_round(rounds: dict[int, list[Row]], value: Callable[[Row], float]) -> dict[int, float]:
    """The medians that are positive: of a round in which nothing was read there is none."""
    medians = {number: median(map(value, tokens)) for number, tokens in rounds.items() if tokens}
    return {number: figure for number, figure in medians.items() if figure > 0}


def _estimate(rounds: dict[int, list[Row]], value: Callable[[Row], float]) -> Estimate | None:
    values = _per_round(rounds, value)
    return log_mean([*values.values()]) if values else None
