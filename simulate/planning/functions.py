"""Functions as a service: an instance to each request, kept warm for a while, started cold where none is left."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from windtunnel.simulate.chance import uniform_from

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@njit(nogil=True, cache=True)
def serve_functions(
    arrivals_s: Floats,
    service_s: Floats,
    luck: np.uint64,
    cold_s: float,
    keep_s: float,
    latency_s: Floats,
    cold: Floats,
) -> int:
    """Serve every request by an instance of its own: the one that fell idle last, or a new one.

    An instance that was idle for longer than `keep_s` is gone. Starting takes `cold_s` and is followed by the service. There is
    no limit to instances at once.

    Args:
        arrivals_s: float64 `[n]`, sorted.
        service_s: float64 `[points]`, each as likely.
        luck: where the stream of service times begins.
        cold_s: what a start takes.
        keep_s: how long an idle instance is kept.
        latency_s: float64 `[n]`, written.
        cold: float64 `[n]`, written: what the start took.

    Returns:
        How many instances were there at once at most.
    """
    busy = [0.0 for _ in range(0)]
    idle = np.empty(len(arrivals_s) + 1)
    first = top = most = 0
    for request in range(len(arrivals_s)):
        now_s = arrivals_s[request]
        while len(busy) > 0 and busy[0] <= now_s:
            idle[top] = heapq.heappop(busy)
            top += 1
        while first < top and idle[first] + keep_s < now_s:
            first += 1
        warm = first < top
        if warm:
            top -= 1
        else:
            first = top = 0
        cold[request] = 0.0 if warm else cold_s
        took_s = cold[request] + service_s[int(uniform_from(luck, request) * len(service_s))]
        latency_s[request] = took_s
        heapq.heappush(busy, now_s + took_s)
        most = max(most, len(busy) + top - first)
    return most
