"""The proof: what kept a promise once is run again with fresh luck, the cheapest first, until one is sure to keep it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as distributions

from windtunnel.seeds import Seeds
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.deployment import Slo

    from .course import Evaluation, Replay
    from .search import Search

CONFIDENCE_OF = (
    "that the promise is kept on one more day like these: the same arrivals, with new luck in service times, routing, clients "
    "and losses of machines; given that the profile and the assumptions hold"
)
"""What the confidence of a plan is about."""


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

    Sure is meant of one more day, not of the mean over days: see `day_interval`. The first run that breaks the promise refuses
    the deployment, for a day like it is not rare enough; that can refuse what would have been accepted, never the reverse.

    That trying several gives chance several chances is paid for: the tail probabilities at which the first, second, third, …
    is accepted, `(1 − confidence)` over 2, 6, 12, … (`k · (k + 1)`), add up to no more than `1 − confidence`; and each is
    shared out evenly over the days on which the promise is to be kept, so that it is kept on all of them at once.

    Args:
        search: has run.
        confidence: how sure the answer is to be.
        repeats: fresh runs of a deployment under proof.
    """
    tried: list[Evaluation] = []
    requests = 0
    while standing := search.standing:
        count = len(tried) + 1
        tail = (1.0 - confidence) / (count * (count + 1)) / len(standing[0].replays)
        proven, runs = _run_again(search, standing[0], 1.0 - 2.0 * tail, repeats)
        requests += runs * search.course.effort(standing[0].deployment)
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
    runs: list[tuple[Replay, ...]] = []
    for item in range(1, repeats + 1):
        flown = search.journal.flight(search.course, evaluation.deployment, fresh(search.seeds, item))
        runs.append(flown.replays)
        if not flown.keeps:
            break
    return summed(evaluation, runs, confidence), len(runs)


def day_interval(times_s: NDArray[np.float64], confidence: float) -> Interval:
    """In which interval the quantile of one more day lies, from those of independent days.

    Student's prediction interval of the logarithms: their mean ± t · s · √(1 + 1/n) (Hahn & Meeker, *Statistical Intervals*,
    1991, section 4.2). The quantile of a day is a sum over many requests and nearly normal; where requests share long queues
    it is skewed to the right, as the logarithm is not, or less. An interval of the mean, √(n + 1) times as narrow, would say
    nothing of a day: half of all days lie above the mean.

    Args:
        times_s: float64 `[n]`, finite and above zero, one a day.
        confidence: the share of such intervals that hold the next day.

    Returns:
        The geometric mean with the two ends; endless for a single day.

    Example:
        >>> day_interval(np.array([0.010, 0.011, 0.012]), 0.9).high > 0.013
        True
    """
    logs, n = np.log(times_s), len(times_s)
    middle = float(np.mean(logs))
    if n < 2:
        return Interval(math.exp(middle), 0.0, math.inf, n, confidence)
    student = float(distributions.t.ppf(0.5 + confidence / 2.0, n - 1))
    reach = student * float(np.std(logs, ddof=1)) * math.sqrt(1.0 + 1.0 / n)
    # a reach beyond all numbers says as little as none
    return Interval(math.exp(middle), math.exp(middle - reach), math.exp(min(middle + reach, 700.0)), n, confidence)


def summed(evaluation: Evaluation, runs: list[tuple[Replay, ...]], confidence: float) -> Evaluation:
    """The middle of several runs in the place of one, with the interval of one more."""
    replays = []
    for first, *again in zip(evaluation.replays, *runs, strict=True):
        times_s = np.array([replay.latency_s for replay in again])
        interval = day_interval(times_s, confidence) if np.all(np.isfinite(times_s)) else None
        latency_s = interval.value if interval else float("inf")
        drains = all(replay.drains for replay in again)
        replays.append(replace(first, latency_s=latency_s, drains=drains, interval=interval))
    return replace(evaluation, replays=tuple(replays))


def is_sure(tried: Evaluation, slo: Slo) -> bool:
    """Whether one more day lies at or below the bound, each like one of the traces, and every queue was worked off."""
    return all(
        replay.drains and replay.interval is not None and replay.interval.high <= slo.latency_s
        for replay in tried.replays
    )
