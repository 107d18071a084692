"""Functions as a service: an instance to each request, kept warm for a while, started cold where none is left."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from windtunnel.request_log import COMPLETED, RequestLog
from windtunnel.simulate.chance import origin, uniform_from
from windtunnel.simulate.flight import Flight
from windtunnel.simulate.kernel import OVER_TIME
from windtunnel.simulate.summary import Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.trace import Trace

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


def fly_functions(
    trace: Trace, service_s: Floats, seeds: Seeds, cold_start_s: float, keep_s: float, *, slo_s: float, bins: int = 400
) -> tuple[Flight, Floats]:
    """Fly a trace through functions: what became of every request, and the seconds that are billed for it.

    Args:
        trace: what comes.
        service_s: float64 `[points]`, each as likely.
        seeds: stream `service` is used.
        cold_start_s: what a start takes.
        keep_s: how long an idle instance is kept.
        slo_s: what a good answer takes at most, for the timeline.
        bins: of the timeline.
    """
    requests = len(trace)
    latency_s, cold_s = np.empty(requests), np.empty(requests)
    luck = np.uint64(origin(np.uint64(seeds.number("service"))))
    most = serve_functions(trace.arrivals_s, service_s, luck, cold_start_s, keep_s, latency_s, cold_s)
    due_s, ones = trace.arrivals_s, np.ones(requests, dtype=np.int32)
    log = RequestLog(
        due_s, due_s, due_s + cold_s, due_s + latency_s, 0 * ones, ones, 0 * ones, np.full(requests, COMPLETED, np.int32)
    )  # fmt: skip
    first_s, last_s = float(due_s[0]), float(due_s[-1])
    bin_s = max((last_s - first_s) / bins, 1e-9)
    # one bin more than there is time for: the last request comes at its very end
    over_time = _over_time(log, latency_s <= slo_s, first_s, bin_s, bins + 1)
    flight = Flight(
        log=log, summary=Summary.of_log(log, most), over_time=over_time, bin_s=bin_s, first_s=first_s, last_s=last_s,
        drift_per_s=0.0, wasted=0, overflowed=False,
    )  # fmt: skip
    return flight, latency_s


def _over_time(log: RequestLog, good: NDArray[np.bool_], first_s: float, bin_s: float, bins: int) -> Floats:
    at = np.minimum(((log.scheduled_s - first_s) / bin_s).astype(np.int64), bins - 1)
    table = np.zeros((bins, len(OVER_TIME)))
    ones = np.ones(len(at))
    figures = {
        "arrived": ones, "completed": ones, "attempts": ones, "batches": ones, "served": ones, "good": good,
        "latency_sum_s": log.latency_s, "wait_sum_s": log.wait_s, "busy_s": log.latency_s - log.wait_s,
    }  # fmt: skip
    for name, weights in figures.items():
        table[:, OVER_TIME.index(name)] = np.bincount(at, weights=weights, minlength=bins)
    np.maximum.at(table[:, OVER_TIME.index("latency_max_s")], at, log.latency_s)
    return table
