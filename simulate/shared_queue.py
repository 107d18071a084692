"""The event loop: identical replicas behind one shared queue, batch by batch, compiled.

Three things can happen at one instant, and they happen in this order: replicas fall idle, requests arrive, batches leave.
So a request that arrives at the very moment a batch leaves is still in it, and a batch that leaves at the very moment a
replica falls idle may have that replica. Requests leave in the order of their arrival; of several idle replicas the one
with the lowest index serves. `reference/one_queue.py` tells the same story slowly, event by event, and a test holds the two equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from windtunnel.request_log import COMPLETED

from .chance import uniform, uniform_from
from .compiling import digest_of_sources
from .kernel import book
from .sketch import make_room, record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .kernel import Told

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int32]


@njit(nogil=True, cache=True, inline="always")
def first_idle(idle_from_s: Floats, due_s: float) -> int:
    """The lowest server that is idle at a time, else the one that is idle first."""
    server = 0
    for each in range(len(idle_from_s)):
        if idle_from_s[each] <= due_s:
            return each
        if idle_from_s[each] < idle_from_s[server]:
            server = each
    return server


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
        server = first_idle(idle_from_s, due_s)
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


REQUEST, ENDED, BATCHES, BUSY = range(4)
"""Where `serve_piece` keeps what it carries from piece to piece beside the replicas: requests served, when the last answer was
given, batches, seconds of service."""


@njit(nogil=True, cache=True)
def write_rows(
    told: Told, index: int, arrivals_s: Floats, first: int, end: int, now_s: float, done_s: float, server: int
) -> None:
    """Write down a batch of requests that all complete; `index` is that of the first arrival."""
    for request in range(first, end):
        row = told.rows[index + request]
        row.scheduled_s = row.sent_s = arrivals_s[request]
        row.started_s, row.finished_s, row.replica, row.batch_size = now_s, done_s, server, end - first
        row.status = COMPLETED


def _one_queue(sources: int) -> Any:
    """Compile the loop, as `kernel._whole_loop` does and for its reason."""

    @njit(nogil=True, cache=True)
    def serve_piece(
        arrivals_s: Floats,
        last: bool,
        service_s: Floats,
        max_batch: int,
        max_wait_s: float,
        luck: np.uint64,
        idle_from_s: Floats,
        tally: Floats,
        told: Told,
    ) -> int:
        """`serve` for a stretch of arrivals whose end may not be the end: counts what it can decide, and says how many that were.

        Args:
            arrivals_s: float64, sorted; those that the piece before could not decide come first.
            last: whether nothing comes after it.
            service_s: as for `serve`.
            max_batch: the largest batch.
            max_wait_s: how long the oldest request waits for company.
            luck: where the stream of service times begins.
            idle_from_s: float64 `[replicas]`, carried over.
            tally: float64 `[4]`, carried over.
            told: what is written down.

        Returns:
            How many requests were served: all but those, fewer than a batch, whose company is not known yet.
        """
        if sources < 0:
            return 0
        requests, points = len(arrivals_s), service_s.shape[1]
        index, busy_s, ended_s, batches = int(tally[REQUEST]), tally[BUSY], tally[ENDED], 0
        make_room(told.latency, index + requests)
        make_room(told.wait, index + requests)
        first = 0
        while first < requests:
            due_s = arrivals_s[first] + max_wait_s
            if first + max_batch <= requests:
                due_s = min(due_s, arrivals_s[first + max_batch - 1])
            server = first_idle(idle_from_s, due_s)
            now_s = max(due_s, idle_from_s[server])
            end, most = first + 1, min(first + max_batch, requests)
            while end < most and arrivals_s[end] <= now_s:
                end += 1
            if end == requests and end - first < max_batch and not last:
                break
            took_s = service_s[end - first, int(uniform_from(luck, index + first) * points)]
            done_s = now_s + took_s
            for request in range(first, end):
                record(told.latency, index + request, done_s - arrivals_s[request])
                record(told.wait, index + request, now_s - arrivals_s[request])
            book(told, arrivals_s, first, end, now_s, done_s)
            if len(told.rows):
                write_rows(told, index, arrivals_s, first, end, now_s, done_s, server)
            idle_from_s[server] = done_s
            ended_s = max(ended_s, done_s)
            busy_s += took_s
            batches += 1
            first = end
        tally[REQUEST], tally[ENDED], tally[BUSY] = index + first, ended_s, busy_s
        tally[BATCHES] += batches
        return first

    return serve_piece


serve_piece = _one_queue(digest_of_sources())
