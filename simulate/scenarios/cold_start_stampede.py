"""Cold-start stampede: nobody was there, so nothing ran; now everybody is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from windtunnel.simulate.fault import Crash

from .flash_crowd import crowd_of
from .scenario import Named, check, ending, usual_s

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds

    from .day import Day


@dataclass(frozen=True, kw_only=True)
class ColdStartStampede(Named):
    """The day begins with everything scaled to zero, and with a crowd; the first who comes starts the machines for all.

    A system that scales begins with no station, may fall to none, and is started by its own scaler. One that does not
    gets all its stations at once, a cold start after the first request. Until then all wait at the router.

    Args:
        times: the mean rate while nothing runs, as a multiple of the recorded one.
        cold_start_s: how long a station takes to start; where zero, as long as the system's do, or `LASTS_SHARE` of the
            trace and at most `LONGEST_S`.

    Raises:
        ConfigError: `times` below 1, or a negative time.
    """

    times: float = 3.0
    cold_start_s: float = 0.0

    name: ClassVar[str] = "cold-start-stampede"

    def __post_init__(self) -> None:
        check(self, "times", least=1.0)
        check(self, "cold_start_s", least=0.0)

    def strike(self, day: Day, seeds: Seeds) -> Day:
        """The day that begins cold."""
        scaling = day.system.scaling
        cold_s = self.cold_start_s or (scaling.cold_start_s if scaling else 0.0) or usual_s(day)
        from_s, until_s = ending(day, day.first_s, cold_s + (scaling.scaler.interval_s if scaling else 0.0), self.name)
        crowd_s, like = crowd_of(day, (from_s, until_s), self.times, self.chance(seeds))
        worse = day.joined(f"a stampede × {self.times:g}", crowd_s, like).during(from_s, until_s)
        if scaling is None:
            return worse.befallen(*(Crash(each, 0.0, cold_s) for each in range(day.system.stations)))
        from_none = replace(scaling, least=0, most=day.system.most, cold_start_s=cold_s)
        return replace(worse, system=replace(day.system, stations=0, scaling=from_none))
