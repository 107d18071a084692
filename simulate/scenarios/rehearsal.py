"""A rehearsal: a calm day, the same day made worse, and what would have helped; all with the same luck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError
from windtunnel.request_log import COMPLETED
from windtunnel.simulate.flight import fly

from .day import Day
from .harm import Harm, good, harm
from .mitigation import MITIGATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.simulate.flight import Flight
    from windtunnel.simulate.system import System
    from windtunnel.trace import Trace

    from .mitigation import Mitigation
    from .scenario import Scenario

    Floats = NDArray[np.float64]

FACTOR = 3.0
"""Where there is no promise, a good answer takes at most so many times the calm day's p99."""

SPARED = 0.9
"""A mitigation that spares this share of the hurt would have prevented it."""

NAMED = 3
"""So many scenarios at once are called by their names; more would make a name that no table has room for."""

BINS = 240
"""Into how many intervals the trace is cut for its curves."""


@dataclass(frozen=True)
class Tried:
    """What one mitigation would have done.

    Args:
        name: of it.
        says: what is done, with its figures.
        harm: of the day with it, beside the calm day without; None where it changes nothing here, as a budget does for
            clients that do not retry.
        prevented: whether the system recovers with it, and did not without, or it spares `SPARED` of the hurt.
        spared: requests that are hurt without it, less those with it.
        goodput_per_s: float64 `[BINS]`, good answers to recorded requests, by when they were due.
    """

    name: str
    says: str
    harm: Harm | None
    prevented: bool
    spared: int
    goodput_per_s: Floats

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        figures = self.harm.to_dict() if self.harm else dict.fromkeys(Harm.__dataclass_fields__)
        return {
            "name": self.name, "says": self.says, "applies": self.harm is not None, "prevented": self.prevented,
            "spared": self.spared if self.harm else None, **figures,
        }  # fmt: skip


@dataclass(frozen=True)
class WorstDay:
    """One day that was made worse, and what it did.

    Args:
        name: of the scenario; of up to `NAMED` at once, with plus signs between.
        day: traffic, system and trigger.
        harm: what it did.
        mitigations: what was tried.
        goodput_per_s: float64 `[BINS]`, good answers to recorded requests, by when they were due.
    """

    name: str
    day: Day
    harm: Harm
    mitigations: tuple[Tried, ...]
    goodput_per_s: Floats

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, units in the key names."""
        day = self.day
        return {
            "name": self.name, **self.harm.to_dict(), "requests_added": day.added, "from_s": day.from_s - day.first_s,
            "until_s": day.until_s - day.first_s, "mitigations": [each.to_dict() for each in self.mitigations],
        }  # fmt: skip


@dataclass(frozen=True)
class Rehearsal:
    """The calm day, and the worst ones.

    Args:
        bound_s: what a good answer takes at most.
        calm: the flight of the calm day.
        days: one a scenario, and where there are several one with all of them.
        flight: the last of the days.
        seconds: of each bin of the curves.
        goodput_per_s: float64 `[BINS]`, the calm day's.
    """

    bound_s: float
    calm: Flight
    days: tuple[WorstDay, ...]
    flight: Flight
    seconds: float
    goodput_per_s: Floats


def rehearse_worst_days(
    trace: Trace,
    system: System,
    scenarios: Sequence[Scenario],
    seeds: Seeds,
    *,
    slo_s: float | None = None,
    mitigate: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Rehearsal:
    """Fly a calm day, each scenario by itself and all of them together, and what might have helped.

    A good answer comes within the promise, or within `FACTOR` times the calm day's p99 where there is none. The calm day
    is the same system on the same trace with the same seeds; where a scenario adds requests, those after them have other
    luck with their service times than on the calm day.

    Args:
        trace: what was recorded.
        system: what serves.
        scenarios: at least one.
        seeds: of all chance.
        slo_s: what a good answer takes at most.
        mitigate: whether mitigations are tried.
        say: told what is flown.

    Raises:
        ConfigError: a scenario that cannot strike this system.
        DataError: one that cannot strike this trace, or no answer on the calm day.
    """
    flown = _Rehearsing(trace, system, seeds, slo_s, say)
    together = [(each,) for each in scenarios] + ([tuple(scenarios)] if len(scenarios) > 1 else [])
    days = tuple(flown.worst(each, MITIGATIONS if mitigate else ()) for each in together)
    return Rehearsal(flown.bound_s, flown.calm, days, flown.last, flown.bin_s, flown.curve(flown.well))


class _Rehearsing:
    """The calm day and its figures, kept while worse days are flown."""

    def __init__(
        self, trace: Trace, system: System, seeds: Seeds, slo_s: float | None, say: Callable[[str], None]
    ) -> None:
        self.trace, self.system, self.seeds, self.say = trace, system, seeds, say
        self.bin_s = trace.duration_s / BINS
        say("flying the calm day")
        self.calm = self.last = self._fly(Day.calm(trace, system))
        assert self.calm.log is not None
        answered = self.calm.log.latency_s[self.calm.log.status == COMPLETED]
        if not len(answered):
            raise DataError("got no answer even on the calm day", field=trace.name, fix="give more replicas")
        self.bound_s = FACTOR * float(np.quantile(answered, 0.99)) if slo_s is None else slo_s
        self.well = good(self.calm.log, self.bound_s)

    def _fly(self, day: Day) -> Flight:
        return fly(day.system, day.trace, self.seeds, log=True, bin_s=self.bin_s)

    def curve(self, well: NDArray[np.bool_]) -> Floats:
        """Good answers a second."""
        at = ((self.trace.arrivals_s - self.trace.arrivals_s[0]) / self.bin_s).astype(np.int64)
        counts = np.bincount(np.minimum(at, BINS - 1), weights=well, minlength=BINS)
        return np.asarray(counts / self.bin_s, dtype=np.float64)

    def _struck(self, system: System, scenarios: Sequence[Scenario]) -> Day:
        day = Day.calm(self.trace, system)
        for each in scenarios:
            day = each.strike(day, self.seeds)
        return day

    def worst(self, scenarios: Sequence[Scenario], mitigations: Sequence[Mitigation]) -> WorstDay:
        """Fly one worst day, and what would have helped."""
        name = (
            "+".join(each.name for each in scenarios) if len(scenarios) <= NAMED else f"all {len(scenarios)} together"
        )
        day = self._struck(self.system, scenarios)
        self.say(f"flying {name}")
        flight = self._fly(day)
        harmed, curve = self._judge(day, flight)
        tried = tuple(self._try(each, scenarios, day, harmed) for each in mitigations)
        self.last = flight
        return WorstDay(name, day, harmed, tried, curve)

    def _judge(self, day: Day, flight: Flight) -> tuple[Harm, Floats]:
        assert flight.log is not None
        return harm(self.well, day, flight, self.bound_s), self.curve(good(flight.log, self.bound_s)[day.recorded])

    def _try(self, mitigation: Mitigation, scenarios: Sequence[Scenario], worst: Day, without: Harm) -> Tried:
        prepared = mitigation.prepare(self.system)
        struck = worst if prepared is self.system else self._struck(prepared, scenarios)
        day = mitigation.protect(struck, self.bound_s)
        says = mitigation.says(day, self.bound_s)
        if day is worst:
            return Tried(mitigation.name, says, None, False, 0, np.zeros(0))
        self.say(f"trying {mitigation.name}: {says}")
        harmed, curve = self._judge(day, self._fly(day))
        spared = without.requests_hurt - harmed.requests_hurt
        rescued = not without.recovered or spared >= SPARED * max(without.requests_hurt, 1)
        return Tried(mitigation.name, says, harmed, harmed.recovered and rescued, spared, curve)
