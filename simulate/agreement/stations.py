"""The stations of the road, compiled: way in, one event loop a replica, the model in it, way back.

What the tunnel's own loop (`kernel.py`) leaves out is here: a request must get through client, ingress and the replica's event
loop before it may wait for company, the loop stands still while the model runs, and an answer takes its way back. Batches are
made by the very rule that the tunnel uses (`batching/ray_serve.py`, blocking handlers). `reference/road.py` tells the same story
slowly, and a test holds the two equal request by request.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit

from windtunnel.road import IDLE_S
from windtunnel.simulate.batching import RayServeBatching, ray_serve
from windtunnel.simulate.chance import origin, uniform_from
from windtunnel.simulate.compiling import digest_of_sources

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

HALF = 0.5
"""The share of what lies outside the replica that a request meets on its way in. How it is split moves when batches are made by
less than a millisecond, and nothing else: the sum is what was measured."""

RUN = 16
"""So many batches in a row take their luck from neighbours in the series that was measured: a slow moment lasts."""

SHORTEST_S = float(IDLE_S[0])
"""A loop that was idle for less is as warm as it gets."""

OUTSIDE, SERVICE, TIMER, LOOP = range(4)
"""The streams of chance: how long the way takes, a batch, a timer beyond its time, an event loop."""


class Stations(NamedTuple):
    """What does not change while the loop runs. Times are seconds.

    Args:
        batching: float64, the settings of `RayServeBatching`.
        replicas: how many, each with an event loop; the one with the fewest requests under way gets the next.
        service_s: float64 `[max_batch + 1]`, see `Road`.
        warmth: float64 `[len(IDLE_S)]`, see `Road`.
        stretch: float64 `[loads]`.
        residuals: float64 `[loads, batches]`, the series measured at each load, cut to one length.
        outside_s: float64 `[loads, points]`, quantiles.
        timer_s: float64 `[loads, points]`, quantiles.
        entry_s: of the event loop, for each request.
        dispatch_s: from when a batch is closed to when the loop stands still for it: who comes in between is left over.
        join_s: by how much later a timer fires for each that joins while it runs.
        ongoing: requests that a replica takes on at once; the others wait in turn in front of it.
        resume_s: float64 `[max_batch + 1]`, see `Road`, as the next three.
        knock_s: of each request that has come meanwhile.
        loop: float64 `[loads, batches]`, see `Loaded`, cut to one length.
        company_s: of the way back.
        rank_s: of the way back.
        lower: of the two loads that the run as a whole lies between.
        share: how far it lies from it towards the next.
        lowers: int64 `[requests]`, the same of the second around each request.
        shares: float64 `[requests]`.
        pace: float64 `[requests]`, by how much longer a batch takes that begins with this request.
    """

    batching: Floats
    replicas: int
    service_s: Floats
    warmth: Floats
    stretch: Floats
    residuals: Floats
    outside_s: Floats
    timer_s: Floats
    entry_s: float
    dispatch_s: float
    join_s: float
    ongoing: int
    resume_s: Floats
    knock_s: float
    loop: Floats
    company_s: float
    rank_s: float
    lower: int
    share: float
    lowers: Ints
    shares: Floats
    pace: Floats


class Passed(NamedTuple):
    """What became of each request; arrays of one length.

    Args:
        entered_s: float64, when the replica's code took it up.
        started_s: float64, when its batch began.
        ended_s: float64, when its batch ended.
        finished_s: float64, when its answer was there.
        batch_size: int64.
        replica: int64.
    """

    entered_s: Floats
    started_s: Floats
    ended_s: Floats
    finished_s: Floats
    batch_size: Ints
    replica: Ints


@njit(nogil=True, cache=True)
def between(table: Floats, lower: int, share: float, luck: float) -> float:
    """The quantile of two loads' tables, as far between them as the run lies."""
    upper = min(lower + 1, table.shape[0] - 1)
    at = int(luck * table.shape[1])
    return float(table[lower, at] * (1.0 - share) + table[upper, at] * share)


@njit(nogil=True, cache=True)
def warmth_after(warmth: Floats, idle_s: float) -> float:
    """By how much more a batch takes after an idle loop: between two steps as far as the logarithm lies."""
    at = min(max(math.log2(max(idle_s, 1e-9) / SHORTEST_S), 0.0), len(warmth) - 1.0)
    lower = min(int(at), len(warmth) - 2)
    return float(warmth[lower] + (at - lower) * (warmth[lower + 1] - warmth[lower]))


@njit(nogil=True, cache=True)
def loop_of(s: Stations, start: np.uint64, batch: int, first: int) -> float:
    """By how much more the loop takes after the `batch`-th batch, which began with request `first`: what holds it up is over in a few milliseconds."""
    lower, share = s.lowers[first], s.shares[first]
    load = min(lower + 1, len(s.loop) - 1) if uniform_from(start, 2 * batch) < share else lower
    return float(s.loop[load, int(uniform_from(start, 2 * batch + 1) * s.loop.shape[1])])


@njit(nogil=True, cache=True)
def service_of(s: Stations, start: np.uint64, batch: int, size: int, first: int, idle_s: float) -> float:
    """How long the `batch`-th batch takes, which begins with request `first` after so much idling: neighbours take their luck from neighbours."""
    lower, share = s.lowers[first], s.shares[first]
    upper = min(lower + 1, len(s.stretch) - 1)
    run = 2 * (batch // RUN)
    load = upper if uniform_from(start, run) < share else lower
    series = s.residuals.shape[1]
    at = (int(uniform_from(start, run + 1) * series) + batch % RUN) % series
    stretch = s.stretch[lower] * (1.0 - share) + s.stretch[upper] * share
    warmth = warmth_after(s.warmth, idle_s)
    return float(s.service_s[size] * warmth * stretch * s.residuals[load, at] * s.pace[first])


@njit(nogil=True, cache=True)
def least_busy(under_way: Ints, last: int) -> int:
    """The replica with the fewest requests under way, the next in turn of several."""
    count = len(under_way)
    best = (last + 1) % count
    for step in range(2, count + 1):
        each = (last + step) % count
        if under_way[each] < under_way[best]:
            best = each
    return best


@njit(nogil=True, cache=True)
def late_of(s: Stations, start: np.uint64, each: int) -> float:
    """By how much a timer is late when it closes a batch."""
    return float(max(between(s.timer_s, s.lower, s.share, uniform_from(start, each)) - s.dispatch_s, 0.0))


@njit(nogil=True, cache=True)
def next_of(free_s: float, wake_s: float, starts_s: float, knocks: bool) -> float:
    """When an event loop has something to do: someone to let in, a batch to begin, a timer."""
    if knocks:
        return free_s
    return max(starts_s, free_s) if starts_s < np.inf else max(wake_s, free_s)


class Loops(NamedTuple):
    """The event loops of all replicas while they run; the first axis is the replica.

    Args:
        line: int64 `[replicas, requests]`, those that were sent there, in order: `[entered, came)` knock, `[served, entered)` wait.
        came: int64, how many were sent there.
        entered: int64, how many were let in.
        served: int64, how many were served.
        answered: int64, how many of those the ingress knows of.
        under_way: int64, how many it believes to be there.
        closed: int64, how many are in a batch that has not begun.
        resumes: int64, how many were in a batch that has just ended; 0 after that.
        heard: int64, how many of those who came were read, which is done once.
        read: int64, of those who knock, how many come in before the closed batch begins: they were heard when it was closed, and there is room.
        loop: float64, by how much more it takes since its last batch.
        free_s: when the loop can do something.
        ended_s: when its last batch did; −∞ before the first.
        wake_s: when the batcher is to be asked again.
        starts_s: when the closed batch begins at the soonest.
        batching: float64 `[replicas, settings]`, with the wait of the batch that is being gathered.
        memo: the batcher's own.
    """

    line: Ints
    came: Ints
    entered: Ints
    served: Ints
    answered: Ints
    under_way: Ints
    closed: Ints
    resumes: Ints
    heard: Ints
    read: Ints
    loop: Floats
    free_s: Floats
    ended_s: Floats
    wake_s: Floats
    starts_s: Floats
    batching: Floats
    memo: Floats


@njit(nogil=True, cache=True)
def room_of(loops: Loops, ongoing: int, replica: int) -> int:
    """How many more the replica takes on: who was served has made room."""
    return int(ongoing - (loops.entered[replica] - loops.served[replica]))


@njit(nogil=True, cache=True)
def _nearest(loops: Loops, ongoing: int) -> tuple[float, int]:
    """The loop that has something to do first, and when."""
    now_s, replica = np.inf, 0
    for each in range(len(loops.came)):
        lets_in = loops.entered[each] < loops.came[each] and room_of(loops, ongoing, each) > 0
        knocks = loops.read[each] > 0 if loops.closed[each] > 0 else lets_in
        at_s = next_of(loops.free_s[each], loops.wake_s[each], loops.starts_s[each], knocks)
        if at_s < now_s:
            now_s, replica = at_s, each
    return now_s, replica


@njit(nogil=True, cache=True)
def _arrive(loops: Loops, out: Passed, request: int, now_s: float, last: int) -> int:
    """The ingress sends a request to a replica: to the one after `last` where several have as few under way."""
    for each in range(len(loops.came)):
        while (
            loops.answered[each] < loops.served[each] and out.ended_s[loops.line[each, loops.answered[each]]] <= now_s
        ):
            loops.answered[each] += 1
            loops.under_way[each] -= 1
    replica = least_busy(loops.under_way, last)
    if loops.entered[replica] == loops.came[replica]:
        loops.free_s[replica] = max(loops.free_s[replica], now_s)
    loops.line[replica, loops.came[replica]] = request
    loops.came[replica] += 1
    loops.under_way[replica] += 1
    return int(replica)


@njit(nogil=True, cache=True)
def _turn(loops: Loops, s: Stations, out: Passed, replica: int, now_s: float) -> None:
    """Go on after a batch, or let one in, and see whether a batch leaves."""
    knocks, closed = loops.came[replica] - loops.entered[replica], loops.closed[replica] > 0
    room = room_of(loops, s.ongoing, replica)
    if loops.resumes[replica] > 0:
        after_s = s.resume_s[loops.resumes[replica]] + s.knock_s * (loops.came[replica] - loops.heard[replica])
        now_s += loops.loop[replica] * after_s
        loops.resumes[replica], loops.read[replica], loops.heard[replica] = 0, min(knocks, room), loops.came[replica]
    elif knocks and room:
        entry_s = s.entry_s + (0.0 if loops.entered[replica] < loops.heard[replica] else s.knock_s)
        now_s += loops.loop[replica] * entry_s
        loops.heard[replica] = max(loops.heard[replica], loops.entered[replica] + 1)
        loops.read[replica] = max(loops.read[replica] - 1, 0)
        out.entered_s[loops.line[replica, loops.entered[replica]]] = now_s
        if loops.entered[replica] > loops.served[replica] + loops.closed[replica]:
            loops.batching[replica, 1] += s.join_s
        loops.entered[replica] += 1
    loops.free_s[replica] = now_s
    if closed:
        if loops.closed[replica] >= int(s.batching[0]):
            waiting = loops.entered[replica] - loops.served[replica] - loops.closed[replica]
            ray_serve.leave_over(now_s, waiting, loops.batching[replica], loops.memo[replica])
        return
    waiting = loops.entered[replica] - loops.served[replica]
    count, _, loops.wake_s[replica] = ray_serve.close(now_s, 1, waiting, loops.batching[replica], loops.memo[replica])
    if count > 0:
        loops.closed[replica], loops.starts_s[replica] = count, now_s + s.dispatch_s
        loops.read[replica] = min(loops.came[replica] - loops.entered[replica], room_of(loops, s.ongoing, replica))


@njit(nogil=True, cache=True)
def _serve(
    loops: Loops, s: Stations, out: Passed, replica: int, begins_s: float, service_s: float, outside_s: Floats
) -> int:
    """The loop stands still for its batch; then answers leave one after the other."""
    count, first = loops.closed[replica], loops.served[replica]
    ends_s = begins_s + service_s
    for rank in range(count):
        each = loops.line[replica, first + rank]
        out.started_s[each], out.ended_s[each] = begins_s, ends_s
        out.finished_s[each] = ends_s + (1.0 - HALF) * outside_s[each] + s.company_s * (count - 1) + s.rank_s * rank
        out.batch_size[each], out.replica[each] = count, replica
    loops.served[replica] += count
    loops.closed[replica], loops.starts_s[replica] = 0, np.inf
    ray_serve.learn(ends_s, loops.batching[replica], loops.memo[replica])
    # what was left over is looked at before anyone else comes in
    loops.wake_s[replica] = ends_s
    loops.resumes[replica] = count
    loops.free_s[replica] = loops.ended_s[replica] = ends_s
    return int(count)


def _compile(sources: int) -> Any:
    """Compile the loop; what is kept of it on disk must not outlive a change of the batching compiled into it."""

    @njit(nogil=True, cache=True)
    def advance(scheduled_s: Floats, s: Stations, seed: np.uint64, loops: Loops, out: Passed) -> int:
        """Send every request through, and write down when it was where.

        Args:
            scheduled_s: float64, sorted.
            s: the stations.
            seed: of all chance.
            loops: idle; changed in place.
            out: written.

        Returns:
            How many batches were served.
        """
        if sources < 0:  # it never is: what a function does not use is no part of it
            return 0
        n, replicas = len(scheduled_s), s.replicas
        starts = np.empty(4, dtype=np.uint64)
        for each in range(4):
            starts[each] = origin(seed * np.uint64(4) + np.uint64(each))
        outside_s, came_s = np.empty(n), np.empty(n)
        for each in range(n):
            outside_s[each] = between(s.outside_s, s.lowers[each], s.shares[each], uniform_from(starts[OUTSIDE], each))
            came_s[each] = scheduled_s[each] + HALF * outside_s[each]
        order = np.argsort(came_s, kind="mergesort")
        for each in range(replicas):
            loops.batching[each, 1] += late_of(s, starts[TIMER], each)
        cursor, done, batches, last = 0, 0, 0, replicas - 1
        while done < n:
            now_s, replica = _nearest(loops, s.ongoing)
            if cursor < n and came_s[order[cursor]] <= now_s:
                last = _arrive(loops, out, order[cursor], came_s[order[cursor]], last)
                cursor += 1
            elif loops.closed[replica] == 0 or loops.read[replica] > 0:
                _turn(loops, s, out, replica, now_s)
            else:
                first = loops.line[replica, loops.served[replica]]
                begins_s = max(loops.starts_s[replica], loops.free_s[replica])
                idle_s = begins_s - loops.ended_s[replica]
                service_s = service_of(s, starts[SERVICE], batches, loops.closed[replica], first, idle_s)
                done += _serve(loops, s, out, replica, begins_s, service_s, outside_s)
                loops.loop[replica] = loop_of(s, starts[LOOP], batches, first)
                batches += 1
                late_s = late_of(s, starts[TIMER], replicas + batches)
                loops.batching[replica, 1] = s.batching[1] + late_s
        return batches

    return advance


advance = _compile(digest_of_sources())


def pass_through(scheduled_s: Floats, stations: Stations, seed: int) -> Passed:
    """Send requests through the stations.

    Args:
        scheduled_s: float64, sorted: when each should be sent.
        stations: what they pass.
        seed: of all chance; zero or more.
    """
    n = len(scheduled_s)
    passed = Passed(np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), _none(n), _none(n))
    advance(scheduled_s, stations, np.uint64(seed), _idle(stations, n), passed)
    return passed


def _none(count: int) -> Ints:
    return np.zeros(count, dtype=np.int64)


def _idle(stations: Stations, requests: int) -> Loops:
    """Event loops that nobody has asked anything yet."""
    n, batching = stations.replicas, np.tile(stations.batching, (stations.replicas, 1))
    return Loops(
        np.zeros((n, requests), dtype=np.int64), _none(n), _none(n), _none(n), _none(n), _none(n), _none(n), _none(n), _none(n), _none(n), np.ones(n), np.zeros(n),
        np.full(n, -np.inf), np.full(n, np.inf), np.full(n, np.inf), batching, np.zeros((n, RayServeBatching.memo)),
    )  # fmt: skip
