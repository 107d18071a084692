"""A flight: traffic meets a system, in pieces that fit into memory, and what became of it is counted or written down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.request_log import FAILED, RequestLog
from windtunnel.simulate.batching import IdealBatching
from windtunnel.trace import Trace

from .admission import Admission
from .chance import origin, uniform_from
from .client import Client
from .histogram import Histogram
from .kernel import ANEW, OVER_TIME, ROW, Chunk, Rules, Told, advance
from .multiplex import MOST_MODELS
from .population import EXPONENTIAL, Population
from .shared_queue import BATCHES, BUSY, ENDED, serve_piece
from .sketch import Sketch, make_room
from .summary import Summary
from .world import ASK, OVERFLOWS, SCALE, SLOW, STATE, UP, WANTS_ARRIVALS, WANTS_ROOM, build, grow, make_known, widen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.simulate.arrivals import Generator

    from .system import System
    from .world import World

    Floats = NDArray[np.float64]

PIECE = 1 << 15
"""Arrivals that are generated at once: what a core's own cache holds."""

BINS = 480
"""Into how many intervals a timeline is cut at most; half as many at least."""

MOST_LIVE = 20_000_000
"""Requests that may be under way at once (4 GiB): a queue that is longer is given up as one that only grows."""

ROOM = 1024
"""Attempts that there is room for at first."""

NO_KEY = -1
"""The key of requests that have none."""


@dataclass(frozen=True)
class Flight:
    """What became of the requests.

    Args:
        log: one row a request; None where it was not asked for.
        summary: in a few figures.
        over_time: float64 `[bins, columns]`, columns as in `kernel.OVER_TIME`.
        bin_s: how long a bin is.
        first_s: when the first request came.
        last_s: when the last one did.
        drift_per_s: requests a second by which the queue grew while they came; zero where it was worked off as they did, and in
            a closed loop, where no more can wait than there are users.
        wasted: attempts that were served for nobody.
        overflowed: whether so many waited that the rest was not flown.
        parts: of batches, cut by model, where models share stations; each wanted its model.
        misses: parts that did not find it at hand.
        loads: of models; some who miss one find that another has loaded it meanwhile.
        loading_s: what all loads took.
    """

    log: RequestLog | None
    summary: Summary
    over_time: Floats
    bin_s: float
    first_s: float
    last_s: float
    drift_per_s: float
    wasted: int
    overflowed: bool
    parts: int = 0
    misses: int = 0
    loads: int = 0
    loading_s: float = 0.0

    @property
    def good(self) -> int:
        """Answers within what a good one takes at most."""
        return round(float(np.sum(self.over_time[:, OVER_TIME.index("good")])))

    def timeline(self) -> pl.DataFrame:
        """The flight over time: a row a bin with its start, columns as in `kernel.OVER_TIME`; empty bins at the end are left out."""
        used = int(np.flatnonzero(self.over_time.any(axis=1)).max(initial=0)) + 1
        starts = {"start_s": self.first_s + self.bin_s * np.arange(used)}
        return pl.DataFrame(starts | {name: self.over_time[:used, at] for at, name in enumerate(OVER_TIME)})


def fly(
    system: System,
    traffic: Trace | Population | Iterable[Chunk],
    seeds: Seeds,
    *,
    log: bool = False,
    slo_s: float = np.inf,
    bin_s: float = 0.001,
) -> Flight:
    """Fly traffic through a system.

    Args:
        system: what serves, and who asks.
        traffic: a trace; or users who wait for their answers; or chunks of arrivals in order, of which the last says so: any
            number, one in memory at a time.
        seeds: streams `service` (service times), `routing` and `clients` are used.
        log: whether every request is written down; not of chunks.
        slo_s: what a good answer takes at most, for the timeline.
        bin_s: of the timeline; doubled as often as it takes.

    Raises:
        DataError: a log of chunks, whose number is not known; no request at all; a size class that the system has no times
            for, a negative priority, a key that is no model.
    """
    if isinstance(traffic, Population):
        told = _told(np.zeros(traffic.requests if log else 0, dtype=ROW), slo_s, bin_s)
        return _Full(system, seeds, told, traffic).run(_nobody(), iter(()))
    trace = traffic if isinstance(traffic, Trace) else None
    if log and trace is None:
        raise DataError("is not kept of traffic that streams", field="log", fix="give a trace, or do without")
    rows = _unanswered(trace) if log and trace is not None else np.zeros(0, dtype=ROW)
    chunks = chunks_of(trace) if trace is not None else iter(traffic)  # type: ignore[arg-type]  # else they are chunks
    told = _told(rows, slo_s, bin_s)
    first = next(chunks, None)
    if first is None or not len(first.arrivals_s):
        raise DataError("holds no request", field="traffic", value=0)
    told.grid[1] = first.arrivals_s[0]
    plain = _is_plain(system) and _has_no_columns(first)
    course: _Plain | _Full = _Plain(system, seeds, told) if plain else _Full(system, seeds, told)
    return course.run(first, chunks)


def _told(rows: NDArray[Any], slo_s: float, bin_s: float) -> Told:
    rows["started_s"] = rows["finished_s"] = np.nan
    rows["replica"], rows["status"] = -1, FAILED
    over_time, grid = np.zeros((BINS, len(OVER_TIME))), np.array([bin_s, 0.0])
    return Told(rows, Sketch.empty(), Sketch.empty(), over_time, grid, float(slo_s))


def _nobody() -> Chunk:
    """No arrivals: users ask by themselves."""
    none = np.zeros(1, dtype=np.int32)
    chunk = Chunk(np.zeros(0), none, none, np.full(1, np.inf), np.full(1, NO_KEY), True)
    return _frozen_chunk(chunk)


def _unanswered(trace: Trace) -> NDArray[Any]:
    """The rows of requests that nothing ever became of; others overwrite theirs."""
    rows = np.zeros(len(trace), dtype=ROW)
    rows["scheduled_s"] = rows["sent_s"] = trace.arrivals_s
    return rows


def chunks_of(trace: Trace, length: int = 2**62) -> Iterator[Chunk]:
    """A trace in pieces of so many requests."""
    for start in range(0, len(trace), length):
        part = slice(start, start + length)
        found = {name: column[part] for name, column in trace.columns.items()}
        if len(trace.arrivals_s[part]) == 1:
            # a column of one value would hold for all pieces
            found = {name: np.repeat(column, 2) for name, column in found.items()}
        yield Chunk(
            np.ascontiguousarray(trace.arrivals_s[part]),
            np.asarray(found.get("size", np.zeros(1)), dtype=np.int32),
            np.asarray(found.get("priority", np.zeros(1)), dtype=np.int32),
            np.asarray(found.get("deadline_s", np.full(1, np.inf)), dtype=np.float64),
            np.asarray(found.get("key", np.full(1, NO_KEY)), dtype=np.int64),
            start + length >= len(trace),
        )  # fmt: skip


def chunks_from(generator: Generator, requests: int, seed: int) -> Iterator[Chunk]:
    """So many arrivals of a generator, a piece at a time; fewer where it ends before.

    Args:
        generator: of arrivals.
        requests: how many.
        seed: of the generator.
    """
    state, none, endless = generator.start(seed), np.zeros(1, dtype=np.int32), np.full(1, np.inf)
    no_key = np.full(1, NO_KEY)
    for start in range(0, requests, PIECE):
        arrivals_s = np.empty(min(PIECE, requests - start))
        generator.fill(state, arrivals_s)
        ends = bool(np.isinf(arrivals_s[-1]))
        last = ends or start + PIECE >= requests
        yield Chunk(arrivals_s[np.isfinite(arrivals_s)], none, none, endless, no_key, last)
        if ends:
            return


def _is_plain(system: System) -> bool:
    """Whether one queue that batches ideally is all there is: the loop for that is several times as fast."""
    return (
        system.stations == 1 and isinstance(system.batcher, IdealBatching) and system.by_group.shape[:2] == (1, 1)
        and system.client == Client() and system.admission == Admission() and not system.slowness
        and not (system.scaling or system.proxy or system.faults or system.multiplex)
    )  # fmt: skip


def _has_no_columns(chunk: Chunk) -> bool:
    return all(len(column) == 1 for column in (chunk.work, chunk.priority, chunk.deadline_s))


def _ready(chunk: Chunk, system: System) -> Chunk:
    """The chunk as the compiled loop takes it.

    Checked, for the loop trusts what it looks things up by; and all of one kind of array, for another kind, be it one that
    may be written to, would be another loop to compile.
    """
    sizes = system.by_group.shape[1]
    if len(chunk.work) and not 0 <= chunk.work.min() <= chunk.work.max() < sizes:
        raise DataError(
            f"is no size class: the system has service times for {sizes}", field="size", value=int(chunk.work.max()),
            fix="rename the column `size`, or give a table with a row of service times for each class",
        )  # fmt: skip
    if len(chunk.priority) and chunk.priority.min() < 0:
        raise DataError("must be zero or more", field="priority", value=int(chunk.priority.min()))
    if system.multiplex and len(chunk.key) and not 0 <= chunk.key.min() <= chunk.key.max() < MOST_MODELS:
        wrong = int(chunk.key.min() if chunk.key.min() < 0 else chunk.key.max())
        raise DataError(
            f"is no model: models that share stations are numbered from 0 to {MOST_MODELS - 1:,}", field="key", value=wrong,
            fix="give the requests a column `key` that says which model each is for (--column key=model, or --keys)",
        )  # fmt: skip
    return _frozen_chunk(chunk)


def _frozen_chunk(chunk: Chunk) -> Chunk:
    return Chunk(
        _frozen(chunk.arrivals_s, np.float64), _frozen(chunk.work, np.int32), _frozen(chunk.priority, np.int32),
        _frozen(chunk.deadline_s, np.float64), _frozen(chunk.key, np.int64), bool(chunk.last),
    )  # fmt: skip


def _frozen(column: NDArray[Any], dtype: type) -> NDArray[Any]:
    view: NDArray[Any] = np.ascontiguousarray(column, dtype=dtype).view()
    view.flags.writeable = False
    return view


class _Plain:
    """A flight through one queue, under way."""

    def __init__(self, system: System, seeds: Seeds, told: Told) -> None:
        self.system, self.told = system, told
        self.luck = _luck(seeds, "service")
        self.idle_from_s, self.tally = np.zeros(system.executors), np.zeros(4)
        self.tally[ENDED] = -np.inf

    def run(self, chunk: Chunk, chunks: Iterator[Chunk]) -> Flight:
        """Fly all chunks."""
        table, batcher = np.ascontiguousarray(self.system.by_group[0, 0]), self.system.batcher
        wait_s = float(batcher.settings()[1])
        rest, requests, last_s = np.empty(0), 0, float(chunk.arrivals_s[0])
        while True:
            arrivals_s = np.concatenate([rest, chunk.arrivals_s])
            served = serve_piece(
                arrivals_s, chunk.last, table, batcher.max_batch, wait_s, self.luck, self.idle_from_s, self.tally, self.told
            )  # fmt: skip
            rest, requests = arrivals_s[served:], requests + served
            last_s = float(arrivals_s[-1]) if len(arrivals_s) else last_s
            if chunk.last:
                return self._landed(requests, last_s)
            chunk = next(chunks)

    def _landed(self, requests: int, last_s: float) -> Flight:
        counts = {"requests": requests, "completed": requests, "attempts": requests, "served": requests}
        first_s, ended_s, replicas = float(self.told.grid[1]), float(self.tally[ENDED]), self.system.executors
        counts["batches"] = int(self.tally[BATCHES])
        paid_s = replicas * (ended_s - first_s)
        return _landed(self.told, counts, first_s, last_s, ended_s, float(self.tally[BUSY]), paid_s, self.system)


class _Full:
    """A flight through a whole system, under way."""

    def __init__(self, system: System, seeds: Seeds, told: Told, population: Population | None = None) -> None:
        self.system, self.told, self.population = system, told, population
        self.asks_s = first_asks_s(population, seeds) if population else []
        self.rules = rules_of(system, seeds, population, min(self.asks_s, default=0.0))

    def run(self, chunk: Chunk, chunks: Iterator[Chunk]) -> Flight:
        """Fly all chunks, or as long as users ask."""
        if self.population is None:
            chunk = _ready(chunk, self.system)
            first_s, last_s = float(chunk.arrivals_s[0]), float(chunk.arrivals_s[-1])
        else:
            first_s = last_s = self.told.grid[1] = min(self.asks_s)
        asks = [(ask_s, user) for user, ask_s in enumerate(self.asks_s) if ask_s < self.rules.asks_until_s]
        world = self._known(_begin(self.system, first_s, int(chunk.priority.max()) + 1, asks), chunk)
        while True:
            why = advance(world, self.rules, chunk, self.told, MOST_LIVE)
            if why == WANTS_ROOM:
                world = grow(world, 2 * len(world.slots))
            elif why == WANTS_ARRIVALS:
                chunk = _ready(next(chunks), self.system)
                world = self._known(widen(world, int(chunk.priority.max(initial=0)) + 1), chunk)
                world.flow["cursor"] = 0
                last_s = float(chunk.arrivals_s[-1]) if len(chunk.arrivals_s) else last_s
            else:
                return self._landed(world, last_s, overflowed=bool(why == OVERFLOWS))

    def _known(self, world: World, chunk: Chunk) -> World:
        """The world with the models that a chunk asks for, where they are told apart."""
        if self.system.multiplex is None:
            return world
        return make_known(
            world, max(int(chunk.key.max(initial=-1)) + 1, self.population.users if self.population else 0)
        )

    def _landed(self, world: World, last_s: float, *, overflowed: bool) -> Flight:
        flow = world.flow[0]
        if self.population is not None:
            last_s = float(flow["asked_s"])
        if overflowed:
            last_s = flow["ended_s"] = float(flow["now_s"])
        names = "completed", "timed_out", "shed", "failed", "left", "attempts", "batches", "served"
        counts = {"requests": int(flow["request"]), **{name: int(flow[name]) for name in names}}
        # what was never answered, because nothing was left that could answer it
        counts["failed"] += int(flow["live"])
        return _landed(
            self.told, counts, float(flow["first_s"]), last_s, float(flow["ended_s"]), float(flow["busy_s"]),
            float(flow["replica_area_s"]), self.system, wasted=int(flow["wasted"]), overflowed=overflowed,
            closed=self.population is not None,
            multiplexed={name: flow[name].item() for name in ("parts", "misses", "loads", "loading_s")},
        )  # fmt: skip


def _landed(
    told: Told,
    counts: dict[str, int],
    first_s: float,
    last_s: float,
    ended_s: float,
    busy_s: float,
    replica_s: float,
    system: System,
    *,
    wasted: int = 0,
    overflowed: bool = False,
    closed: bool = False,
    multiplexed: Mapping[str, Any] = MappingProxyType({}),
) -> Flight:
    for sketch in (told.latency, told.wait):
        make_room(sketch, counts["requests"])
    drift_per_s = 0.0 if closed and not overflowed else _drift_per_s(told, last_s, system, counts if overflowed else {})
    each = {name: counts.get(name, 0) for name in ("shed", "timed_out", "failed", "left")}
    summary = Summary(
        requests=counts["requests"], completed=counts["completed"], **each, attempts=counts["attempts"],
        served=counts["served"], batches=counts["batches"], seconds_simulated=ended_s - first_s, busy_s=busy_s,
        replica_s=replica_s, latency_times=Histogram.of(told.latency), wait_times=Histogram.of(told.wait),
    )  # fmt: skip
    rows = told.rows[: counts["requests"]]
    log = RequestLog(*(np.ascontiguousarray(rows[name]) for name in RequestLog.__dataclass_fields__))
    return Flight(
        log if len(told.rows) else None, summary, told.over_time, float(told.grid[0]), first_s, last_s,
        drift_per_s, wasted, overflowed, **multiplexed,
    )  # fmt: skip


BACKLOG_SHARE = 0.01
"""A queue that holds more than this share of all requests when the last one comes counts as one that grows."""


def _drift_per_s(told: Told, last_s: float, system: System, overflow: dict[str, int]) -> float:
    """By how much the queue grew a second: what was served only after the last request came, where that is much."""
    if overflow:
        return (overflow["attempts"] - overflow["served"]) / max(last_s - float(told.grid[1]), 1e-9)
    after = int((last_s - told.grid[1]) / told.grid[0]) + 1
    behind = float(np.sum(told.over_time[after:, OVER_TIME.index("served")]))
    total = float(np.sum(told.over_time[:, OVER_TIME.index("arrived")]))
    most = max(2 * system.most * system.executors * system.max_batch, BACKLOG_SHARE * total)
    return behind / (last_s - float(told.grid[1])) if behind > most and last_s > told.grid[1] else 0.0


def _luck(seeds: Seeds, source: str) -> np.uint64:
    # compiled code hands a plain int back
    return np.uint64(origin(np.uint64(seeds.number(source))))


def first_asks_s(population: Population, seeds: Seeds) -> list[float]:
    """When each user asks for the first time: after what is left of a think time as one finds it."""
    luck = _luck(seeds, "clients")
    draws = (uniform_from(luck, 2 * (user + (2 << ANEW))) for user in range(population.users))
    if population.law == EXPONENTIAL:
        return [population.think_s * -math.log(1.0 - draw) for draw in draws]
    return [population.think_s * draw for draw in draws]


def rules_of(system: System, seeds: Seeds, population: Population | None = None, first_s: float = 0.0) -> Rules:
    """What does not change while a system is flown.

    Args:
        system: the system.
        seeds: of its chance.
        population: who asks; None where requests come by themselves.
        first_s: when the first of them asks.
    """
    multiplex = system.multiplex
    batcher, router, scaling, client = system.batcher, system.router, system.scaling, system.client
    admission, proxy = system.admission, system.proxy
    caps = [each for each in (admission.max_waiting, batcher.max_waiting) if each >= 0]
    rules = Rules(
        system.by_group, batcher.padded(batcher.max_batch), batcher.code, batcher.settings(),
        router.code, router.settings(),
        scaling.scaler.code if scaling else -1, scaling.scaler.settings() if scaling else np.zeros(1),
        scaling.scaler.interval_s if scaling else 0.0, scaling.cold_start_s if scaling else 0.0,
        scaling.least if scaling else system.stations, scaling.most if scaling else system.stations,
        admission.max_ongoing, min(caps, default=-1), admission.max_queued, admission.drops_abandoned, admission.drops_late,
        proxy.workers if proxy else 0, proxy.service_s if proxy else 0.0,
        client.timeout_s, client.retries, client.backoff_s, client.backoff_max_s, client.jitter, client.budget_ratio,
        client.budget_burst, client.hedge_s, client.patience_s,
        _luck(seeds, "service"), _luck(seeds, "routing"), _luck(seeds, "clients"),
        population.users if population else 0, population.think_s if population else 0.0,
        population is not None and population.law == EXPONENTIAL, population.requests if population else 0,
        max(first_s + population.seconds, np.nextafter(first_s, np.inf)) if population else np.inf,
        multiplex.models_per_replica if multiplex else 0, multiplex.load_s if multiplex else 0.0,
        multiplex is not None and multiplex.law == EXPONENTIAL,
    )  # fmt: skip
    return Rules(*(_plain(name, value) for name, value in rules._asdict().items()))


def _plain(name: str, value: Any) -> Any:
    # a whole number where another is not, or an array that may not be written to, would be another loop to compile
    if isinstance(value, np.ndarray):
        return np.array(value, dtype=np.int64 if name == "padded" else np.float64, order="C")
    return float(value) if name.endswith("_s") or name in {"jitter", "budget_ratio", "budget_burst"} else value


def _begin(system: System, first_s: float, priorities: int, asks: Sequence[tuple[float, int]] = ()) -> World:
    """The world at the first arrival: the first stations are up; faults, looks and users' first requests are in the calendar."""
    entries = _entries(system, first_s, asks)
    scaling, up = system.scaling, system.stations
    memo = max(system.batcher.memo, scaling.scaler.memo if scaling else 1, 1)
    workers = system.proxy.workers if system.proxy else 0
    world = build(
        system.most, system.executors, priorities, workers, memo, ROOM + len(entries), system.router.memory(system.most),
        system.multiplex.models_per_replica if system.multiplex else 0,
    )  # fmt: skip
    flow = world.flow
    world.stations["state"][:up] = UP
    world.accepting[:up] = np.arange(up)
    if system.groups:
        world.stations["group"] = system.groups
    if system.slowness:
        world.stations["slowness"] = system.slowness
    for name in ("now_s", "first_s", "inside_since_s", "replica_since_s", "scaled_s", "stirred_s"):
        flow[name] = first_s
    flow["accepting"], flow["present"] = up, up * system.executors
    flow["tokens"] = min(system.client.budget_burst, 2.0**53)
    world.calendar[: len(entries)] = entries
    flow["calendar"] = flow["sequence"] = len(entries)
    flow["thinking"] = len(asks)
    return world


def _entries(system: System, first_s: float, asks: Sequence[tuple[float, int]]) -> list[tuple[Any, ...]]:
    """What is scheduled from the start, sorted: what is sorted is a heap."""
    entries: list[tuple[Any, ...]] = [
        (first_s + at_s, STATE, station, what, value)
        for fault in system.faults
        for at_s, station, what, value in fault.changes()
    ]
    if system.scaling:
        entries.append((first_s + system.scaling.scaler.interval_s, SCALE, 0, 0, 0.0))
    entries += [(ask_s, ASK, user, 0, 0.0) for ask_s, user in asks]
    entries.sort(key=lambda entry: entry[:2])
    entries = [(time_s, (kind << 56) | at, *rest) for at, (time_s, kind, *rest) in enumerate(entries)]
    slowed: dict[int, list[float]] = {}
    return [
        _slowed(entry, slowed, system) if entry[1] >> 56 == STATE and entry[3] == SLOW else entry for entry in entries
    ]


def _slowed(entry: tuple[Any, ...], slowed: dict[int, list[float]], system: System) -> tuple[Any, ...]:
    """A change of slowness says how slow the station is from then on, all faults that last together."""
    *rest, station, what, factor = entry
    factors = slowed.setdefault(station, [])
    if factor > 0.0:
        factors.append(factor)
    else:
        factors.remove(-factor)
    return (*rest, station, what, math.prod(factors, start=system.slowness[station] if system.slowness else 1.0))
