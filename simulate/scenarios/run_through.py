"""A run-through: the calm day, worse ones, and what might have helped, all under one luck."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError
from windtunnel.request_log import COMPLETED
from windtunnel.seeds import Seeds
from windtunnel.simulate.flight import fly
from windtunnel.simulate.overload import executors_each

from .day import Day
from .harm import Harm, good, harm

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from windtunnel.simulate.flight import Flight
    from windtunnel.simulate.system import System
    from windtunnel.trace import Trace

    from .mitigation import Mitigation
    from .scenario import Scenario

    Floats = NDArray[np.float64]

FACTOR = 3.0
"""Where there is no promise, a good answer takes at most so many times the calm day's p99."""

BINS = 240
"""Into how many intervals the trace is cut for its curves."""

_RUNS = zlib.crc32(b"runs")
"""From here on the numbers of streams that only run-throughs draw from."""


@dataclass(frozen=True)
class Course:
    """What all run-throughs share, whatever their luck.

    Args:
        trace: what was recorded.
        system: what serves.
        scenarios: one a day.
        mitigations: tried on each day.
        seeds: the root of all luck.
        bound_s: what a good answer takes at most; None where the first run's calm day is to say.
    """

    trace: Trace
    system: System
    scenarios: tuple[Scenario, ...]
    mitigations: tuple[Mitigation, ...]
    seeds: Seeds
    bound_s: float | None

    @property
    def bin_s(self) -> float:
        """How long a bin of the curves is."""
        return self.trace.duration_s / BINS

    def luck(self, run: int) -> Seeds:
        """The seeds of one run: the first has the given ones, and every run its own of every kind."""
        return Seeds(self.seeds.number("arrivals", _RUNS + run)) if run else self.seeds


@dataclass(frozen=True)
class Seen:
    """What one flight comes down to.

    Args:
        harm: beside the calm day.
        goodput_per_s: float64 `[BINS]`, good answers to recorded requests, by when they were due.
    """

    harm: Harm
    goodput_per_s: Floats


@dataclass(frozen=True)
class Spent:
    """What a mitigation costs on a day on which nothing happens.

    Args:
        replicas: that there are more of, in the mean over the day.
        calm_lost: good answers fewer.
    """

    replicas: float = 0.0
    calm_lost: int = 0


@dataclass(frozen=True)
class Trigger:
    """When trouble reigns, in seconds after the first request, and how much comes on top of what was recorded."""

    from_s: float
    until_s: float
    added: int


@dataclass(frozen=True)
class Run:
    """One luck, in figures that are small whatever the trace: nothing of a request is kept.

    Args:
        goodput_per_s: float64 `[BINS]`, of the calm day.
        triggers: one a day.
        worst: one a day.
        tried: a day's mitigations, in their order; None where one changes nothing.
        says: a day's mitigations, each in words.
        spent: one a mitigation.
    """

    goodput_per_s: Floats
    triggers: tuple[Trigger, ...]
    worst: tuple[Seen, ...]
    tried: tuple[tuple[Seen | None, ...], ...]
    says: tuple[tuple[str, ...], ...]
    spent: tuple[Spent, ...]


class RunThrough:
    """The calm day under one luck, while worse ones are flown beside it. One log is in memory at a time.

    Args:
        course: what is flown.
        run: which luck.
        say: told what is flown.

    Raises:
        DataError: no answer on the calm day.
    """

    def __init__(self, course: Course, run: int, say: Callable[[str], None] = lambda _: None) -> None:
        self.course, self.seeds, self.say = course, course.luck(run), say
        say("flying the calm day")
        flight = self._fly(Day.calm(course.trace, course.system))
        self.bound_s = _bound_s(flight, course.trace) if course.bound_s is None else course.bound_s
        self.well, self.calm = self._well(flight), replace(flight, log=None)
        self.last = self.calm

    def fly_all(self, *, log: bool = False) -> Run:
        """Fly every day and every mitigation; the flight of the last worst day stays, with its log where it is asked for."""
        days = [self._day(each, log=log and each is self.course.scenarios[-1]) for each in self.course.scenarios]
        triggers, worst, tried, says = zip(*days, strict=True)
        spent = tuple(self._spent(each) for each in self.course.mitigations)
        return Run(self._curve(self.well), triggers, worst, tried, says, spent)

    def _fly(self, day: Day) -> Flight:
        bound_s = np.inf if self.course.bound_s is None else self.course.bound_s
        return fly(day.system, day.trace, self.seeds, log=True, slo_s=bound_s, bin_s=self.course.bin_s)

    def _well(self, flight: Flight) -> NDArray[np.bool_]:
        assert flight.log is not None
        return good(flight.log, self.bound_s)

    def _curve(self, well: NDArray[np.bool_]) -> Floats:
        """Good answers a second."""
        edges_s = self.course.trace.arrivals_s[0] + self.course.bin_s * np.arange(1, BINS)
        ends = np.searchsorted(self.course.trace.arrivals_s, edges_s)
        return np.asarray([int(np.sum(part)) for part in np.split(well, ends)]) / self.course.bin_s

    def _day(self, scenario: Scenario, *, log: bool) -> tuple[Trigger, Seen, tuple[Seen | None, ...], tuple[str, ...]]:
        """One worst day, and what would have helped."""
        self.say(f"flying {scenario.name}")
        day = self._struck(self.course.system, scenario)
        flight = self._fly(day)
        seen, self.last = self._judge(day, flight), flight if log else replace(flight, log=None)
        del flight
        tried = [self._try(each, scenario, day) for each in self.course.mitigations]
        trigger = Trigger(day.from_s - day.first_s, day.until_s - day.first_s, day.added)
        return trigger, seen, tuple(each for each, _ in tried), tuple(says for _, says in tried)

    def _struck(self, system: System, scenario: Scenario) -> Day:
        return scenario.strike(Day.calm(self.course.trace, system), self.seeds)

    def _judge(self, day: Day, flight: Flight) -> Seen:
        return Seen(harm(self.well, day, flight, self.bound_s), self._curve(self._well(flight)[day.recorded]))

    def _try(self, mitigation: Mitigation, scenario: Scenario, worst: Day) -> tuple[Seen | None, str]:
        prepared = mitigation.prepare(self.course.system)
        struck = worst if prepared is self.course.system else self._struck(prepared, scenario)
        day = mitigation.protect(struck, self.bound_s)
        says = mitigation.says(day, self.bound_s)
        if day is worst:
            return None, says
        self.say(f"trying {mitigation.name}: {says}")
        return self._judge(day, self._fly(day)), says

    def _spent(self, mitigation: Mitigation) -> Spent:
        """What it costs on the calm day."""
        calm = Day.calm(self.course.trace, mitigation.prepare(self.course.system))
        day = mitigation.protect(calm, self.bound_s)
        if day is calm and day.system is self.course.system:
            return Spent()
        flight = self._fly(day)
        more = _replicas(flight, day.system) - _replicas(self.calm, self.course.system)
        return Spent(round(more, 3), int(np.sum(self.well)) - int(np.sum(self._well(flight))))


def fly_run(course: Course, run: int) -> Run:
    """One run-through, anywhere: what it draws depends on the course and on which run it is."""
    return RunThrough(course, run).fly_all()


def _bound_s(flight: Flight, trace: Trace) -> float:
    assert flight.log is not None
    answered = flight.log.latency_s[flight.log.status == COMPLETED]
    if not len(answered):
        raise DataError("got no answer even on the calm day", field=trace.name, fix="give more replicas")
    return FACTOR * float(np.quantile(answered, 0.99))


def _replicas(flight: Flight, system: System) -> float:
    """Replicas that are paid for, in the mean over the flight; one that serves several batches at once is paid for once."""
    return flight.summary.replica_s / executors_each(system) / max(flight.summary.seconds_simulated, 1e-9)
