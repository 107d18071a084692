"""A rehearsal: a calm day, the same day made worse, and what would have helped, under several lucks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError
from windtunnel.fanout import Workers, fan_out

from .mitigation import MITIGATIONS
from .run_through import BINS, FACTOR, Course, Run, RunThrough, fly_run
from .together import Together
from .toll import Toll
from .tried import Cost, Tried, cheapest, prevention, spared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.simulate.flight import Flight
    from windtunnel.simulate.system import System
    from windtunnel.trace import Trace
    from windtunnel.verdict import Outcome

    from .run_through import Trigger
    from .scenario import Scenario

    Floats = NDArray[np.float64]

__all__ = ["BINS", "FACTOR", "RUNS", "Rehearsal", "WorstDay", "rehearse_worst_days"]

RUNS = 8
"""Lucks under which a day is flown where nobody says: Student's factor is 2.4 then, and beyond it falls slowly."""

NAMED = 3
"""So many scenarios at once are called by their names; more would make a name that no table has room for."""


@dataclass(frozen=True)
class WorstDay:
    """One day that was made worse, and what it did.

    Args:
        name: of the scenario; of several at once, with plus signs between.
        requests: that were recorded.
        trigger: when trouble reigns, in the first run.
        harm: what it did.
        mitigations: what was tried.
        goodput_per_s: float64 `[BINS]`, good answers to recorded requests, by when they were due, in the mean.
    """

    name: str
    requests: int
    trigger: Trigger
    harm: Toll
    mitigations: tuple[Tried, ...]
    goodput_per_s: Floats

    @property
    def cheapest(self) -> Tried | None:
        """The cheapest mitigation that would have prevented it; None where none would, or none was tried."""
        return cheapest(self.mitigations)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, units in the key names."""
        best, trigger = self.cheapest, self.trigger
        return {
            "name": self.name, **self.harm.to_dict(), "requests_added": trigger.added, "from_s": trigger.from_s,
            "until_s": trigger.until_s, "prevented_by": best.name if best else None,
            "mitigations": [each.to_dict() for each in self.mitigations],
        }  # fmt: skip


@dataclass(frozen=True)
class Rehearsal:
    """The calm day, and the worst ones.

    Args:
        bound_s: what a good answer takes at most.
        calm: the first run's flight of the calm day, without its log.
        days: one a scenario, and where there are several one with all of them.
        flight: the first run's of the last of the days, with its log where that was asked for.
        seconds: of each bin of the curves.
        goodput_per_s: float64 `[BINS]`, the calm day's, in the mean.
        where: who flew all but the first run.
    """

    bound_s: float
    calm: Flight
    days: tuple[WorstDay, ...]
    flight: Flight
    seconds: float
    goodput_per_s: Floats
    where: str

    @property
    def outcome(self) -> Outcome:
        """No-go where a day never recovers, or the queue only grows; inconclusive where runs of a day disagree."""
        recovered = [each.harm.recovered for each in self.days]
        if False in recovered or self.flight.drift_per_s:
            return "no-go"
        return "inconclusive" if None in recovered else "go"


def rehearse_worst_days(
    trace: Trace,
    system: System,
    scenarios: Sequence[Scenario],
    seeds: Seeds,
    *,
    slo_s: float | None = None,
    mitigate: bool = False,
    runs: int = RUNS,
    usd_per_hour: float | None = None,
    log: bool = True,
    workers: Workers | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Rehearsal:
    """Fly a calm day, each scenario by itself and all of them together, and what might have helped, again and again.

    A good answer comes within the promise, or within `FACTOR` times the first calm day's p99 where there is none. Every run has
    luck of its own: service times, routing, clients, and what a scenario draws; the recorded trace is the same. Within a run
    the calm day, the worse ones and the mitigations meet the same luck; where a scenario adds requests, those after them have
    other service times than on the calm day.

    Args:
        trace: what was recorded.
        system: what serves.
        scenarios: at least one.
        seeds: of all chance; the first run has them as they are.
        slo_s: what a good answer takes at most.
        mitigate: whether mitigations are tried.
        runs: lucks, one at least; of a single one nobody knows how sure it is.
        usd_per_hour: what a replica costs.
        log: whether the log of the last day's first flight is kept (48 bytes a request).
        workers: who flies all but the first run; this process where None. The result is the same.
        say: told what is flown.

    Raises:
        ConfigError: a scenario that cannot strike this system, or no run.
        DataError: one that cannot strike this trace, or no answer on the calm day.
    """
    if runs < 1:
        raise ConfigError("must be at least 1", field="runs", value=runs)
    together = (Together(tuple(part for each in scenarios for part in each.parts)),) if len(scenarios) > 1 else ()
    tried = MITIGATIONS if mitigate else ()
    course = Course(trace, system, (*scenarios, *together), tried, seeds, slo_s)
    first = RunThrough(course, 0, say)
    flown = [first.fly_all(log=log)]
    course = replace(course, bound_s=first.bound_s)
    rest = fan_out(
        fly_run, range(1, runs), shared=course, workers=workers or Workers(1),
        report=lambda done: say(f"flown {done + 1} of {runs} runs"),
    )  # fmt: skip
    flown += rest.results
    days = tuple(_day(course, flown, at, usd_per_hour) for at in range(len(course.scenarios)))
    curve = _mean([each.goodput_per_s for each in flown])
    return Rehearsal(first.bound_s, first.calm, days, first.last, course.bin_s, curve, rest.where)


def _day(course: Course, flown: Sequence[Run], at: int, usd_per_hour: float | None) -> WorstDay:
    """One day over all runs."""
    toll = Toll(tuple(run.worst[at].harm for run in flown))
    tried = tuple(_tried(course, flown, at, toll, each, usd_per_hour) for each in range(len(course.mitigations)))
    curve = _mean([run.worst[at].goodput_per_s for run in flown])
    return WorstDay(_name(course.scenarios[at]), len(course.trace), flown[0].triggers[at], toll, tried, curve)


def _name(scenario: Scenario) -> str:
    parts = scenario.parts
    return scenario.name if len(parts) <= NAMED else f"all {len(parts)} together"


def _tried(
    course: Course, flown: Sequence[Run], at: int, without: Toll, which: int, usd_per_hour: float | None
) -> Tried:
    """One mitigation of one day over all runs."""
    name, says = course.mitigations[which].name, flown[0].says[at][which]
    cost = Cost.of([run.spent[which] for run in flown], usd_per_hour)
    seen = [each for run in flown if (each := run.tried[at][which]) is not None]
    if not seen:
        return Tried(name, says, None, False, None, cost, np.zeros(0))
    toll = Toll(tuple(each.harm for each in seen))
    curve = _mean([each.goodput_per_s for each in seen])
    return Tried(name, says, toll, prevention(without, toll), spared(without, toll), cost, curve)


def _mean(curves: Sequence[Floats]) -> Floats:
    return np.asarray(np.mean(curves, axis=0), dtype=np.float64)
