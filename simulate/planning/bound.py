"""What need not be flown: deployments that cannot keep a promise whatever happens, by arithmetic alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from windtunnel.deployment import Slo
    from windtunnel.trace import Trace

    Floats = NDArray[np.float64]

DEVIATIONS = 6.0
"""Chance is given so many standard deviations before something is ruled out without a flight: once in a billion."""

LEAST_RANGE, MOST_STEPS = 8, 64
"""Of the replicas that are tried where nobody said: at least up to so many, in at most so many steps."""

STEPS = 24
"""Halvings of the least capacity: it is known to within a millionth."""


def allowed_late(slo: Slo, requests: int) -> int:
    """How many requests may be late, or never answered, for the promise still to be kept.

    Example:
        >>> from windtunnel.deployment import Slo
        >>> allowed_late(Slo(0.99, 0.05), 6000)
        60
    """
    # a share may miss a count by its last bit
    return math.floor((1.0 - slo.quantile) * requests + 1e-9)


@njit(nogil=True, cache=True)
def surely_late(arrivals_s: Floats, rate_per_s: float, slo_s: float) -> int:
    """How many requests are late whoever serves them in whatever order, at so many a second and never more.

    All have the same time to be served in and take the same share of the capacity: then nothing loses fewer than serving
    them in the order of their arrival and leaving out those that would be late anyway (Moore, *An n job, one machine
    sequencing algorithm for minimizing the number of late jobs*, 1968).

    Args:
        arrivals_s: float64, sorted.
        rate_per_s: the capacity.
        slo_s: after which an answer is late.

    Example:
        >>> surely_late(np.zeros(10), 2.0, 2.0)
        6
    """
    busy_to_s, late = -np.inf, 0
    for arrival_s in arrivals_s:
        done_s = max(busy_to_s, arrival_s) + 1.0 / rate_per_s
        if done_s - arrival_s > slo_s * (1.0 + 1e-9):
            late += 1
        else:
            busy_to_s = done_s
    return late


def least_rate_per_s(trace: Trace, slo: Slo) -> float:
    """The capacity below which no more than the allowed requests could be in time; from below, so that it rules out surely."""
    allowed = allowed_late(slo, len(trace))
    low, high = 0.0, len(trace) / slo.latency_s
    for _ in range(STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if surely_late(trace.arrivals_s, middle, slo.latency_s) > allowed else (low, middle)
    return low


def greatest_rate_per_s(table: Floats, slo: Slo, requests: int) -> float:
    """What one replica serves at most, in requests a second: the best size of batch all the time, with luck on top.

    Mean service times are what a long run of batches takes; the run at stake holds as many requests as may be late, and its
    mean may be better than that by chance.

    Args:
        table: float64 `[max_batch + 1, points]`, seconds.
        slo: the promise.
        requests: of the trace.
    """
    largest = len(table) - 1
    means = table[1:].mean(axis=1)
    spread = float(np.max(table[1:].std(axis=1) / means))
    batches = max(1.0, allowed_late(slo, requests) / largest)
    luck = 1.0 + DEVIATIONS * spread / math.sqrt(batches)
    return luck / float(np.min(means / np.arange(1, largest + 1)))


def fast_share(table: Floats, slo: Slo, requests: int) -> float:
    """The share of requests whose service alone may be within the bound, in the best size of batch, with luck on top.

    Which of the measured times a batch gets depends neither on its size nor on the queue, so no deployment can be in time
    more often than this.
    """
    largest = len(table) - 1
    share = float(np.max(np.mean(table[1:] <= slo.latency_s, axis=1)))
    return share + DEVIATIONS * math.sqrt(largest / (4.0 * requests)) if share > 0.0 else 0.0


def usual_replicas(traces: Mapping[str, Trace], tables: Iterable[Floats], slo: Slo) -> tuple[int, ...]:
    """The numbers of replicas to try where nobody said: from one to twice what would do without any batching, in even steps.

    Args:
        traces: by name.
        tables: service times of one replica, by offer.
        slo: the promise.
    """
    rate = max(least_rate_per_s(trace, slo) for trace in traces.values())
    slowest_s = max(float(table[1].mean()) for table in tables)
    most = max(LEAST_RANGE, math.ceil(2.0 * rate * slowest_s))
    steps = min(most, MOST_STEPS)
    return tuple(sorted({math.ceil(most * step / steps) for step in range(1, steps + 1)}))
