"""The state of a simulation: what the compiled loop reads and writes, as a few arrays of records.

Records lie together in memory as they are used together; they are views in compiled code, so that setting a field sets it
here. Nothing in them points into Python: a world can be written down, grown and taken up again at any instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[Any]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

DOWN, STARTING, UP, DRAINING = range(4)
"""What a station may be: away; being started; serving; serving what it has, and nothing new."""

FINISH, LOADED, STATE, ARRIVE, ASK, RESEND, HEDGE, PROXY, TIMEOUT, LEAVE, SCALE, LOOK = range(12)
"""What can happen, in the order in which it happens at one instant."""

COME_UP, MEND, CRASH, NOTICE, SLOW, STALL = range(6)
"""What a `STATE` event does to a station, or to the proxy."""

DONE, WANTS_ARRIVALS, WANTS_ROOM, OVERFLOWS = range(4)
"""Why the loop returned."""

NOBODY = -1
"""No slot, no station."""

RESTING = -2
"""The station of an attempt that waits to be sent again."""

LOADED_HERE = 1 << 40
"""What a model that is at hand adds to the attempts that ask for it at a station."""

SLOT = np.dtype([
    ("request", "i8"), ("key", "i8"), ("serial", "i8"), ("following", "i8"), ("twin", "i8"), ("next_batch", "i8"),
    ("scheduled_s", "f8"), ("sent_s", "f8"), ("queued_s", "f8"), ("started_s", "f8"), ("deadline_s", "f8"), ("leaves_s", "f8"),
    ("attempt", "i4"), ("made", "i4"), ("work", "i4"), ("priority", "i4"), ("station", "i4"), ("replica", "i4"), ("batch", "i4"),
    ("given_up", "i4"),
])  # fmt: skip
"""One attempt of a request: where it is, since when, and whether anybody still waits for it."""

STATION = np.dtype([
    ("state", "i8"), ("epoch", "i8"), ("waiting", "i8"), ("queued", "i8"), ("busy", "i8"), ("group", "i8"), ("broken", "i8"),
    ("closed_first", "i8"), ("closed_last", "i8"), ("slowness", "f8"), ("wake_s", "f8"),
    ("models", "i8"), ("loader", "i8"), ("awaiting", "i8"),
])  # fmt: skip
"""One queue and what serves it. Closed batches are a chain of their first attempts. `models` are at hand, `loader` is the
executor that loads one or `NOBODY`, `awaiting` so many wait for their turn to."""

EVENT = np.dtype([("time_s", "f8"), ("order", "i8"), ("subject", "i8"), ("detail", "i8"), ("value", "f8")])
"""An entry of the calendar; `order` is the kind above the sequence number."""

PENDING = np.dtype([("time_s", "f8"), ("slot", "i8"), ("serial", "i8")])
"""An entry of a queue whose times only rise: the proxy's, the timeouts', the hedges'."""

FLOW = np.dtype([
    ("now_s", "f8"), ("cursor", "i8"), ("request", "i8"), ("serial", "i8"), ("sequence", "i8"),
    ("free", "i8"), ("free_count", "i8"), ("live", "i8"), ("calendar", "i8"),
    ("proxy_first", "i8"), ("proxy_count", "i8"), ("proxy_turn", "i8"), ("stalled_s", "f8"),
    ("timeout_first", "i8"), ("timeout_count", "i8"), ("hedge_first", "i8"), ("hedge_count", "i8"),
    ("accepting", "i8"), ("held", "i8"), ("dirty", "i8"), ("present", "i8"), ("tokens", "f8"),
    ("inside", "i8"), ("inside_area_s", "f8"), ("inside_since_s", "f8"), ("replica_area_s", "f8"), ("replica_since_s", "f8"),
    ("scaled_s", "f8"), ("completed", "i8"), ("timed_out", "i8"), ("shed", "i8"), ("failed", "i8"), ("left", "i8"),
    ("attempts", "i8"), ("batches", "i8"), ("served", "i8"), ("wasted", "i8"),
    ("busy_s", "f8"), ("ended_s", "f8"), ("first_s", "f8"), ("stirred_s", "f8"),
    ("thinking", "i8"), ("asked_s", "f8"), ("parts", "i8"), ("misses", "i8"), ("loads", "i8"), ("loading_s", "f8"),
])  # fmt: skip
"""Everything of which there is one: the clock, the ends of queues, the counts."""


class World(NamedTuple):
    """The state, as arrays of records.

    Args:
        flow: `FLOW` `[1]`.
        stations: `STATION` `[stations]`.
        ongoing: int64 `[stations]`, attempts waiting or being served, as routers see it.
        accepting: int64 `[stations]`, the stations that accept attempts, rising; `flow.accepting` of them.
        dirty: int64 `[stations]`, those in which something changed at this instant; `flow.dirty` of them.
        looking: int64 `[stations]`, those that look now.
        is_dirty: int64 `[stations]`, 1 for these.
        executing: int64 `[stations, executors]`, the first attempt of what each executor serves, or `NOBODY`.
        first: int64 `[stations + 1, priorities]`, the heads of queues; the last row is the router's own.
        last: int64 as `first`, their tails.
        slots: `SLOT` `[room]`.
        calendar: `EVENT` `[room]`, a heap.
        proxy: `PENDING` `[room]`, a ring.
        timeouts: `PENDING` `[room]`, a ring.
        hedges: `PENDING` `[room]`, a ring.
        proxy_free_s: float64 `[workers]`, when each of the proxy's workers is free.
        batcher_memo: float64 `[stations, 64 or more]`, the batchers' own.
        router_memo: float64, the router's own.
        scaler_memo: float64, the scaler's own.
        claims: int64 `[stations, models + 1]`, in the first column how many models a station holds or is asked for, then for each
            model how many attempts there want it, and `LOADED_HERE` more where it is at hand; none where models are not told apart.
        shelf: int64 `[stations, models a station holds]`, those at hand, the least recently used first.
        turns: int64 `[stations, executors]`, the executors that wait for their turn to load, in order.
        whole: float64 `[stations, executors, 3]`, of the closed batch whose parts an executor serves: when the first part was
            begun, how many it had, when the oldest of it came.
    """

    flow: Records
    stations: Records
    ongoing: Ints
    accepting: Ints
    dirty: Ints
    looking: Ints
    is_dirty: Ints
    executing: Ints
    first: Ints
    last: Ints
    slots: Records
    calendar: Records
    proxy: Records
    timeouts: Records
    hedges: Records
    proxy_free_s: Floats
    batcher_memo: Floats
    router_memo: Floats
    scaler_memo: Floats
    claims: Ints
    shelf: Ints
    turns: Ints
    whole: Floats


def build(
    stations: int,
    executors: int,
    priorities: int,
    workers: int,
    memo: int,
    room: int,
    router_memo: Floats,
    shelf: int = 0,
) -> World:
    """An empty world: all stations down, no one in it.

    Args:
        stations: how many there may ever be at once.
        executors: of each.
        priorities: how many classes.
        workers: of the proxy.
        memo: floats a batcher keeps a station.
        room: attempts that may be alive at once; `grow` makes more.
        router_memo: what the router knows at first.
        shelf: models a station holds at once; zero where models are not told apart.
    """
    flow = np.zeros(1, dtype=FLOW)
    each = np.zeros(stations, dtype=STATION)
    each["slowness"], each["wake_s"] = 1.0, np.inf
    each["closed_first"] = each["closed_last"] = each["loader"] = NOBODY
    ongoing, accepting, dirty, looking, is_dirty = (np.zeros(stations, dtype=np.int64) for _ in range(5))
    first, last = (np.full((stations + 1, priorities), NOBODY, dtype=np.int64) for _ in range(2))
    proxy, timeouts, hedges = (np.zeros(0, dtype=PENDING) for _ in range(3))
    world = World(
        flow, each, ongoing, accepting, dirty, looking, is_dirty,
        np.full((stations, executors), NOBODY, dtype=np.int64), first, last, np.zeros(0, dtype=SLOT), np.zeros(0, dtype=EVENT),
        proxy, timeouts, hedges, np.zeros(max(workers, 1)), np.zeros((stations, memo)), router_memo,
        np.zeros(memo), np.zeros((stations, 1), dtype=np.int64), np.full((stations, shelf), NOBODY, dtype=np.int64),
        np.zeros((stations, executors), dtype=np.int64), np.zeros((stations, executors, 3)),
    )  # fmt: skip
    flow["free"], flow["stalled_s"] = NOBODY, -np.inf
    flow["first_s"], flow["ended_s"] = np.nan, -np.inf
    return grow(world, room)


def grow(world: World, room: int) -> World:
    """The same world with room for so many attempts; what was in it lies where it lay, rings are straightened."""
    flow = world.flow[0]
    slots = np.zeros(room, dtype=SLOT)
    old = len(world.slots)
    slots[:old] = world.slots
    slots["following"][old:] = np.append(np.arange(old + 1, room), flow["free"])
    slots["serial"][old:] = NOBODY
    flow["free"], flow["free_count"] = old, flow["free_count"] + room - old
    calendar = np.zeros(2 * room + 8 * world.executing.size + 256, dtype=EVENT)
    calendar[: flow["calendar"]] = world.calendar[: flow["calendar"]]
    rings = {name: _straightened(getattr(world, ring), flow, name, 4 * room) for name, ring in _RINGS.items()}
    return world._replace(
        slots=slots, calendar=calendar, proxy=rings["proxy"], timeouts=rings["timeout"], hedges=rings["hedge"]
    )


def widen(world: World, priorities: int) -> World:
    """The same world with queues for so many classes at least."""
    more = priorities - world.first.shape[1]
    if more <= 0:
        return world
    none = np.full((len(world.first), more), NOBODY, dtype=np.int64)
    # what is joined along the second axis must lie row by row, as the compiled loop expects
    first, last = (np.ascontiguousarray(np.hstack([ends, none])) for ends in (world.first, world.last))
    return world._replace(first=first, last=last)


def make_known(world: World, models: int) -> World:
    """The same world with a claim for each of so many models at least."""
    more = models + 1 - world.claims.shape[1]
    if more <= 0:
        return world
    none = np.zeros((len(world.claims), more), dtype=np.int64)
    return world._replace(claims=np.ascontiguousarray(np.hstack([world.claims, none])))


_RINGS = {"proxy": "proxy", "timeout": "timeouts", "hedge": "hedges"}


def _straightened(ring: Records, flow: Any, name: str, room: int) -> Records:
    first, count = int(flow[f"{name}_first"]), int(flow[f"{name}_count"])
    longer = np.zeros(room, dtype=PENDING)
    if count:
        longer[:count] = ring[(first + np.arange(count)) % len(ring)]
    flow[f"{name}_first"] = 0
    return longer
