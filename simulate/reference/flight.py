"""A flight, slowly: everyone together, and the order within an instant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from windtunnel.request_log import FAILED
from windtunnel.simulate.fault import Crash, Preemption, Slow
from windtunnel.simulate.population import Population

from .calendar import Calendar, Kind
from .clients import Clients, first_asks_s
from .meter import Meter
from .proxy import SlowProxy
from .request import Request
from .router import SlowRouter
from .scaling import SlowScaling
from .station import State, Station

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.fault import Fault
    from windtunnel.simulate.system import System
    from windtunnel.trace import Trace

    from .request import Row


@dataclass(frozen=True)
class Totals:
    """What a flight adds up to.

    Args:
        attempts: sent.
        batches: begun.
        served: attempts in them.
        wasted: attempts that were served to the end for nobody.
        replica_s: seconds of executors that were there, starting and draining included.
        parts: of batches, cut by model.
        misses: parts whose model was not at hand.
        loads: of models.
        loading_s: what they took.
    """

    attempts: int
    batches: int
    served: int
    wasted: int
    replica_s: float
    parts: int = 0
    misses: int = 0
    loads: int = 0
    loading_s: float = 0.0


class SlowFlight:
    """Everyone who takes part."""

    def __init__(self, system: System, traffic: Trace | Population, seeds: Seeds) -> None:
        self.system = system
        self.population = traffic if isinstance(traffic, Population) else None
        self.requests = [] if isinstance(traffic, Population) else requests_of(traffic)
        asks_s = first_asks_s(self.population, seeds.number("clients")) if self.population else []
        first_s = min(asks_s) if asks_s else self.requests[0].scheduled_s
        self.closes_s = first_s + self.population.seconds if self.population else math.inf
        self.thinking = 0
        self.calendar = Calendar(first_s)
        self.inside, self.replicas = Meter(first_s), Meter(first_s)
        self.changed: set[int] = set()
        self.arrived = self.attempts = self.batches = self.served = self.wasted = 0
        self.parts = self.misses = self.loads = 0
        self.loading_s = 0.0
        self.clients, self.proxy = Clients(self, seeds.number("clients")), SlowProxy(self)
        self.router = SlowRouter(self, seeds.number("routing"))
        self.stations = [Station(self, index, seeds.number("service")) for index in range(system.most)]
        for request in self.requests:
            self.calendar.at(request.scheduled_s, Kind.ARRIVE, partial(self.clients.arrive, request))
        for user, ask_s in enumerate(asks_s):
            self.clients.expect(user, ask_s)
        for station in self.stations[: system.stations]:
            station.state = State.UP
            self.count_replicas(system.executors)
        for fault in system.faults:
            self.expect(fault, first_s)
        if system.scaling:
            SlowScaling(self, system.scaling).look_later()

    def expect(self, fault: Fault, first_s: float) -> None:
        """Write a fault into the calendar."""

        def at(after_s: float, action: partial[None]) -> None:
            if after_s < math.inf:
                self.calendar.at(first_s + after_s, Kind.STATE, action)

        if isinstance(fault, Crash):
            station = self.stations[fault.station]
            at(fault.at_s, partial(station.crash))
            at(fault.at_s + fault.back_s, partial(station.mend))
        elif isinstance(fault, Slow):
            slowed = self.stations[fault.station].slowed
            at(fault.at_s, partial(slowed.append, fault.factor))
            at(fault.at_s + fault.lasts_s, partial(slowed.remove, fault.factor))
        elif isinstance(fault, Preemption):
            station, gone_s = self.stations[fault.station], fault.at_s + fault.notice_s
            at(fault.at_s, partial(station.give_notice))
            at(gone_s, partial(station.crash))
            at(gone_s + fault.back_s, partial(station.mend))
        else:
            at(fault.at_s, partial(self.proxy.stall, fault.lasts_s))

    def count_inside(self, change: int) -> None:
        """So many more attempts wait at the router or are in stations."""
        self.inside.change(change, self.calendar.now_s)

    def count_replicas(self, change: int) -> None:
        """So many more executors are there."""
        self.replicas.change(change, self.calendar.now_s)

    @property
    def may_ask(self) -> bool:
        """Whether fewer requests were asked by users than shall be."""
        return self.population is not None and len(self.requests) < self.population.requests

    @property
    def is_over(self) -> bool:
        """Whether every request has come and ended, and no attempt is left to be served for nobody."""
        all_came = self.arrived == len(self.requests) and not (self.thinking and self.may_ask)
        return all_came and self.inside.level == 0 and all(request.row for request in self.requests)

    def run(self) -> None:
        """Let everything happen."""
        while True:
            if self.calendar.next_s > self.calendar.now_s and (self.changed or self.router_can_offer):
                self.end_instant()
            elif self.is_over or not self.calendar.entries:
                return
            else:
                self.calendar.step()

    @property
    def router_can_offer(self) -> bool:
        """Whether somebody waits while a station accepts."""
        return bool(self.router.waiting and self.router.accepting)

    def end_instant(self) -> None:
        """Nothing more happens now: the router offers what waits, then the stations that changed look, by their index."""
        self.router.offer()
        changed, self.changed = sorted(self.changed), set()
        for index in changed:
            self.stations[index].look()

    def totals(self) -> Totals:
        """What it adds up to."""
        replica_s = self.replicas.read_s(self.calendar.now_s)
        counts = self.parts, self.misses, self.loads, self.loading_s
        return Totals(self.attempts, self.batches, self.served, self.wasted, replica_s, *counts)


def requests_of(trace: Trace) -> list[Request]:
    """The requests of a trace, with what its columns say of them."""

    def told(column: str, index: int, otherwise: float) -> float:
        return float(trace.columns[column][index]) if column in trace.columns else otherwise

    return [
        Request(
            index, time_s, int(told("size", index, 0)), int(told("priority", index, 0)),
            time_s + told("deadline_s", index, math.inf), int(told("key", index, -1)),
        )
        for index, time_s in enumerate(trace.arrivals_s.tolist())
    ]  # fmt: skip


def fly_slowly(system: System, traffic: Trace | Population, seeds: Seeds) -> tuple[list[Row], Totals]:
    """Fly traffic through a system; a row a request: sent_s, started_s, finished_s, replica, batch_size, attempt, status.

    Args:
        system: what serves, and who asks.
        traffic: the requests, or the users who ask them.
        seeds: streams `service`, `routing` and `clients` are used.

    Example:
        Two share a batch, which leaves when the first has waited half a second; the third is served alone.

        >>> import numpy as np
        >>> from windtunnel.seeds import Seeds
        >>> from windtunnel.simulate.batching import IdealBatching
        >>> from windtunnel.simulate.system import System
        >>> from windtunnel.trace import Trace
        >>> system = System(np.array([[0.0], [1.0], [3.0]]), batcher=IdealBatching(2, 0.5))
        >>> rows, totals = fly_slowly(system, Trace("three", np.array([0.0, 0.25, 4.0])), Seeds(1))
        >>> rows
        [(0.0, 0.25, 3.25, 0, 2, 0, 0), (0.25, 0.25, 3.25, 0, 2, 0, 0), (4.0, 4.5, 5.5, 0, 1, 0, 0)]
        >>> totals
        Totals(attempts=3, batches=2, served=3, wasted=0, replica_s=5.5, parts=0, misses=0, loads=0, loading_s=0.0)
    """
    flight = SlowFlight(system, traffic, seeds)
    flight.run()
    never = (math.nan, math.nan, -1, 0, 0, FAILED)
    return [request.row or (request.scheduled_s, *never) for request in flight.requests], flight.totals()
