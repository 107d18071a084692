"""The proof: what kept a promise once is run again with fresh luck, the cheapest first, until one is sure to keep it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.seeds import Seeds
from windtunnel.stats import mean_interval

if TYPE_CHECKING:
    from windtunnel.deployment import Slo

    from .course import Evaluation, Replay
    from .search import Search

LOOKS = 3
"""After so many runs, and after each more, a deployment whose interval lies above the bound already is given up."""


@dataclass(frozen=True)
class Proof:
    """What was run again.

    Args:
        tried: in the order of their price, with intervals; only the last can be sure.
        requests: simulated for it.
    """

    tried: tuple[Evaluation, ...]
    requests: int


def prove(search: Search, confidence: float, repeats: int) -> Proof:
    """Run what stands again, the cheapest first, until one is sure; what is not is refused, and the search goes on.

    That trying several gives chance several chances is paid for: the tail probabilities at which the first, second, third, …
    is accepted, `(1 − confidence)` over 2, 6, 12, … (`k · (k + 1)`), add up to no more than `1 − confidence`; so the first
    one's interval is the plain two-sided one. Giving up early can refuse what would have been accepted, never the reverse.

    Args:
        search: has run.
        confidence: how sure the answer is to be.
        repeats: fresh runs of a deployment under proof.
    """
    tried: list[Evaluation] = []
    requests = 0
    while standing := search.standing:
        count = len(tried) + 1
        tail = (1.0 - confidence) / (count * (count + 1))
        proven, runs = _run_again(search, standing[0], 1.0 - 2.0 * tail, repeats)
        requests += runs * search.course.requests
        tried.append(proven)
        if runs == repeats and is_sure(proven, search.course.slo):
            break
        search.refuse(standing[0])
        search.run()
    return Proof(tuple(tried), requests)


def fresh(seeds: Seeds, item: int) -> Seeds:
    """Other luck of every kind, the same for every deployment."""
    return Seeds(seeds.number("service", item))


def _run_again(search: Search, evaluation: Evaluation, confidence: float, repeats: int) -> tuple[Evaluation, int]:
    slo = search.course.slo
    runs: list[tuple[Replay, ...]] = []
    proven = evaluation
    for item in range(1, repeats + 1):
        runs.append(search.course.fly(evaluation.deployment, fresh(search.seeds, item)).replays)
        if len(runs) >= min(LOOKS, repeats):
            proven = summed(evaluation, runs, confidence)
            if any(
                not each.drains or each.interval is None or each.interval.low > slo.latency_s for each in proven.replays
            ):
                break
    return proven, len(runs)


def summed(evaluation: Evaluation, runs: list[tuple[Replay, ...]], confidence: float) -> Evaluation:
    """The mean of several runs in the place of one, with Student's interval of it."""
    replays = []
    for first, *again in zip(evaluation.replays, *runs, strict=True):
        times_s = np.array([replay.latency_s for replay in again])
        interval = mean_interval(times_s, confidence) if np.all(np.isfinite(times_s)) else None
        latency_s = interval.value if interval else float("inf")
        drains = all(replay.drains for replay in again)
        replays.append(replace(first, latency_s=latency_s, drains=drains, interval=interval))
    return replace(evaluation, replays=tuple(replays))


def is_sure(tried: Evaluation, slo: Slo) -> bool:
    """Whether the interval ends at or below the bound on every trace, and every queue was worked off."""
    return all(
        replay.drains and replay.interval is not None and replay.interval.high <= slo.latency_s
        for replay in tried.replays
    )
