"""The event loop: clients, a proxy, a router, stations that batch, and what befalls them, compiled.

`docs/simulate.md` states what happens to a request and in which order things happen at one instant; `reference/` tells the
same story slowly, with objects, and a test holds the two equal request by request. Here the calendar is a heap for what is
scheduled out of order and rings for what only ever comes later (the proxy's queue, timeouts, hedges); arrivals come from a
chunk of a sorted array, and the loop returns for more of them, or for more room, between two events: the state carries over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit

from windtunnel.request_log import COMPLETED, FAILED, LEFT, SHED, TIMED_OUT
from windtunnel.simulate.batching import close, learn
from windtunnel.simulate.routing import route
from windtunnel.simulate.scaling import desired

from .chance import uniform_from
from .compiling import digest_of_sources
from .sketch import make_room, record
from .world import (
    ARRIVE,
    ASK,
    COME_UP,
    CRASH,
    DONE,
    DOWN,
    DRAINING,
    FINISH,
    HEDGE,
    LEAVE,
    LOADED,
    LOADED_HERE,
    LOOK,
    MEND,
    NOBODY,
    NOTICE,
    OVERFLOWS,
    PROXY,
    RESEND,
    RESTING,
    SCALE,
    SLOW,
    STALL,
    STARTING,
    STATE,
    TIMEOUT,
    UP,
    WANTS_ARRIVALS,
    WANTS_ROOM,
)  # fmt: skip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sketch import Sketch
    from .world import World

    Records = NDArray[Any]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Record = Any

GIVES_UP_S = 3600.0
"""After the last arrival, the scaler is asked no more where nothing else has been about to happen for so long."""

ANEW = 44
"""Attempts after the first draw their luck this many bits further on."""

LOADING = 1 << 61
"""Where in the stream of service times the luck of loading models lies."""

ROW = np.dtype([
    ("scheduled_s", "f8"), ("sent_s", "f8"), ("started_s", "f8"), ("finished_s", "f8"), ("replica", "i4"),
    ("batch_size", "i4"), ("attempt", "i4"), ("status", "i4"),
])  # fmt: skip
"""One request of a log."""


class Rules(NamedTuple):
    """What does not change while the loop runs. Times are seconds; a time of zero or an infinite one means never.

    Args:
        table: float64 `[groups, sizes, max_batch + 1, points]`, service times.
        padded: int64 `[max_batch + 1]`, as how large a batch is served.
        batcher: its code.
        batcher_settings: its own.
        router: its code.
        router_settings: its own.
        scaler: its code; negative where nothing scales.
        scaler_settings: its own.
        interval_s: of the scaler.
        cold_start_s: from the decision for a station until it is up.
        least: stations, never fewer.
        most: stations, never more.
        max_ongoing: attempts a station has at most.
        max_waiting: attempts it has at most that are not being served; negative where any number may.
        max_queued: attempts that may wait at the router; negative where any number may.
        drops_abandoned: whether what nobody waits for is dropped before it is served.
        drops_late: whether what is past its deadline is dropped before it is served.
        workers: of the proxy; zero where there is none.
        proxy_s: what each request takes a worker.
        timeout_s: a client waits for an attempt.
        retries: at most, a request.
        backoff_s: before the first retry; doubles.
        backoff_max_s: at most.
        jitter: the share of the back-off that is left to chance.
        budget_ratio: retries earned by a request.
        budget_burst: retries that may be saved up; infinite where there is no budget.
        hedge_s: after which a second attempt is sent.
        patience_s: mean of how long a client stays at all.
        service_luck: where the stream of service times begins.
        route_luck: that of routing.
        client_luck: that of back-off, patience and thinking.
        users: who ask again when their request is over; zero where requests come by themselves.
        think_s: mean of the time between.
        thinks_by_chance: whether it is exponential; constant otherwise.
        most_requests: after which no user asks again.
        asks_until_s: the time from which on none does.
        shelf: models a station holds at once; zero where models are not told apart.
        load_s: mean of what loading one takes.
        loads_by_chance: whether it is exponential; constant otherwise.
    """

    table: NDArray[np.float64]
    padded: Ints
    batcher: int
    batcher_settings: Floats
    router: int
    router_settings: Floats
    scaler: int
    scaler_settings: Floats
    interval_s: float
    cold_start_s: float
    least: int
    most: int
    max_ongoing: int
    max_waiting: int
    max_queued: int
    drops_abandoned: bool
    drops_late: bool
    workers: int
    proxy_s: float
    timeout_s: float
    retries: int
    backoff_s: float
    backoff_max_s: float
    jitter: float
    budget_ratio: float
    budget_burst: float
    hedge_s: float
    patience_s: float
    service_luck: np.uint64
    route_luck: np.uint64
    client_luck: np.uint64
    users: int
    think_s: float
    thinks_by_chance: bool
    most_requests: int
    asks_until_s: float
    shelf: int
    load_s: float
    loads_by_chance: bool


class Chunk(NamedTuple):
    """Arrivals that lie ahead; a column of one value holds for all.

    Args:
        arrivals_s: float64, sorted.
        work: int32, size classes.
        priority: int32.
        deadline_s: float64, after the arrival; infinite where there is none.
        key: int64, of the model, client or entity; negative where there is none.
        last: whether nothing comes after it.
    """

    arrivals_s: Floats
    work: NDArray[np.int32]
    priority: NDArray[np.int32]
    deadline_s: Floats
    key: Ints
    last: bool


class Told(NamedTuple):
    """What is written down of requests as they end.

    Args:
        rows: `ROW`, by request; of length zero where only the sketches are wanted.
        latency: of those that completed.
        wait: of those that completed.
        over_time: float64 `[bins, len(OVER_TIME)]`; of no bins where no timeline is wanted.
        grid: float64 `[2]`, how long a bin is, and when the first begins.
        slo_s: what a good answer takes at most.
    """

    rows: Records
    latency: Sketch
    wait: Sketch
    over_time: NDArray[np.float64]
    grid: Floats
    slo_s: float


OVER_TIME = (
    "arrived", "completed", "good", "timed_out", "shed", "failed", "left", "attempts", "latency_sum_s", "latency_max_s",
    "wait_sum_s", "batches", "served", "busy_s", "replica_s",
)  # fmt: skip
"""The columns of a timeline: requests by when they were due, batches by when they began."""

_ARRIVED, _COMPLETED, _GOOD, _STATUS, _ATTEMPTS, _LATENCY, _LONGEST, _WAIT, _BATCHES, _SERVED, _BUSY, _REPLICA = (
    0, 1, 2, 2, 7, 8, 9, 10, 11, 12, 13, 14,
)  # fmt: skip


# Functions that only the loop calls: none allocates, so no references are counted; those on the usual path are inlined, for a
# world is a hundred and forty words, which a call would copy. Without either the loop is forty times as slow.
_within: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
hot, cold = njit(forceinline=True, **_within), njit(**_within)
_entry: dict[str, Any] = {"nogil": True, "cache": True, "_nrt": False}


# The calendar.


@hot
def _schedule(w: World, f: Record, time_s: float, kind: int, subject: int, detail: int, value: float) -> None:
    heap, at = w.calendar, f.calendar
    order = (kind << 56) | f.sequence
    f.sequence += 1
    f.calendar += 1
    while at > 0:
        above = (at - 1) >> 1
        if heap[above].time_s < time_s or (heap[above].time_s == time_s and heap[above].order < order):
            break
        heap[at] = heap[above]
        at = above
    entry = heap[at]
    entry.time_s, entry.order, entry.subject, entry.detail, entry.value = time_s, order, subject, detail, value


@hot
def _drop_top(w: World, f: Record) -> None:
    heap = w.calendar
    f.calendar -= 1
    count = f.calendar
    if count == 0:
        return
    time_s, order = heap[count].time_s, heap[count].order
    at = 0
    while True:
        below = 2 * at + 1
        if below >= count:
            break
        other = below + 1
        if other < count and (
            heap[other].time_s < heap[below].time_s
            or (heap[other].time_s == heap[below].time_s and heap[other].order < heap[below].order)
        ):
            below = other
        if time_s < heap[below].time_s or (time_s == heap[below].time_s and order < heap[below].order):
            break
        heap[at] = heap[below]
        at = below
    heap[at] = heap[count]


@hot
def _pend(ring: Records, first: int, count: int, time_s: float, slot: int, serial: int) -> None:
    entry = ring[(first + count) % len(ring)]
    entry.time_s, entry.slot, entry.serial = time_s, slot, serial


# Slots and queues.


@hot
def _take_slot(w: World, f: Record) -> int:
    slot = f.free
    f.free = w.slots[slot].following
    f.free_count -= 1
    w.slots[slot].serial = f.serial
    f.serial += 1
    return int(slot)


@hot
def _free_slot(w: World, f: Record, slot: int) -> None:
    w.slots[slot].serial = NOBODY
    w.slots[slot].following = f.free
    f.free = slot
    f.free_count += 1


@hot
def _append(w: World, queue: int, slot: int) -> None:
    priority = w.slots[slot].priority
    w.slots[slot].following = NOBODY
    if w.last[queue, priority] == NOBODY:
        w.first[queue, priority] = slot
    else:
        w.slots[w.last[queue, priority]].following = slot
    w.last[queue, priority] = slot


@hot
def _pop(w: World, queue: int) -> int:
    for priority in range(w.first.shape[1]):
        slot = w.first[queue, priority]
        if slot != NOBODY:
            w.first[queue, priority] = w.slots[slot].following
            if w.first[queue, priority] == NOBODY:
                w.last[queue, priority] = NOBODY
            return int(slot)
    return NOBODY


@hot
def _mark(w: World, f: Record, station: int) -> None:
    """Remember that a station is to look at the end of the instant; the list is kept rising."""
    if w.is_dirty[station]:
        return
    w.is_dirty[station] = 1
    at = f.dirty
    while at > 0 and w.dirty[at - 1] > station:
        w.dirty[at] = w.dirty[at - 1]
        at -= 1
    w.dirty[at] = station
    f.dirty += 1


@hot
def _accepts(w: World, rules: Rules, station: int) -> bool:
    s = w.stations[station]
    return bool(
        s.state == UP
        and w.ongoing[station] < rules.max_ongoing
        and (rules.max_waiting < 0 or s.queued < rules.max_waiting)
    )


@hot
def _set_accepting(w: World, f: Record, rules: Rules, station: int) -> None:
    """Put a station on the list of those that accept, or take it off, as it is now."""
    wanted = _accepts(w, rules, station)
    count, at = f.accepting, 0
    while at < count and w.accepting[at] < station:
        at += 1
    there = at < count and w.accepting[at] == station
    if wanted and not there:
        for each in range(count, at, -1):
            w.accepting[each] = w.accepting[each - 1]
        w.accepting[at] = station
        f.accepting += 1
    elif there and not wanted:
        for each in range(at, count - 1):
            w.accepting[each] = w.accepting[each + 1]
        f.accepting -= 1


@hot
def _count_inside(f: Record, change: int) -> None:
    f.inside_area_s += f.inside * (f.now_s - f.inside_since_s)
    f.inside_since_s = f.now_s
    f.inside += change


@hot
def _leave_station(w: World, f: Record, rules: Rules, station: int, count: int) -> None:
    """So many attempts are no longer waiting or being served there."""
    _count_inside(f, -count)
    w.ongoing[station] -= count
    _set_accepting(w, f, rules, station)
    _mark(w, f, station)


# What is written down.


@hot
def _bin(told: Told, time_s: float) -> int:
    """The bin of a time; neighbours are merged and bins double where the timeline is too short for it."""
    bins = told.over_time.shape[0]
    at = int((time_s - told.grid[1]) / told.grid[0])
    while at >= bins:
        for each in range(bins // 2):
            for column in range(told.over_time.shape[1]):
                left, right = told.over_time[2 * each, column], told.over_time[2 * each + 1, column]
                told.over_time[each, column] = max(left, right) if column == _LONGEST else left + right
        told.over_time[bins // 2 :] = 0.0
        told.grid[0] *= 2.0
        at = int((time_s - told.grid[1]) / told.grid[0])
    return max(at, 0)


@hot
def _settle(w: World, f: Record, rules: Rules, told: Told, slot: int, status: int) -> None:
    """A request has ended, in this attempt."""
    a = w.slots[slot]
    if rules.users > 0:
        _think(w, f, rules, slot)
    f.live -= 1
    f.ended_s = f.now_s
    latency_s, wait_s = f.now_s - a.scheduled_s, a.started_s - a.scheduled_s
    if len(told.over_time):
        at = _bin(told, a.scheduled_s)
        row = told.over_time[at]
        if status == COMPLETED:
            row[_COMPLETED] += 1.0
            row[_GOOD] += latency_s <= told.slo_s
            row[_LATENCY] += latency_s
            row[_LONGEST] = max(row[_LONGEST], latency_s)
            row[_WAIT] += wait_s
        else:
            row[_STATUS + status] += 1.0
    if status == COMPLETED:
        f.completed += 1
        record(told.latency, a.request, latency_s)
        record(told.wait, a.request, wait_s)
    elif status == TIMED_OUT:
        f.timed_out += 1
    elif status == SHED:
        f.shed += 1
    elif status == FAILED:
        f.failed += 1
    else:
        f.left += 1
    if len(told.rows):
        line = told.rows[a.request]
        line.scheduled_s, line.sent_s, line.started_s, line.finished_s = a.scheduled_s, a.sent_s, a.started_s, f.now_s
        line.replica, line.batch_size, line.attempt, line.status = a.replica, a.batch, a.attempt, status


@cold
def book(told: Told, arrivals_s: Floats, first: int, end: int, now_s: float, done_s: float) -> None:
    """Put a batch of requests that all complete on the timeline."""
    if len(told.over_time) == 0:
        return
    for request in range(first, end):
        at, latency_s = _bin(told, arrivals_s[request]), done_s - arrivals_s[request]
        row = told.over_time[at]
        row[_ARRIVED] += 1.0
        row[_COMPLETED] += 1.0
        row[_GOOD] += latency_s <= told.slo_s
        row[_ATTEMPTS] += 1.0
        row[_LATENCY] += latency_s
        row[_LONGEST] = max(row[_LONGEST], latency_s)
        row[_WAIT] += now_s - arrivals_s[request]
    row = told.over_time[_bin(told, now_s)]
    row[_BATCHES] += 1.0
    row[_SERVED] += end - first
    row[_BUSY] += done_s - now_s


# Clients.


@hot
def _send(w: World, f: Record, rules: Rules, told: Told, slot: int) -> None:
    """An attempt leaves the client."""
    a = w.slots[slot]
    a.sent_s, a.started_s = f.now_s, np.nan
    a.station, a.replica, a.batch, a.given_up = NOBODY, NOBODY, 0, 0
    f.attempts += 1
    if len(told.over_time):
        told.over_time[_bin(told, f.now_s), _ATTEMPTS] += 1.0
    if rules.timeout_s > 0.0:
        _pend(w.timeouts, f.timeout_first, f.timeout_count, f.now_s + rules.timeout_s, slot, a.serial)
        f.timeout_count += 1
    if rules.hedge_s > 0.0 and a.attempt == 0:
        _pend(w.hedges, f.hedge_first, f.hedge_count, f.now_s + rules.hedge_s, slot, a.serial)
        f.hedge_count += 1
    if rules.workers > 0:
        turn = f.proxy_turn % rules.workers
        f.proxy_turn += 1
        # it is in no station's queue yet: when the proxy begins with it is kept in that place
        a.queued_s = max(f.now_s, w.proxy_free_s[turn], f.stalled_s)
        through_s = a.queued_s + rules.proxy_s
        w.proxy_free_s[turn] = through_s
        _pend(w.proxy, f.proxy_first, f.proxy_count, through_s, slot, a.serial)
        f.proxy_count += 1
    else:
        _reach_router(w, f, rules, told, slot)


@hot
def _arrive(w: World, f: Record, rules: Rules, chunk: Chunk, told: Told) -> None:
    at = f.cursor
    f.cursor += 1
    slot = _take_slot(w, f)
    a = w.slots[slot]
    a.scheduled_s = chunk.arrivals_s[at]
    a.work = chunk.work[at if len(chunk.work) > 1 else 0]
    a.priority = chunk.priority[at if len(chunk.priority) > 1 else 0]
    a.deadline_s = a.scheduled_s + chunk.deadline_s[at if len(chunk.deadline_s) > 1 else 0]
    a.key = chunk.key[at if len(chunk.key) > 1 else 0]
    _begin(w, f, rules, told, slot)


@cold
def _ask(w: World, f: Record, rules: Rules, told: Told, user: int) -> None:
    """A user has thought, and asks, if requests are left to be asked."""
    if f.thinking == 0:
        return
    f.thinking -= 1
    f.asked_s = f.now_s
    make_room(told.latency, f.request + 1)
    make_room(told.wait, f.request + 1)
    slot = _take_slot(w, f)
    a = w.slots[slot]
    a.scheduled_s, a.work, a.priority, a.deadline_s, a.key = f.now_s, 0, 0, np.inf, user
    if len(told.rows):
        line = told.rows[f.request]
        line.scheduled_s = line.sent_s = f.now_s
    if f.request + 1 >= rules.most_requests:
        f.thinking = 0
    _begin(w, f, rules, told, slot)


@cold
def _think(w: World, f: Record, rules: Rules, slot: int) -> None:
    """The user of a request that is over thinks, and will ask again, if that is before the end."""
    span_s = rules.think_s
    if rules.thinks_by_chance:
        span_s *= -np.log(1.0 - uniform_from(rules.client_luck, 2 * (w.slots[slot].request + (1 << ANEW))))
    if f.request < rules.most_requests and f.now_s + span_s < rules.asks_until_s:
        f.thinking += 1
        _schedule(w, f, f.now_s + span_s, ASK, w.slots[slot].key, 0, 0.0)


@hot
def _begin(w: World, f: Record, rules: Rules, told: Told, slot: int) -> None:
    """A request is due: its client sends the first attempt, and may go away at some time."""
    a = w.slots[slot]
    a.request, a.attempt, a.made, a.twin = f.request, 0, 1, NOBODY
    a.leaves_s = np.inf
    if rules.patience_s > 0.0:
        a.leaves_s = f.now_s - np.log(1.0 - uniform_from(rules.client_luck, 2 * f.request)) * rules.patience_s
        _schedule(w, f, a.leaves_s, LEAVE, slot, a.serial, 0.0)
    f.request += 1
    f.live += 1
    f.tokens = min(f.tokens + rules.budget_ratio, rules.budget_burst)
    if len(told.over_time):
        told.over_time[_bin(told, f.now_s), _ARRIVED] += 1.0
    _send(w, f, rules, told, slot)


@cold
def _try_again(w: World, f: Record, rules: Rules, slot: int) -> bool:
    """Send the attempt of this slot once more after a while, if the client may."""
    a = w.slots[slot]
    if a.made > rules.retries or f.tokens < 1.0:
        return False
    f.tokens -= 1.0
    a.serial, a.station = f.serial, RESTING
    f.serial += 1
    wait_s = min(rules.backoff_s * 2.0 ** (a.made - 1), rules.backoff_max_s)
    wait_s *= 1.0 - rules.jitter * uniform_from(rules.client_luck, 2 * (a.request + (a.made << ANEW)) + 1)
    _schedule(w, f, f.now_s + wait_s, RESEND, slot, a.serial, 0.0)
    if a.leaves_s < np.inf:
        _schedule(w, f, max(a.leaves_s, f.now_s), LEAVE, slot, a.serial, 0.0)
    return True


@cold
def _part(w: World, slot: int) -> bool:
    """Take an attempt away from its twin; whether there was one, which then goes on alone."""
    twin = w.slots[slot].twin
    if twin == NOBODY:
        return False
    w.slots[twin].twin = w.slots[slot].twin = NOBODY
    w.slots[twin].made = w.slots[slot].made = max(w.slots[twin].made, w.slots[slot].made)
    return True


@cold
def _refuse(w: World, f: Record, rules: Rules, told: Told, slot: int, status: int) -> None:
    """The answer to an attempt is no, and nobody holds it any more."""
    if w.slots[slot].given_up or _part(w, slot):
        _free_slot(w, f, slot)
    elif not _try_again(w, f, rules, slot):
        _settle(w, f, rules, told, slot, status)
        _free_slot(w, f, slot)


@cold
def _give_up(w: World, f: Record, rules: Rules, told: Told, slot: int) -> None:
    """The client no longer waits for an attempt that is still on its way or in a server: its slot stays there."""
    a = w.slots[slot]
    if not _part(w, slot):
        next_one = _take_slot(w, f)
        w.slots[next_one] = a
        if not _try_again(w, f, rules, next_one):
            _settle(w, f, rules, told, slot, TIMED_OUT)
            _free_slot(w, f, next_one)
    a.given_up = 1


@cold
def _hedge(w: World, f: Record, rules: Rules, told: Told, slot: int) -> None:
    second = _take_slot(w, f)
    a, b = w.slots[slot], w.slots[second]
    serial = b.serial
    w.slots[second] = a
    b.serial, b.twin, a.twin = serial, slot, second
    b.attempt = a.made
    a.made += 1
    b.made = a.made
    if b.leaves_s < np.inf:
        _schedule(w, f, b.leaves_s, LEAVE, second, serial, 0.0)
    _send(w, f, rules, told, second)


@cold
def _leave(w: World, f: Record, rules: Rules, told: Told, slot: int) -> None:
    """The client goes away for good; a slot that only waits to be sent again goes with it."""
    twin = w.slots[slot].twin
    if twin != NOBODY:
        w.slots[twin].given_up = 1
        _part(w, slot)
    _settle(w, f, rules, told, slot, LEFT)
    if w.slots[slot].station == RESTING:
        _free_slot(w, f, slot)
    else:
        w.slots[slot].given_up = 1


# Router.


@hot
def _reach_router(w: World, f: Record, rules: Rules, told: Told, slot: int) -> None:
    if w.slots[slot].given_up and rules.drops_abandoned:
        _free_slot(w, f, slot)
    elif f.held == 0 and f.accepting > 0:
        _count_inside(f, 1)
        _enter_station(w, f, rules, slot)
    elif 0 <= rules.max_queued <= f.held:
        _refuse(w, f, rules, told, slot, SHED)
    else:
        _count_inside(f, 1)
        _append(w, len(w.stations), slot)
        f.held += 1


@hot
def _enter_station(w: World, f: Record, rules: Rules, slot: int) -> None:
    a = w.slots[slot]
    if len(w.stations) == 1:
        station = 0
    else:
        counter = 2 * (a.request + (a.attempt << ANEW))
        draw = uniform_from(rules.route_luck, counter), uniform_from(rules.route_luck, counter + 1)
        station = route(
            rules.router, f.now_s, w.accepting, f.accepting, w.ongoing, draw, a.key, w.claims, rules.router_settings,
            w.router_memo,
        )  # fmt: skip
    if rules.shelf > 0:
        _claim(w, station, a.key, 1)
    a.station, a.queued_s = station, f.now_s
    _append(w, station, slot)
    w.stations[station].waiting += 1
    w.stations[station].queued += 1
    w.ongoing[station] += 1
    if not _accepts(w, rules, station):
        _set_accepting(w, f, rules, station)
    _mark(w, f, station)


@cold
def _offer(w: World, f: Record, rules: Rules) -> None:
    """What waits at the router goes to stations that accept, in order."""
    while f.held > 0 and f.accepting > 0:
        slot = _pop(w, len(w.stations))
        f.held -= 1
        if w.slots[slot].given_up and rules.drops_abandoned:
            _count_inside(f, -1)
            _free_slot(w, f, slot)
        else:
            _enter_station(w, f, rules, slot)


# Stations.


@hot
def _look(w: World, f: Record, rules: Rules, told: Told, station: int) -> None:
    """Ask the batcher until it has nothing more to close, and start what is closed."""
    s = w.stations[station]
    if s.state in (DOWN, STARTING):
        return
    executors = w.executing.shape[1]
    while True:
        while s.closed_first != NOBODY and s.busy < executors:
            _start(w, f, rules, told, station)
        oldest_s, newest_s = _ages(w, station)
        count, drop, wake_s = close(
            rules.batcher, f.now_s, executors - s.busy, s.waiting, oldest_s, newest_s, rules.batcher_settings,
            w.batcher_memo[station],
        )  # fmt: skip
        if drop > 0:
            s.waiting -= 1
            s.queued -= 1
            dropped = _pop(w, station)
            _unclaim(w, rules, station, dropped)
            _refuse(w, f, rules, told, dropped, SHED)
            _leave_station(w, f, rules, station, 1)
        if count > 0:
            _close(w, station, count)
        if count + drop <= 0:
            break
    if wake_s < np.inf and wake_s != s.wake_s:
        _schedule(w, f, wake_s, LOOK, station, s.epoch, 0.0)
    s.wake_s = wake_s
    if s.state == DRAINING and w.ongoing[station] == 0:
        _go_down(w, f, rules, told, station)


@hot
def _ages(w: World, station: int) -> tuple[float, float]:
    """When the first and the last of those came that are in no closed batch."""
    oldest_s, newest_s = np.inf, -np.inf
    for priority in range(w.first.shape[1]):
        if w.first[station, priority] != NOBODY:
            oldest_s = min(oldest_s, w.slots[w.first[station, priority]].queued_s)
            newest_s = max(newest_s, w.slots[w.last[station, priority]].queued_s)
    return oldest_s, newest_s


@hot
def _close(w: World, station: int, count: int) -> None:
    """The first so many of the queue become a batch: a chain whose first tells where the next one is."""
    s = w.stations[station]
    head = before = NOBODY
    for _ in range(count):
        slot = _pop(w, station)
        if head == NOBODY:
            head = slot
        else:
            w.slots[before].following = slot
        before = slot
    w.slots[before].following = NOBODY
    s.waiting -= count
    w.slots[head].next_batch = NOBODY
    if s.closed_first == NOBODY:
        s.closed_first = head
    else:
        w.slots[s.closed_last].next_batch = head
    s.closed_last = head


@hot
def _start(w: World, f: Record, rules: Rules, told: Told, station: int) -> None:
    """The next closed batch begins, without those whom nobody waits for or who are too late."""
    s = w.stations[station]
    each = s.closed_first
    s.closed_first = w.slots[each].next_batch
    if s.closed_first == NOBODY:
        s.closed_last = NOBODY
    head = before = NOBODY
    count = work = dropped = 0
    while each != NOBODY:
        following = w.slots[each].following
        a = w.slots[each]
        if (a.given_up and rules.drops_abandoned) or (rules.drops_late and f.now_s > a.deadline_s):
            dropped += 1
            _unclaim(w, rules, station, each)
            _refuse(w, f, rules, told, each, TIMED_OUT)
        else:
            if head == NOBODY:
                head = each
            else:
                w.slots[before].following = each
            before, count, work = each, count + 1, max(work, a.work)
        each = following
    s.queued -= count + dropped
    if dropped:
        _leave_station(w, f, rules, station, dropped)
    if count == 0:
        learn(rules.batcher, f.now_s, 0, 0.0, 0.0, rules.batcher_settings, w.batcher_memo[station])
        return
    w.slots[before].following = NOBODY
    if rules.max_waiting >= 0:
        _set_accepting(w, f, rules, station)
    _give_out(w, f, rules, told, station, head, count, work)


@hot
def _give_out(w: World, f: Record, rules: Rules, told: Told, station: int, head: int, count: int, work: int) -> None:
    """The first idle executor gets a batch."""
    executor = 0
    while w.executing[station, executor] != NOBODY:
        executor += 1
    w.executing[station, executor] = head
    w.stations[station].busy += 1
    if rules.shelf > 0:
        _take_apart(w, f, station, executor, count)
        _want(w, f, rules, told, station, executor)
    else:
        _serve(w, f, rules, told, station, executor, count, work)


@hot
def _serve(w: World, f: Record, rules: Rules, told: Told, station: int, executor: int, count: int, work: int) -> None:
    """An executor begins with the first so many of the batch it has."""
    s = w.stations[station]
    head = w.executing[station, executor]
    points = rules.table.shape[3]
    luck = uniform_from(rules.service_luck, w.slots[head].request + (w.slots[head].attempt << ANEW))
    service_s = rules.table[s.group, work, rules.padded[count], int(luck * points)] * s.slowness
    replica = station * w.executing.shape[1] + executor
    each = head
    for _ in range(count):
        a = w.slots[each]
        a.started_s, a.replica, a.batch = f.now_s, replica, count
        each = a.following
    f.batches += 1
    f.served += count
    f.busy_s += service_s
    if len(told.over_time):
        row = told.over_time[_bin(told, f.now_s)]
        row[_BATCHES] += 1.0
        row[_SERVED] += count
        row[_BUSY] += service_s
    _schedule(w, f, f.now_s + service_s, FINISH, station, (s.epoch << 16) | executor, service_s)


@hot
def _finish(w: World, f: Record, rules: Rules, told: Told, station: int, detail: int, service_s: float) -> None:
    s = w.stations[station]
    if (detail >> 16) != s.epoch:
        return
    executor = detail & 0xFFFF
    each = w.executing[station, executor]
    count, for_nothing = w.slots[each].batch, 0
    # the first of a batch need not be its oldest, where some overtake others
    started_s, oldest_s = w.slots[each].started_s, np.inf
    for _ in range(count):
        a = w.slots[each]
        following = a.following
        oldest_s = min(oldest_s, a.queued_s)
        _unclaim(w, rules, station, each)
        if a.given_up:
            for_nothing += 1
        else:
            if a.twin != NOBODY:
                w.slots[a.twin].given_up = 1
                _part(w, each)
            _settle(w, f, rules, told, each, COMPLETED)
        _free_slot(w, f, each)
        each = following
    f.wasted += for_nothing
    w.executing[station, executor] = each
    if each != NOBODY:
        _leave_station(w, f, rules, station, count)
        _want(w, f, rules, told, station, executor)
        return
    s.busy -= 1
    batch, wait_s = count, started_s - oldest_s
    if rules.shelf > 0:
        whole = w.whole[station, executor]
        batch, service_s, wait_s = int(whole[1]), f.now_s - whole[0], whole[0] - whole[2]
    learn(rules.batcher, f.now_s, batch, service_s, wait_s, rules.batcher_settings, w.batcher_memo[station])
    _leave_station(w, f, rules, station, count)


# Models that share stations.


@cold
def _claim(w: World, station: int, model: int, change: int) -> None:
    """So many attempts more want a model at a station, or it is at hand there from now on or no more."""
    claims = w.claims[station]
    before = claims[model + 1]
    claims[model + 1] = before + change
    claims[0] += (before + change > 0) - (before > 0)


@hot
def _unclaim(w: World, rules: Rules, station: int, slot: int) -> None:
    """An attempt is no longer in a station, where models are told apart."""
    if rules.shelf > 0:
        _claim(w, station, w.slots[slot].key, -1)


@cold
def _take_apart(w: World, f: Record, station: int, executor: int, count: int) -> None:
    """Put those of one model together in a batch, the models in the order in which they first appear."""
    last, oldest_s = w.executing[station, executor], np.inf
    while last != NOBODY:
        model, before = w.slots[last].key, last
        oldest_s = min(oldest_s, w.slots[last].queued_s)
        each = w.slots[last].following
        while each != NOBODY:
            following = w.slots[each].following
            if w.slots[each].key != model:
                before = each
            else:
                oldest_s = min(oldest_s, w.slots[each].queued_s)
                if before == last:
                    before = each
                else:
                    w.slots[before].following = following
                    w.slots[each].following = w.slots[last].following
                    w.slots[last].following = each
                last = each
            each = following
        last = w.slots[last].following
    whole = w.whole[station, executor]
    whole[0], whole[1], whole[2] = f.now_s, count, oldest_s


@cold
def _want(w: World, f: Record, rules: Rules, told: Told, station: int, executor: int) -> None:
    """An executor turns to the next part of its batch: the model is at hand, or it waits for its turn to load it."""
    s, model = w.stations[station], w.slots[w.executing[station, executor]].key
    f.parts += 1
    if w.claims[station, model + 1] >= LOADED_HERE:
        _put_last(w, station, model)
        _serve_part(w, f, rules, told, station, executor)
        return
    f.misses += 1
    if s.loader == NOBODY:
        _load(w, f, rules, station, executor)
    else:
        w.turns[station, s.awaiting] = executor
        s.awaiting += 1


@cold
def _put_last(w: World, station: int, model: int) -> None:
    """A model that is at hand counts as used last."""
    shelf, at = w.shelf[station], w.stations[station].models - 1
    moved = model
    while shelf[at] != model:
        moved, shelf[at] = shelf[at], moved
        at -= 1
    shelf[at] = moved


@cold
def _load(w: World, f: Record, rules: Rules, station: int, executor: int) -> None:
    """It is this executor's turn to load: the model that was used the longest ago makes room."""
    s, head = w.stations[station], w.executing[station, executor]
    shelf = w.shelf[station]
    if s.models == rules.shelf:
        _claim(w, station, shelf[0], -LOADED_HERE)
        s.models -= 1
        for at in range(s.models):
            shelf[at] = shelf[at + 1]
    span_s = rules.load_s
    if rules.loads_by_chance:
        counter = LOADING | (w.slots[head].request + (w.slots[head].attempt << ANEW))
        span_s *= -np.log(1.0 - uniform_from(rules.service_luck, counter))
    s.loader = executor
    f.loads += 1
    f.loading_s += span_s
    _schedule(w, f, f.now_s + span_s, LOADED, station, s.epoch, 0.0)


@cold
def _have_loaded(w: World, f: Record, rules: Rules, told: Told, station: int, epoch: int) -> None:
    """A model is at hand: what waited for it is served, and whose turn it is loads another."""
    s = w.stations[station]
    if s.epoch != epoch:
        return
    executor = s.loader
    model = w.slots[w.executing[station, executor]].key
    w.shelf[station, s.models] = model
    s.models += 1
    s.loader = NOBODY
    _claim(w, station, model, LOADED_HERE)
    _serve_part(w, f, rules, told, station, executor)
    while s.loader == NOBODY and s.awaiting > 0:
        executor = w.turns[station, 0]
        s.awaiting -= 1
        for at in range(s.awaiting):
            w.turns[station, at] = w.turns[station, at + 1]
        # meanwhile another may have loaded it
        if w.claims[station, w.slots[w.executing[station, executor]].key + 1] >= LOADED_HERE:
            _serve_part(w, f, rules, told, station, executor)
        else:
            _load(w, f, rules, station, executor)


@cold
def _serve_part(w: World, f: Record, rules: Rules, told: Told, station: int, executor: int) -> None:
    """Those of one model at the head of an executor's batch are served."""
    each = w.executing[station, executor]
    model, count, work = w.slots[each].key, 0, 0
    while each != NOBODY and w.slots[each].key == model:
        count, work = count + 1, max(work, w.slots[each].work)
        each = w.slots[each].following
    _serve(w, f, rules, told, station, executor, count, work)


@cold
def _forget_models(w: World, station: int) -> None:
    """What comes up in a station's place has no model at hand."""
    s = w.stations[station]
    s.models, s.loader, s.awaiting = 0, NOBODY, 0
    w.claims[station] = 0


# Faults and scaling.


@cold
def _count_replicas(w: World, f: Record, told: Told, change: int) -> None:
    """Add up what is paid for; over time it is booked on the bins it lasted through."""
    executors, since_s = w.executing.shape[1], f.replica_since_s
    f.replica_area_s += f.present * (f.now_s - since_s)
    if len(told.over_time) and f.present > 0 and f.now_s > f.first_s:
        _bin(told, f.now_s)
        width_s, start_s = told.grid[0], max(since_s, told.grid[1])
        while start_s < f.now_s:
            at = int((start_s - told.grid[1]) / width_s)
            end_s = min(f.now_s, told.grid[1] + (at + 1) * width_s)
            if end_s <= start_s:
                at, end_s = at + 1, min(f.now_s, told.grid[1] + (at + 2) * width_s)
            told.over_time[min(at, told.over_time.shape[0] - 1), _REPLICA] += f.present * (end_s - start_s)
            start_s = end_s
    f.replica_since_s = f.now_s
    f.present += change * executors


@cold
def _go_down(w: World, f: Record, rules: Rules, told: Told, station: int) -> None:
    s = w.stations[station]
    if s.state != DOWN:
        s.state = DOWN
        s.epoch += 1
        s.wake_s = np.inf
        w.batcher_memo[station] = 0.0
        if rules.shelf > 0:
            _forget_models(w, station)
        _count_replicas(w, f, told, -1)
        _set_accepting(w, f, rules, station)


@cold
def _crash(w: World, f: Record, rules: Rules, told: Told, station: int) -> None:
    """Everything in the station is lost."""
    s = w.stations[station]
    if s.state == DOWN:
        return
    for executor in range(w.executing.shape[1]):
        _fail_chain(w, f, rules, told, w.executing[station, executor])
        w.executing[station, executor] = NOBODY
    while s.closed_first != NOBODY:
        head = s.closed_first
        s.closed_first = w.slots[head].next_batch
        _fail_chain(w, f, rules, told, head)
    s.closed_last = NOBODY
    while s.waiting > 0:
        _refuse(w, f, rules, told, _pop(w, station), FAILED)
        s.waiting -= 1
    _count_inside(f, -w.ongoing[station])
    w.ongoing[station], s.busy, s.queued = 0, 0, 0
    _go_down(w, f, rules, told, station)


@cold
def _fail_chain(w: World, f: Record, rules: Rules, told: Told, slot: int) -> None:
    while slot != NOBODY:
        following = w.slots[slot].following
        _refuse(w, f, rules, told, slot, FAILED)
        slot = following


@cold
def _stall(w: World, f: Record, rules: Rules, lasts_s: float) -> None:
    """The proxy begins with nothing for a while; those it has not begun with move back."""
    f.stalled_s = max(f.stalled_s, f.now_s + lasts_s)
    for each in range(f.proxy_count):
        entry = w.proxy[(f.proxy_first + each) % len(w.proxy)]
        if w.slots[entry.slot].queued_s >= f.now_s:
            begins_s = f.stalled_s
            if each >= rules.workers:
                begins_s = max(begins_s, w.proxy[(f.proxy_first + each - rules.workers) % len(w.proxy)].time_s)
            w.slots[entry.slot].queued_s = begins_s
            entry.time_s = begins_s + rules.proxy_s
            w.proxy_free_s[(f.proxy_turn - f.proxy_count + each) % rules.workers] = entry.time_s


@cold
def _drain(w: World, f: Record, rules: Rules, told: Told, station: int) -> None:
    """Take nothing new on; what is being started goes down at once."""
    s = w.stations[station]
    if s.state == STARTING:
        _go_down(w, f, rules, told, station)
    elif s.state == UP:
        s.state = DRAINING
        _set_accepting(w, f, rules, station)
        _mark(w, f, station)


@cold
def _come_up(w: World, f: Record, rules: Rules, station: int) -> None:
    w.stations[station].state = UP
    _set_accepting(w, f, rules, station)
    _mark(w, f, station)


@cold
def _change_state(w: World, f: Record, rules: Rules, told: Told, station: int, what: int, value: float) -> None:
    s = w.stations[station]
    if what == STALL:
        _stall(w, f, rules, value)
    elif what == SLOW:
        s.slowness = value
    elif what == CRASH:
        _crash(w, f, rules, told, station)
        s.broken = 1
    elif what == NOTICE:
        # what is about to be taken away is not started again before there is another
        s.broken = 1
        _drain(w, f, rules, told, station)
    elif what == MEND:
        if s.broken and s.state == DOWN:
            s.broken = 0
            _count_replicas(w, f, told, 1)
            _come_up(w, f, rules, station)
    elif s.state == STARTING and float(s.epoch) == value:
        _come_up(w, f, rules, station)


@cold
def _scale(w: World, f: Record, rules: Rules, told: Told, more: bool) -> None:
    """Ask the scaler, and do as it says; `more` is whether requests are still to come."""
    _count_inside(f, 0)
    elapsed_s = f.now_s - f.scaled_s
    mean = f.inside_area_s / elapsed_s if elapsed_s > 0.0 else float(f.inside)
    f.inside_area_s, f.scaled_s = 0.0, f.now_s
    running = 0
    for station in range(len(w.stations)):
        running += w.stations[station].state == UP or w.stations[station].state == STARTING
    wanted = desired(rules.scaler, f.now_s, running, mean, rules.scaler_settings, w.scaler_memo)
    wanted = min(max(wanted, rules.least), rules.most)
    for station in range(len(w.stations)):
        s = w.stations[station]
        if running < wanted and s.state == DOWN and not s.broken:
            s.state = STARTING
            _count_replicas(w, f, told, 1)
            _schedule(w, f, f.now_s + rules.cold_start_s, STATE, station, COME_UP, float(s.epoch))
            running += 1
    for station in range(len(w.stations) - 1, -1, -1):
        if running > wanted and (w.stations[station].state == UP or w.stations[station].state == STARTING):
            _drain(w, f, rules, told, station)
            running -= 1
    # what waits for what will never come, say for company in a batch, would be asked about for ever
    if more or f.calendar + f.proxy_count + f.timeout_count + f.hedge_count > 0:
        f.stirred_s = f.now_s
    if f.now_s - f.stirred_s < GIVES_UP_S:
        _schedule(w, f, f.now_s + rules.interval_s, SCALE, 0, 0, 0.0)


# The loop.


@hot
def _has_room(w: World, f: Record) -> bool:
    # one event, or one look of all stations, takes one slot at most, and two entries for each attempt that is refused and
    # asked again, one for each batch that starts, and one for each station that will look again
    return bool(
        f.free_count > 1
        and f.calendar + 2 * (len(w.slots) - f.free_count) + 4 * w.executing.size + 16 <= len(w.calendar)
        and f.proxy_count + 1 < len(w.proxy)
        and f.timeout_count + 1 < len(w.timeouts)
        and f.hedge_count + 1 < len(w.hedges)
    )


@hot
def _end_instant(w: World, f: Record, rules: Rules, told: Told) -> None:
    """The router offers what waits, then the stations that changed look; what they change is seen to the next time."""
    _offer(w, f, rules)
    marked = f.dirty
    f.dirty = 0
    for each in range(marked):
        w.looking[each] = w.dirty[each]
        w.is_dirty[w.dirty[each]] = 0
    for each in range(marked):
        _look(w, f, rules, told, w.looking[each])


@hot
def _happen(w: World, f: Record, rules: Rules, chunk: Chunk, told: Told, kind: int) -> None:
    """The next event of a kind."""
    if kind == ARRIVE:
        _arrive(w, f, rules, chunk, told)
    elif kind == PROXY:
        slot = w.proxy[f.proxy_first].slot
        f.proxy_first, f.proxy_count = (f.proxy_first + 1) % len(w.proxy), f.proxy_count - 1
        _reach_router(w, f, rules, told, slot)
    elif kind == TIMEOUT:
        entry = w.timeouts[f.timeout_first]
        slot, serial = entry.slot, entry.serial
        f.timeout_first, f.timeout_count = (f.timeout_first + 1) % len(w.timeouts), f.timeout_count - 1
        if w.slots[slot].serial == serial and not w.slots[slot].given_up:
            _give_up(w, f, rules, told, slot)
    elif kind == HEDGE:
        entry = w.hedges[f.hedge_first]
        slot, serial = entry.slot, entry.serial
        f.hedge_first, f.hedge_count = (f.hedge_first + 1) % len(w.hedges), f.hedge_count - 1
        if w.slots[slot].serial == serial and not w.slots[slot].given_up:
            _hedge(w, f, rules, told, slot)
    else:
        _happen_next(w, f, rules, told, kind, f.cursor < len(chunk.arrivals_s) or f.thinking > 0)


@hot
def _happen_next(w: World, f: Record, rules: Rules, told: Told, kind: int, more: bool) -> None:
    """The first entry of the calendar."""
    top = w.calendar[0]
    subject, detail, value, time_s = top.subject, top.detail, top.value, top.time_s
    _drop_top(w, f)
    if kind == FINISH:
        _finish(w, f, rules, told, subject, detail, value)
    elif kind == LOOK:
        if w.stations[subject].wake_s == time_s and w.stations[subject].epoch == detail:
            w.stations[subject].wake_s = np.inf
            _mark(w, f, subject)
    elif kind == RESEND:
        a = w.slots[subject]
        if a.serial == detail:
            a.attempt = a.made
            a.made += 1
            _send(w, f, rules, told, subject)
    elif kind == LEAVE:
        if w.slots[subject].serial == detail and not w.slots[subject].given_up:
            _leave(w, f, rules, told, subject)
    elif kind == SCALE:
        _scale(w, f, rules, told, more)
    elif kind == STATE:
        _change_state(w, f, rules, told, subject, detail, value)
    else:
        _go_on(w, f, rules, told, kind, subject, detail)


@cold
def _go_on(w: World, f: Record, rules: Rules, told: Told, kind: int, subject: int, detail: int) -> None:
    """What only happens where users wait for their answers, or models share stations."""
    if kind == ASK:
        _ask(w, f, rules, told, subject)
    else:
        _have_loaded(w, f, rules, told, subject, detail)


@hot
def _sooner(time_s: float, kind: int, next_s: float, next_kind: int) -> tuple[float, int]:
    if next_s < time_s or (next_s == time_s and kind > next_kind):
        return next_s, next_kind
    return time_s, kind


@hot
def _next(w: World, f: Record, arrivals_s: Floats) -> tuple[float, int]:
    """When the next event is, and of which kind."""
    time_s, kind = np.inf, LOOK
    if f.calendar > 0:
        time_s, kind = w.calendar[0].time_s, w.calendar[0].order >> 56
    if f.timeout_count > 0:
        time_s, kind = _sooner(time_s, kind, w.timeouts[f.timeout_first].time_s, TIMEOUT)
    if f.proxy_count > 0:
        time_s, kind = _sooner(time_s, kind, w.proxy[f.proxy_first].time_s, PROXY)
    if f.hedge_count > 0:
        time_s, kind = _sooner(time_s, kind, w.hedges[f.hedge_first].time_s, HEDGE)
    if f.cursor < len(arrivals_s):
        time_s, kind = _sooner(time_s, kind, arrivals_s[f.cursor], ARRIVE)
    return time_s, kind


def _whole_loop(sources: int) -> Any:
    """Compile the loop.

    What is kept of it on disk is found by its own file and by `sources`, no further does numba look: it must not outlive a
    change of the policies that were compiled into it.
    """

    @njit(**_entry)
    def advance(w: World, rules: Rules, chunk: Chunk, told: Told, most_live: int) -> int:
        """Let everything happen that is known to happen, and say why no more does.

        Args:
            w: the state, changed in place.
            rules: what holds throughout.
            chunk: arrivals; `flow.cursor` says up to where they have been used.
            told: what is written down.
            most_live: attempts that may be under way at once before the loop gives in, those counted that nobody waits for.

        Returns:
            `DONE`, `WANTS_ARRIVALS`, `WANTS_ROOM` (`world.grow`, and call again), or `OVERFLOWS`.
        """
        if sources < 0:  # it never is: what a function does not use is no part of it
            return DONE
        f = w.flow[0]
        arrivals_s, count = chunk.arrivals_s, len(chunk.arrivals_s)
        make_room(told.latency, f.request + count - f.cursor)
        make_room(told.wait, f.request + count - f.cursor)
        while True:
            if not _has_room(w, f):
                return WANTS_ROOM
            if f.cursor >= count and not chunk.last:
                return WANTS_ARRIVALS
            if len(w.slots) - f.free_count > most_live or f.calendar > 4 * most_live:
                _count_replicas(w, f, told, 0)
                return OVERFLOWS
            time_s, kind = _next(w, f, arrivals_s)
            # a station that begins a batch may accept again without anything else having changed in it
            if time_s > f.now_s and (f.dirty > 0 or (f.held > 0 and f.accepting > 0)):
                _end_instant(w, f, rules, told)
                continue
            if time_s == np.inf or (f.cursor >= count and f.live == 0 and f.inside == 0 and f.thinking == 0):
                _count_replicas(w, f, told, 0)
                return DONE
            f.now_s = time_s
            _happen(w, f, rules, chunk, told, kind)

    return advance


advance = _whole_loop(digest_of_sources())
