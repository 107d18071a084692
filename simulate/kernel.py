"""The event loop: identical replicas behind one shared queue, batch by batch, compiled.

Three things can happen at one instant, and they happen in this order: replicas fall idle, requests arrive, batches leave.
So a request that arrives at the very moment a batch leaves is still in it, and a batch that leaves at the very moment a
replica falls idle may have that replica. Requests leave in the order of their arrival; of several idle replicas the one
with the lowest index serves. `reference.py` tells the same story slowly, event by event, and a test holds the two equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int32]

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@njit(nogil=True, cache=True, inline="always")
def _mix(state: np.uint64) -> np.uint64:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


@njit(nogil=True, cache=True, inline="always")
def uniform(seed: np.uint64, counter: int) -> float:
    """The `counter`-th number in [0, 1) of a seed's stream: a pure function of both, so that nobody has to take turns.

    SplitMix64 (Steele, Lea & Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014, with the constants of
    Vigna's splitmix64.c) read at any position; the seed is mixed first, so that neighbouring seeds are strangers.
    """
    state = _mix(seed + _WEYL) + (np.uint64(counter) + np.uint64(1)) * _WEYL
    return float(_mix(state) >> np.uint64(11)) * 2.0**-53


@njit(nogil=True, cache=True)
def serve(
    arrivals_s: Floats,
    service_s: Floats,
    max_batch: int,
    max_wait_s: float,
    replicas: int,
    seed: np.uint64,
    started_s: Floats,
    finished_s: Floats,
    replica: Ints,
    batch_size: Ints,
) -> None:
    """Serve every request, and write down when, where and in what company.

    A batch leaves when a replica is idle and either `max_batch` requests wait or the oldest has waited `max_wait_s`; it
    takes as many as wait, up to `max_batch`. While all replicas are busy the queue grows and the next batch with it. The
    server does not know where the trace ends: the last batch waits for company as any other does.

    Its service time is one of the points of the row of its size, each as likely. Which one depends on the seed and on the
    index of the batch's first request, hence neither on who computes it nor on how requests before it were batched:
    deployments under comparison meet the same luck at the same place in the trace.

    Times are float64 seconds: traces and profiles come in them, nothing is added up over the run (each instant is an
    arrival plus at most one wait, or a start plus one service time), and over a year they still tell 4 ns apart, which is
    below what a service time can be measured to. Ties are between equal floats, and decided as above.

    Args:
        arrivals_s: float64 `[n]`, sorted.
        service_s: float64 `[at least max_batch + 1, points]`, above zero from row 1.
        max_batch: the largest batch.
        max_wait_s: how long the oldest request waits for company.
        replicas: how many servers.
        seed: of the service times.
        started_s: float64 `[n]`, written.
        finished_s: float64 `[n]`, written.
        replica: int32 `[n]`, written.
        batch_size: int32 `[n]`, written.
    """
    requests, points = len(arrivals_s), service_s.shape[1]
    idle_from_s = np.zeros(replicas)
    first = 0
    while first < requests:
        due_s = arrivals_s[first] + max_wait_s
        if first + max_batch <= requests:
            due_s = min(due_s, arrivals_s[first + max_batch - 1])
        # the lowest idle one, else the one that is idle first
        server = 0
        for each in range(replicas):
            if idle_from_s[each] <= due_s:
                server = each
                break
            if idle_from_s[each] < idle_from_s[server]:
                server = each
        now_s = max(due_s, idle_from_s[server])
        end = first + 1
        while end < requests and end - first < max_batch and arrivals_s[end] <= now_s:
            end += 1
        done_s = now_s + service_s[end - first, int(uniform(seed, first) * points)]
        for request in range(first, end):
            started_s[request] = now_s
            finished_s[request] = done_s
            replica[request] = server
            batch_size[request] = end - first
        idle_from_s[server] = done_s
        first = end
